"""How loud both sides of a conversation are, and how much of the agent was heard so far."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable

import numpy as np

from echat_sdk.audio import AudioFrame, Seconds, Waveform
from echat_sdk.io.wrapped import Wrapped
from echat_sdk.protocols import AudioIO

_QUIETEST = -60.0  # dBFS at the left end of a meter
_FALL = 60.0  # dB a second by which it falls, so that the eye can follow


class Level:
    """The level of a sound as a meter shows it: rises at once, falls slowly."""

    def __init__(self, clock: Callable[[], Seconds]) -> None:
        self._clock = clock
        self._decibels = _QUIETEST
        self._at: Seconds = clock()

    def take(self, samples: Waveform) -> None:
        """What sounds now. Shape [S]."""
        power = float(np.mean(np.square(samples, dtype=np.float32))) if samples.size else 0.0
        self._decibels = max(self._now(), 10 * math.log10((power + 1.0) / 32768**2))
        self._at = self._clock()

    @property
    def share(self) -> float:
        """How much of the meter is lit, 0 to 1."""
        return min(1.0, max(0.0, 1 - self._now() / _QUIETEST))

    def _now(self) -> float:
        return max(_QUIETEST, self._decibels - _FALL * (self._clock() - self._at))


class Metered(Wrapped):
    """An `AudioIO` that is looked at. What was said counts from the beginning of the conversation.

    Args:
        audio: Microphone and speaker.
        clock: Seconds, rising.
        look: Called at each frame that is heard.

    Attributes:
        microphone: How loud the user is.
        speaker: How loud the agent is.
        given: Seconds of sound that were given to the speaker, less what was dropped unheard.
    """

    def __init__(
        self, audio: AudioIO, clock: Callable[[], Seconds], look: Callable[[], None]
    ) -> None:
        super().__init__(audio)
        self._clock = clock
        self._look = look
        self._taken_at: Seconds = -math.inf
        self.microphone = Level(clock)
        self.speaker = Level(clock)
        self.given: Seconds = 0.0

    @property
    def audible(self) -> Seconds:
        """Seconds of what was given that were heard."""
        held = self._audio.latency - (self._clock() - self._taken_at)
        return max(0.0, self.given - max(0.0, held))

    async def frames(self) -> AsyncIterator[AudioFrame]:
        """What is heard, 20 ms at a time.

        Raises:
            AudioDeviceError: the microphone was lost and did not come back.
        """
        async for frame in self._audio.frames():
            self.microphone.take(frame.samples)
            self._look()
            yield frame

    async def play(self, samples: Waveform) -> None:
        """Give the next piece to the speaker; returns once it has room for more.

        Raises:
            AudioDeviceError: the speaker was lost and did not come back.
        """
        self.speaker.take(samples)
        self.given += len(samples) / self._audio.output_rate
        self._taken_at = self._clock()
        await self._audio.play(samples)
        self._taken_at = self._clock()

    def flush(self) -> None:
        """Drop what was given but cannot be heard yet."""
        self.given = self.audible
        self._taken_at = -math.inf
        self._audio.flush()
