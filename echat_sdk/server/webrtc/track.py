"""The agent's voice as an audio track: 20 ms at their time, and silence between."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame

from echat_sdk.audio import FRAME_SECONDS, Hertz, Seconds, Waveform
from echat_sdk.server.realtime.line import Line

_AHEAD: Seconds = 0.06  # that may wait here: a busy loop is not heard, and an interruption is
_LATE: Seconds = 0.2  # from when what was missed is not made up for

_ON_THE_WAY: Seconds = 0.08
"""From here to an ear, about: what the caller's side holds against jitter."""

_GAP: Seconds = 0.1
"""A track from which nothing came for so long is silent."""


class SpeechTrack(MediaStreamTrack):
    """What the agent says, as it is to be heard now.

    Args:
        rate: Samples a second of it.

    Attributes:
        said: Samples of speech that left.
    """

    kind = "audio"

    def __init__(self, rate: Hertz) -> None:
        super().__init__()
        self._rate = rate
        self._step = round(rate * FRAME_SECONDS)
        self._pieces: deque[Waveform] = deque()  # bounded by _AHEAD: `put` waits for room
        self._ahead = 0  # samples in it
        self._has_room = asyncio.Event()
        self._due: Seconds | None = None
        self._at = 0  # samples of sound and of silence
        self.said = 0

    async def put(self, samples: Waveform) -> None:
        """Take the next of what is said; waits while enough waits to be heard."""
        self._pieces.append(samples)
        self._ahead += len(samples)
        while self._ahead > _AHEAD * self._rate and self.readyState == "live":
            self._has_room.clear()
            await self._has_room.wait()

    def drop(self) -> None:
        """Say nothing of what waits."""
        self._pieces.clear()
        self._ahead = 0
        self._has_room.set()

    def stop(self) -> None:
        """End it."""
        super().stop()
        self._has_room.set()

    async def recv(self) -> AudioFrame:
        """The next 20 ms, once it is their time."""
        if self.readyState != "live":
            raise MediaStreamError
        now = asyncio.get_running_loop().time()
        due = now if self._due is None or now - self._due > _LATE else self._due
        self._due = due + FRAME_SECONDS
        if due > now:
            await asyncio.sleep(due - now)
        frame = AudioFrame.from_ndarray(self._take()[None], format="s16", layout="mono")
        frame.sample_rate, frame.time_base = self._rate, Fraction(1, self._rate)
        frame.pts = self._at
        self._at += self._step
        return frame

    def _take(self) -> Waveform:
        frame, filled = np.zeros(self._step, np.int16), 0
        while self._pieces and filled < self._step:
            piece = self._pieces.popleft()
            rest = piece[self._step - filled :]
            piece = piece[: self._step - filled]
            frame[filled : filled + len(piece)] = piece
            filled += len(piece)
            if len(rest):
                self._pieces.appendleft(rest)
        self._ahead -= filled
        self.said += filled
        self._has_room.set()
        return frame


class CallLine(Line):
    """A `Line` whose caller hears the agent as it speaks: what is not heard yet can be taken back.

    Args:
        output_rate: Samples a second of what the agent says.
        on_sound: Called before each piece of what is said.
        on_dropped: Called when the rest of it is taken back.

    Attributes:
        track: What the caller hears.
    """

    carries_speech = True

    def __init__(
        self, output_rate: Hertz, on_sound: Callable[[], None], on_dropped: Callable[[], None]
    ) -> None:
        super().__init__(output_rate, gap=_GAP)
        self.latency = _AHEAD + _ON_THE_WAY
        self.track = SpeechTrack(output_rate)
        self._on_sound = on_sound
        self._on_dropped = on_dropped

    @property
    def heard(self) -> Seconds:
        """Of all that was said, about."""
        return self.track.said / self.output_rate - _ON_THE_WAY

    async def play(self, samples: Waveform) -> None:
        """Give the next piece to the track."""
        if not self.speaks:
            await super().play(samples)
            return
        self._on_sound()
        await self.track.put(samples)

    def flush(self) -> None:
        """Nothing more is heard of what was given."""
        super().flush()
        self.track.drop()
        self._on_dropped()

    async def close(self) -> None:
        """End `frames` and the track."""
        await super().close()
        self.track.stop()
