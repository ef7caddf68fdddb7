"""A microphone and a speaker that follow a script, on the clock of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import numpy as np

from echat_sdk.audio import FRAME_SECONDS, AudioFrame, Hertz, Seconds, Waveform
from echat_sdk.errors import AudioDeviceError


class FakeAudio:
    """An `AudioIO`: plays a script into the agent and writes down what the agent said, and when.

    Args:
        heard: What the microphone hears; then it ends.
        output_rate: Samples a second of the speaker.
        latency: What the speaker holds.
        lost_at: When the device is lost, if at all.
    """

    def __init__(
        self,
        heard: Iterable[AudioFrame] = (),
        *,
        output_rate: Hertz = 24_000,
        latency: Seconds = 0.04,
        lost_at: Seconds | None = None,
    ) -> None:
        self.output_rate = output_rate
        self.latency = latency
        self.said: list[tuple[Seconds, Waveform]] = []
        self._heard = iter(heard)
        self._lost_at = lost_at
        self._free_at: Seconds = 0.0
        self._is_closed = False

    async def frames(self) -> AsyncIterator[AudioFrame]:
        """The script, at the pace of time."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        for frame in self._heard:
            due += FRAME_SECONDS
            await asyncio.sleep(due - loop.time())
            if self._is_closed:
                return
            self._check()
            yield frame

    async def play(self, samples: Waveform) -> None:
        """Take a piece; there is room again once all but `latency` of it was heard."""
        self._check()
        loop = asyncio.get_running_loop()
        start = max(loop.time(), self._free_at)
        self._free_at = start + len(samples) / self.output_rate
        self.said.append((start, samples))
        await asyncio.sleep(max(0.0, self._free_at - self.latency - loop.time()))

    def flush(self) -> None:
        """Drop what has not been heard."""
        now = asyncio.get_running_loop().time()
        kept = []
        for start, samples in self.said:
            count = round((now - start) * self.output_rate)
            if count > 0:
                kept.append((start, samples[:count]))
        self.said = kept
        self._free_at = now

    async def close(self) -> None:
        """End the script."""
        self._is_closed = True

    def recording(self) -> Waveform:
        """What was audible from the beginning on. Shape [S]."""
        if not self.said:
            return np.zeros(0, np.int16)
        ends = [round(start * self.output_rate) + len(s) for start, s in self.said]
        sound = np.zeros(max(ends), np.int16)
        for start, samples in self.said:
            first = round(start * self.output_rate)
            sound[first : first + len(samples)] = samples
        return sound

    def _check(self) -> None:
        if self._lost_at is not None and asyncio.get_running_loop().time() >= self._lost_at:
            raise AudioDeviceError("the fake device was unplugged")


class ScriptedVAD:
    """A `VAD` that takes any sample other than zero for speech."""

    def is_speech(self, frame: AudioFrame) -> bool:
        """Whether the frame holds anything."""
        return bool(frame.samples.any())

    def reset(self) -> None:
        """Nothing is carried."""
