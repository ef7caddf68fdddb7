"""Whisper's log-mel spectrogram in numpy: the one log-mel of the embedded model.

Constants are those of Whisper (Radford et al. 2022): 25 ms periodic Hann windows every 10 ms,
Slaney mel bands from 0 to 8 kHz, log10, a floor 8 decades under the loudest cell.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from echat_sdk.audio import SAMPLE_RATE, FloatWaveform

N_FFT = 400
HOP = 160
FRAMES_PER_SECOND = SAMPLE_RATE // HOP

Mel = npt.NDArray[np.float32]

# Slaney's scale: linear up to 1 kHz, logarithmic above it.
_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_LOG_FROM_HZ = 1000.0
_LOG_FROM_MEL = _LOG_FROM_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0


@lru_cache(maxsize=4)
def mel_filters(n_mels: int = 80) -> Mel:
    """Area-normalised triangular filters. Shape [M, N_FFT / 2 + 1]."""
    top = _LOG_FROM_MEL + np.log(SAMPLE_RATE / 2 / _LOG_FROM_HZ) / _LOG_STEP
    mels = np.linspace(0.0, top, n_mels + 2)
    edges = np.where(
        mels < _LOG_FROM_MEL,
        mels * _LINEAR_HZ_PER_MEL,
        _LOG_FROM_HZ * np.exp(_LOG_STEP * (mels - _LOG_FROM_MEL)),
    )
    bins = np.fft.rfftfreq(N_FFT, 1.0 / SAMPLE_RATE)
    widths = np.diff(edges)
    slopes = edges[:, None] - bins[None, :]
    rising = -slopes[:-2] / widths[:-1, None]
    falling = slopes[2:] / widths[1:, None]
    filters = np.maximum(0.0, np.minimum(rising, falling))
    filters *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return np.ascontiguousarray(filters, dtype=np.float32)


@lru_cache(maxsize=1)
def _window() -> npt.NDArray[np.float32]:
    return np.hanning(N_FFT + 1)[:-1].astype(np.float32)


def power_spectrogram(samples: FloatWaveform) -> npt.NDArray[np.float32]:
    """Power of centred frames, the last one dropped. Shape [T, N_FFT / 2 + 1], T = S // HOP."""
    half = N_FFT // 2
    if len(samples) <= half:  # too short to be mirrored at its edges
        samples = np.pad(samples, (0, half + 1 - len(samples)))
    padded = np.pad(samples.astype(np.float32, copy=False), half, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP][:-1]
    spectrum = np.fft.rfft(frames * _window(), axis=-1)
    return np.asarray(spectrum.real**2 + spectrum.imag**2, dtype=np.float32)


def log_mel(samples: FloatWaveform, *, n_mels: int = 80) -> Mel:
    """Whisper's input features.

    Args:
        samples: 16 kHz mono in [-1, 1]. Shape [S].
        n_mels: Mel bands: 80 for every Whisper but large-v3.

    Returns:
        Shape [M, T], one frame for each whole 10 ms; no padding is added.
    """
    mel = mel_filters(n_mels) @ power_spectrogram(samples).T
    log = np.log10(np.maximum(mel, 1e-10))
    np.maximum(log, log.max() - 8.0, out=log)
    out: Mel = (log + 4.0) / 4.0
    return out.astype(np.float32, copy=False)
