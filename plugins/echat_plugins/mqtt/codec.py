"""Samples to a frame's bytes and back: PCM16, or Opus by PyAV. One coder for each stream."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

import numpy as np
import soxr

from echat_plugins.mqtt.frame import Codec, FrameError, Milliseconds
from echat_sdk.audio import Hertz, Waveform
from echat_sdk.errors import ConfigError

if TYPE_CHECKING:
    from av.audio.codeccontext import AudioCodecContext

OPUS_RATE: Hertz = 48_000
"""What an Opus decoder gives, whatever was encoded."""

_BITS = 24_000  # a second: speech, mono
_MOST_OPUS = 1275  # bytes of one Opus frame, by its standard
_MOST_OPUS_60 = 3 * _MOST_OPUS


class Encoder(Protocol):
    """Writes frames."""

    def encode(self, samples: Waveform) -> bytes:
        """One whole frame's bytes."""
        ...


class Decoder(Protocol):
    """Reads frames, in the order in which they were written."""

    def decode(self, data: bytes) -> Waveform:
        """One frame's samples, as many as its length has.

        Raises:
            FrameError: these bytes are no such frame.
        """
        ...


def encoder(codec: Codec, rate: Hertz, length: Milliseconds) -> Encoder:
    """What writes frames of this length.

    Raises:
        ConfigError: Opus is not here.
    """
    return Pcm16(rate, length) if codec is Codec.PCM16 else OpusEncoder(rate, length)


def decoder(codec: Codec, rate: Hertz, length: Milliseconds) -> Decoder:
    """What reads frames of this length.

    Raises:
        ConfigError: Opus is not here.
    """
    return Pcm16(rate, length) if codec is Codec.PCM16 else OpusDecoder(rate, length)


class Pcm16:
    """Samples as they are."""

    def __init__(self, rate: Hertz, length: Milliseconds) -> None:
        self._bytes = 2 * rate * length // 1000

    def encode(self, samples: Waveform) -> bytes:
        """Little-endian, two bytes a sample."""
        return samples.astype("<i2").tobytes()

    def decode(self, data: bytes) -> Waveform:
        """The samples.

        Raises:
            FrameError: too few or too many.
        """
        if len(data) != self._bytes:
            raise FrameError(f"{len(data)} bytes of PCM16; expected {self._bytes}")
        return np.frombuffer(data, "<i2").astype(np.int16)


class OpusEncoder:
    """Opus at 24 kbit/s, for speech."""

    def __init__(self, rate: Hertz, length: Milliseconds) -> None:
        self._rate = rate
        self._at = 0
        self._codec = _opened("w", rate)
        self._codec.options = {"frame_duration": str(length), "application": "voip"}
        self._codec.bit_rate = _BITS
        self._codec.open()

    def encode(self, samples: Waveform) -> bytes:
        """One packet."""
        from av import AudioFrame

        frame = AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.time_base = self._rate, Fraction(1, self._rate)
        frame.pts = self._at
        self._at += len(samples)
        return b"".join(bytes(packet) for packet in self._codec.encode(frame))


class OpusDecoder:
    """One Opus packet at a time; a bad one ends nothing."""

    def __init__(self, rate: Hertz, length: Milliseconds) -> None:
        self._length = OPUS_RATE * length // 1000
        self._count = rate * length // 1000
        self._codec = _opened("r", rate)
        self._resampler = soxr.ResampleStream(OPUS_RATE, rate, 1, dtype="int16")
        self._rest = np.zeros(0, np.int16)

    def decode(self, data: bytes) -> Waveform:
        """The samples; the first come a little late, held back by the resampler.

        Raises:
            FrameError: it is no packet, or one of another length.
        """
        from av import Packet
        from av.error import FFmpegError

        if not 0 < len(data) <= _MOST_OPUS_60:
            raise FrameError(f"{len(data)} bytes of Opus; expected 1 to {_MOST_OPUS_60}")
        try:
            pieces = [f.to_ndarray().reshape(-1) for f in self._codec.decode(Packet(data))]
        except FFmpegError as error:
            self._codec.flush_buffers()
            raise FrameError("no packet of Opus") from error
        samples = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
        if len(samples) != self._length:
            raise FrameError(f"{len(samples) / 48:g} ms of Opus; expected {self._length / 48:g}")
        held = np.concatenate((self._rest, self._resampler.resample_chunk(samples)))
        missing = self._count - len(held)
        if missing > 0:
            held = np.concatenate((np.zeros(missing, np.int16), held))
        self._rest = held[self._count :]
        return held[: self._count]


def _opened(mode: str, rate: Hertz) -> AudioCodecContext:
    try:
        from av import CodecContext
        from av.error import FFmpegError
    except ModuleNotFoundError as error:
        raise ConfigError("Opus needs the package av: pip install 'echat-sdk[mqtt]'") from error
    try:
        codec = CodecContext.create("libopus", mode)  # type: ignore[call-overload]
    except FFmpegError as error:
        raise ConfigError("this build of FFmpeg has no Opus; use pcm16") from error
    codec.sample_rate, codec.layout, codec.format = rate, "mono", "s16"
    opened: AudioCodecContext = codec
    return opened
