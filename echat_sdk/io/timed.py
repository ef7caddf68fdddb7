"""Sound that is there already, given and taken at the pace of the event loop's clock.

A recording is heard as if somebody spoke it now; what the agent says is written down with its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from itertools import repeat

import numpy as np

from echat_sdk.audio import (
    FRAME_LEN,
    FRAME_SECONDS,
    AudioFrame,
    Hertz,
    Seconds,
    Waveform,
)


class TimedAudio:
    """An `AudioIO` without a device.

    Args:
        heard: What the microphone hears.
        output_rate: Samples a second of the speaker.
        latency: What the speaker holds.
        tail: Seconds of silence that are heard after `heard`, counted from the last sound of the
            agent, so that it can finish.
        speed: How many times as fast as real sound it is heard and spoken. A model takes its time
            all the same: at 4 its answers come four times as late in the conversation.
    """

    def __init__(
        self,
        heard: Iterable[AudioFrame] = (),
        *,
        output_rate: Hertz = 24_000,
        latency: Seconds = 0.04,
        tail: Seconds = 0.0,
        speed: float = 1.0,
    ) -> None:
        self.output_rate = output_rate
        self.latency = latency
        self.said: list[tuple[Seconds, Waveform]] = []
        self._heard = iter(heard)
        self._tail = tail / speed
        self._held = latency / speed  # on the clock
        self._frame = FRAME_SECONDS / speed
        self._rate = output_rate * speed  # samples that are heard in a second of the clock
        self._start: Seconds | None = None
        self._free_at: Seconds = 0.0
        self._is_closed = False

    async def frames(self) -> AsyncIterator[AudioFrame]:
        """The recording, at the pace of time, then silence for as long as the agent speaks."""
        loop = asyncio.get_running_loop()
        self._start = due = loop.time()
        for frame in self._heard:
            due += self._frame
            await asyncio.sleep(due - loop.time())
            if self._is_closed:
                return
            yield frame
        ended = due
        silence = AudioFrame(np.zeros(FRAME_LEN, np.int16))
        for frame in repeat(silence):
            due += self._frame
            if self._is_closed or due > max(ended, self._free_at) + self._tail:
                return
            await asyncio.sleep(due - loop.time())
            yield frame

    async def play(self, samples: Waveform) -> None:
        """Take a piece; there is room again once all but `latency` of it was heard."""
        loop = asyncio.get_running_loop()
        start = max(loop.time(), self._free_at)
        self._free_at = start + len(samples) / self._rate
        self.said.append((start, samples))
        await asyncio.sleep(max(0.0, self._free_at - self._held - loop.time()))

    def flush(self) -> None:
        """Drop what has not been heard."""
        now = asyncio.get_running_loop().time()
        kept = []
        for start, samples in self.said:
            count = round((now - start) * self._rate)
            if count > 0:
                kept.append((start, samples[:count]))
        self.said = kept
        self._free_at = now

    async def close(self) -> None:
        """End the recording."""
        self._is_closed = True

    def recording(self) -> Waveform:
        """What was audible, from when the first frame was asked for. Shape [S]."""
        begin = self._start or 0.0
        starts = [round((start - begin) * self._rate) for start, _ in self.said]
        length = max((at + len(s) for at, (_, s) in zip(starts, self.said, strict=True)), default=0)
        sound = np.zeros(max(0, length), np.int16)
        for at, (_, samples) in zip(starts, self.said, strict=True):
            piece = samples[max(0, -at) :]
            sound[max(0, at) : max(0, at) + len(piece)] = piece
        return sound
