"""A microphone and a speaker that follow a script, on the clock of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from echat_sdk.audio import AudioFrame, Hertz, Seconds, Waveform
from echat_sdk.errors import AudioDeviceError
from echat_sdk.io.callback import CallbackAudio
from echat_sdk.io.timed import TimedAudio


class FakeAudio(TimedAudio):
    """Plays a script into the agent, writes down what it said and when, and can be unplugged.

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
        super().__init__(heard, output_rate=output_rate, latency=latency)
        self._lost_at = lost_at

    async def frames(self) -> AsyncIterator[AudioFrame]:
        """The script, at the pace of time."""
        async for frame in super().frames():
            self._check()
            yield frame

    async def play(self, samples: Waveform) -> None:
        """Take a piece; there is room again once all but `latency` of it was heard."""
        self._check()
        await super().play(samples)

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


def loopback(rate: Hertz = 24_000, latency: Seconds = 0.04) -> tuple[CallbackAudio, CallbackAudio]:
    """Two ends of a line: what one plays, the other hears, and silence where it plays nothing.

    What was given when an end is flushed is on its way, and is heard all the same.

    Args:
        rate: Samples a second on the line.
        latency: Of the line.
    """
    ends: list[CallbackAudio] = []

    def end(other: int) -> CallbackAudio:
        return CallbackAudio(
            lambda samples: ends[other].hear(samples),
            input_rate=rate,
            output_rate=rate,
            latency=latency,
            fills_gaps=True,
        )

    ends += end(1), end(0)
    return ends[0], ends[1]
