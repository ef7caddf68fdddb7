"""A device's microphone: what it hears, as frames of one stream."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np

from echat_plugins.mqtt.codec import encoder
from echat_plugins.mqtt.frame import Codec, Frame
from echat_plugins.mqtt.messages import Sound
from echat_sdk.audio import SAMPLE_RATE, Waveform


class Microphone:
    """Carries what fills no frame yet.

    Args:
        sound: Form of the frames.
        stream: That they belong to.

    Raises:
        ConfigError: Opus is not here.
    """

    def __init__(self, sound: Sound, stream: int) -> None:
        self._codec = Codec.OPUS if sound.codec == "opus" else Codec.PCM16
        self._length = sound.frame_ms
        self._stream = stream
        self._encoder = encoder(self._codec, SAMPLE_RATE, sound.frame_ms)
        self._step = SAMPLE_RATE * sound.frame_ms // 1000
        self._now = asyncio.get_running_loop().time
        self._began = self._now()
        self._rest = np.zeros(0, np.int16)
        self._sequence = 0

    def frames(self, samples: Waveform) -> Iterator[bytes]:
        """Take the next samples, int16 mono at 16 kHz; the frames that are full now."""
        samples = np.concatenate((self._rest, samples))
        whole = len(samples) // self._step * self._step
        self._rest = samples[whole:].copy()
        timestamp = round((self._now() - self._began) * 1000)
        for start in range(0, whole, self._step):
            frame = Frame(
                self._codec,
                self._length,
                self._stream,
                self._sequence,
                timestamp,
                self._encoder.encode(samples[start : start + self._step]),
            )
            self._sequence += 1
            timestamp += self._length
            yield frame.render()
