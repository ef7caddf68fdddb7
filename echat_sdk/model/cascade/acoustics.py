"""Pitch, loudness and timbre of an utterance in twenty numbers.

Pitch is found by autocorrelation (Boersma 1993): each window's autocorrelation over that of the
window itself. Levels are relative to the utterance's own: the gain of a microphone is not in them.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from echat_sdk.audio import SAMPLE_RATE, FloatWaveform
from echat_sdk.model.cascade.features import FRAMES_PER_SECOND, HOP, power_spectrogram

Vector = npt.NDArray[np.float32]

LOWEST_HZ = 65.0
HIGHEST_HZ = 600.0
_WINDOW = 640  # 40 ms: two and a half periods of the lowest voice
_N_FFT = 1024
_VOICED = 0.5  # height of the autocorrelation's peak from which a frame counts as voiced

MEASURES = (
    "f0_median",
    "f0_low",
    "f0_high",
    "f0_range",
    "f0_deviation",
    "f0_slope",
    "f0_movement",
    "voiced_ratio",
    "periodicity",
    "level_range",
    "level_deviation",
    "level_movement",
    "peaks_per_second",
    "pause_ratio",
    "low_ratio",
    "mid_ratio",
    "high_ratio",
    "tilt_deviation",
    "loud_soft_tilt",
    "flux",
)


def pitch(samples: FloatWaveform) -> tuple[Vector, Vector]:
    """Fundamental frequency in Hz and periodicity (0 to 1), every 10 ms. Shape [T] both."""
    window, own, weight = _pitch_window()
    padded = np.pad(samples.astype(np.float32, copy=False), (_WINDOW // 2, _WINDOW))
    count = max(1, len(samples) // HOP)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::HOP][:count]
    frames = (frames - frames.mean(axis=1, keepdims=True)) * window
    spectrum = np.fft.rfft(frames, _N_FFT, axis=1)
    correlation = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, _N_FFT, axis=1)
    shortest, longest = int(SAMPLE_RATE / HIGHEST_HZ), int(SAMPLE_RATE / LOWEST_HZ)
    energy = np.maximum(correlation[:, :1], 1e-9)
    normal = correlation[:, shortest : longest + 1] / energy / own[shortest : longest + 1]
    best = (normal * weight).argmax(axis=1)
    periodicity = np.clip(normal[np.arange(len(best)), best], 0.0, 1.0)
    f0 = SAMPLE_RATE / (best + shortest)
    return f0.astype(np.float32), periodicity.astype(np.float32)


@lru_cache(maxsize=1)
def _pitch_window() -> tuple[Vector, Vector, Vector]:
    window = np.hanning(_WINDOW).astype(np.float32)
    own = np.fft.irfft(np.abs(np.fft.rfft(window, _N_FFT)) ** 2, _N_FFT)
    own = np.maximum(own / own[0], 0.05).astype(np.float32)
    lags = np.arange(int(SAMPLE_RATE / HIGHEST_HZ), int(SAMPLE_RATE / LOWEST_HZ) + 1)
    # A slight preference for the shorter period keeps the search from the octave below.
    weight = (1.0 - 0.03 * np.log2(lags / lags[0])).astype(np.float32)
    return window, own, weight


def acoustics(samples: FloatWaveform) -> Vector:
    """The numbers that `MEASURES` names. Shape [20].

    Args:
        samples: 16 kHz mono, cut to the speech. Shape [S], at least 0.2 s.
    """
    power = power_spectrogram(samples)
    f0, periodicity = pitch(samples)
    length = min(len(f0), len(power))
    power, f0, periodicity = power[:length], f0[:length], periodicity[:length]

    level = 10.0 * np.log10(power.sum(axis=1) + 1e-7)
    loud = level > np.percentile(level, 95) - 30.0
    voiced = loud & (periodicity > _VOICED)
    if voiced.sum() < 5:
        voiced = loud
    tones = 12.0 * np.log2(_smooth(f0[voiced]) / 100.0)
    low, high = np.percentile(tones, [10, 90])
    times = np.flatnonzero(voiced) / FRAMES_PER_SECOND
    slope = float(np.polyfit(times, tones, 1)[0]) if np.ptp(times) > 0.1 else 0.0

    smooth_level = _smooth(level)
    rises = (smooth_level[1:-1] > smooth_level[:-2]) & (smooth_level[1:-1] >= smooth_level[2:])
    peaks = rises & loud[1:-1]
    spoken = level[loud]

    bands = np.stack(
        [power[:, a:b].sum(axis=1) for a, b in ((2, 13), (13, 25), (25, 75), (75, 150))], axis=1
    )  # 80-500, 500-1000, 1000-3000, 3000-6000 Hz
    ratios = 10.0 * np.log10(bands + 1e-7)
    tilt = ratios[:, 2] - ratios[:, 0]
    of_voiced = ratios[voiced]
    louder = level[voiced] > np.median(level[voiced])
    shape = np.sqrt(power / np.maximum(power.sum(axis=1, keepdims=True), 1e-9))
    flux = np.sqrt(np.square(np.diff(shape, axis=0)).sum(axis=1))[loud[1:]]

    values = (
        np.median(tones),
        low,
        high,
        high - low,
        tones.std(),
        np.clip(slope, -20, 20),
        np.abs(np.diff(tones)).clip(0, 3).mean() if len(tones) > 1 else 0.0,
        voiced.sum() / max(1, loud.sum()),
        periodicity[voiced].mean(),
        np.percentile(spoken, 95) - np.percentile(spoken, 20),
        spoken.std(),
        np.abs(np.diff(spoken)).mean() if len(spoken) > 1 else 0.0,
        peaks.sum() * FRAMES_PER_SECOND / length,
        1.0 - loud.mean(),
        (of_voiced[:, 1] - of_voiced[:, 0]).mean(),
        (of_voiced[:, 2] - of_voiced[:, 0]).mean(),
        (of_voiced[:, 3] - of_voiced[:, 0]).mean(),
        tilt[voiced].std(),
        tilt[voiced][louder].mean() - tilt[voiced][~louder].mean() if louder.any() else 0.0,
        flux.mean() if len(flux) else 0.0,
    )
    return np.nan_to_num(np.asarray(values, dtype=np.float32))


def _smooth(values: Vector) -> Vector:
    """Median of five: takes out single octave jumps."""
    padded = np.pad(values, 2, mode="edge")
    out: Vector = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    return out
