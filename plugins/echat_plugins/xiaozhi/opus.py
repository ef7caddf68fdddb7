"""Opus both ways, by FFmpeg's: well below a millisecond for the 60 ms of a frame."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.error import FFmpegError

from echat_plugins.xiaozhi.faults import Fault
from echat_sdk.audio import Hertz, Seconds, Waveform

HEARD_RATE: Hertz = 48_000
"""What decoding gives, whatever a device recorded at."""

SAID_RATE: Hertz = 24_000
FRAME_SECONDS: Seconds = 0.06
FRAME_LEN = round(SAID_RATE * FRAME_SECONDS)
"""Of what a device is sent."""

_BITS = 32_000  # a second


class Decoder:
    """A device's packets, one after the other; it carries state."""

    def __init__(self) -> None:
        self._codec = _codec("r", HEARD_RATE)

    def decode(self, packet: bytes) -> Waveform:
        """The sound of a packet: at most 120 ms at `HEARD_RATE`.

        Raises:
            Fault: it is no Opus.
        """
        if not packet:  # to FFmpeg it is the end of the stream
            raise Fault("an empty packet")
        try:
            frames = self._codec.decode(av.Packet(packet))
        except FFmpegError as error:
            raise Fault("a packet is no Opus") from error
        pieces = [frame.to_ndarray().reshape(-1) for frame in frames]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)


class Encoder:
    """The agent's voice in packets of `FRAME_LEN` samples; it carries state."""

    def __init__(self) -> None:
        codec = self._codec = _codec("w", SAID_RATE)
        codec.format, codec.bit_rate = av.AudioFormat("s16"), _BITS
        codec.time_base = Fraction(1, SAID_RATE)
        codec.options = {
            "application": "voip",
            "compression_level": "5",
            "frame_duration": f"{1000 * FRAME_SECONDS:g}",
        }
        self._at = 0

    def encode(self, samples: Waveform) -> bytes:
        """A packet of one whole frame."""
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.time_base = SAID_RATE, Fraction(1, SAID_RATE)
        frame.pts = self._at
        self._at += len(samples)
        (packet,) = self._codec.encode(frame)
        return bytes(packet)


def _codec(mode: Literal["r", "w"], rate: Hertz) -> AudioCodecContext:
    codec = av.CodecContext.create("libopus", mode)
    codec.sample_rate = rate
    codec.layout = av.AudioLayout("mono")
    return codec
