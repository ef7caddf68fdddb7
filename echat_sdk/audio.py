"""Sound as the whole package sees it: int16 mono frames of 20 ms at 16 kHz.

int16 outside a model, float32 inside one. Reading files is in `io/wav.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Seconds = float
Hertz = int
Waveform = npt.NDArray[np.int16]
FloatWaveform = npt.NDArray[np.float32]

SAMPLE_RATE: Hertz = 16_000
FRAME_SECONDS: Seconds = 0.02
FRAME_LEN = int(SAMPLE_RATE * FRAME_SECONDS)


@dataclass(frozen=True, slots=True)
class AudioFrame:
    """20 ms of 16 kHz mono.

    Attributes:
        samples: int16. Shape [S], S = 320.
    """

    samples: Waveform

    def __post_init__(self) -> None:
        assert self.samples.shape == (FRAME_LEN,), f"frame of shape {self.samples.shape}"
        assert self.samples.dtype == np.int16, f"frame of {self.samples.dtype}"


def frames(samples: Waveform) -> Iterator[AudioFrame]:
    """Cut a waveform into frames; the last one is filled up with silence."""
    for start in range(0, len(samples), FRAME_LEN):
        piece = samples[start : start + FRAME_LEN]
        if len(piece) < FRAME_LEN:
            piece = np.pad(piece, (0, FRAME_LEN - len(piece)))
        yield AudioFrame(piece)


def power(samples: Waveform) -> float:
    """The mean square of int16."""
    given = samples.astype(np.float32)
    return float(np.dot(given, given)) / len(given)


def to_float(samples: Waveform) -> FloatWaveform:
    """int16 to float32 in [-1, 1)."""
    return samples.astype(np.float32) / np.float32(32768.0)


def to_int16(samples: FloatWaveform) -> Waveform:
    """Float32 in [-1, 1] to int16; louder is clipped, never wrapped."""
    return (np.clip(samples, -1.0, 32767 / 32768) * np.float32(32768.0)).round().astype(np.int16)
