"""A device's microphone and speaker: packets in, packets out at their time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np

from echat_plugins.xiaozhi.opus import FRAME_LEN, FRAME_SECONDS, SAID_RATE, Encoder
from echat_sdk.audio import Seconds, Waveform
from echat_sdk.server.realtime.line import Line

_ON_THE_WAY: Seconds = 0.1
"""From here to an ear, about."""

_SOON: Seconds = 0.1
"""The last piece leaves so long before the device has said all that it holds."""


class DeviceLine(Line):
    """A `Line` whose device holds little: what it is sent leaves at its time, and little before.

    Args:
        lead: How much before.
        send: Takes a packet, and when it is to be heard, in ms of all that was sent.
        on_sound: Told before each piece of what is said how much of it was said before.
        on_dropped: Told when the rest of it is taken back.
    """

    carries_speech = True

    def __init__(
        self,
        lead: Seconds,
        send: Callable[[bytes, int], None],
        on_sound: Callable[[Seconds], None],
        on_dropped: Callable[[], None],
    ) -> None:
        super().__init__(SAID_RATE)
        self.latency = lead + _ON_THE_WAY
        self._lead = lead
        self._send = send
        self._on_sound = on_sound
        self._on_dropped = on_dropped
        self._encoder = Encoder()
        self._part = np.zeros(0, np.int16)  # of a frame
        self._due: Seconds = 0.0  # when the device has said what it was sent
        self._said = 0  # samples of what is being said
        self._frames = 0
        self._padding: asyncio.TimerHandle | None = None

    async def play(self, samples: Waveform) -> None:
        """Take the next 20 ms or less; returns once it is nearly their time."""
        loop = asyncio.get_running_loop()
        self._on_sound(self._said / SAID_RATE)
        self._said += len(samples)
        self._part = np.concatenate((self._part, samples))
        self._stop_padding()
        while len(self._part) >= FRAME_LEN:
            frame, self._part = self._part[:FRAME_LEN], self._part[FRAME_LEN:]
            self._put(frame)
        if len(self._part):  # where nothing more comes, silence fills the frame
            wait = max(FRAME_SECONDS, self._lead - _SOON)  # a busy loop leaves no holes
            self._padding = loop.call_later(wait, self._pad)
        self._due = max(loop.time(), self._due) + len(samples) / SAID_RATE
        await asyncio.sleep(self._due - loop.time() - self._lead)

    def restart(self) -> None:
        """What is said from now on is something else."""
        self._said = 0

    def flush(self) -> None:
        """Nothing more is sent of what was given."""
        super().flush()
        self._stop_padding()
        self._part = self._part[:0]
        self._due = 0.0
        self._on_dropped()

    async def close(self) -> None:
        """End `frames`. May be called twice."""
        self._stop_padding()
        await super().close()

    def _pad(self) -> None:
        self._padding = None
        frame, self._part = self._part, self._part[:0]
        if len(frame):
            self._put(np.pad(frame, (0, FRAME_LEN - len(frame))))

    def _stop_padding(self) -> None:
        if self._padding is not None:
            self._padding.cancel()
            self._padding = None

    def _put(self, frame: Waveform) -> None:
        at = round(1000 * self._frames * FRAME_SECONDS)
        self._frames += 1
        self._send(self._encoder.encode(frame), at)
