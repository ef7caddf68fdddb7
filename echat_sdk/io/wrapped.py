"""An `AudioIO` around another: who looks at its sound, or changes it, overrides what they need."""

from __future__ import annotations

from collections.abc import AsyncIterator

from echat_sdk.audio import AudioFrame, Hertz, Seconds, Waveform
from echat_sdk.protocols import AudioIO


class Wrapped:
    """Does what the audio within does.

    Args:
        audio: Microphone and speaker.
    """

    def __init__(self, audio: AudioIO) -> None:
        self._audio = audio

    @property
    def output_rate(self) -> Hertz:
        """Samples a second that `play` takes."""
        return self._audio.output_rate

    @property
    def latency(self) -> Seconds:
        """From when `play` returns until its last sample is heard, about."""
        return self._audio.latency

    async def frames(self) -> AsyncIterator[AudioFrame]:
        """What is heard, 20 ms at a time.

        Raises:
            AudioDeviceError: the microphone was lost and did not come back.
        """
        async for frame in self._audio.frames():
            yield frame

    async def play(self, samples: Waveform) -> None:
        """Give the next piece to the speaker; returns once it has room for more.

        Raises:
            AudioDeviceError: the speaker was lost and did not come back.
        """
        await self._audio.play(samples)

    def flush(self) -> None:
        """Drop what was given but cannot be heard yet."""
        self._audio.flush()

    async def close(self) -> None:
        """Release the devices; `frames` ends. May be called twice."""
        await self._audio.close()
