"""Sound of any rate and in pieces of any length, as frames of 20 ms at 16 kHz."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import soxr

from echat_sdk.audio import FRAME_LEN, SAMPLE_RATE, AudioFrame, Hertz, Waveform


class Framer:
    """Carries what does not fill a frame yet, and the resampler's state.

    The resampler holds back about 40 ms (of 8 kHz, 115). Faster ones take what is above 6 kHz from
    the voice, in which emotion is heard too.

    Args:
        rate: Samples a second of what is pushed.
    """

    def __init__(self, rate: Hertz) -> None:
        self._resampler = (
            None if rate == SAMPLE_RATE
            else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="int16")
        )  # fmt: skip
        self._rest = np.zeros(0, np.int16)

    def push(self, samples: Waveform) -> Iterator[AudioFrame]:
        """Take the next samples, int16 mono; the frames that are full now."""
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples)
        samples = np.concatenate((self._rest, samples))
        whole = len(samples) // FRAME_LEN * FRAME_LEN
        self._rest = samples[whole:].copy()
        for start in range(0, whole, FRAME_LEN):
            yield AudioFrame(samples[start : start + FRAME_LEN].copy())
