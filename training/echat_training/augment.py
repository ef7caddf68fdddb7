"""What happens to a voice on its way to a microphone: other rates, rooms, lines, noises, cuts.

Pure functions of a waveform (16 kHz mono float32) and a NumPy generator: a seed replays all.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import soxr
from scipy.signal import butter, fftconvolve, sosfilt

from echat_sdk.audio import SAMPLE_RATE, FloatWaveform

Rng = np.random.Generator


def speed(samples: FloatWaveform, factor: float) -> FloatWaveform:
    """Faster and higher (factor above 1) or slower and lower, as a tape would do it."""
    out: FloatWaveform = soxr.resample(samples, SAMPLE_RATE * factor, SAMPLE_RATE)
    return out.astype(np.float32)


def stretch(samples: FloatWaveform, factor: float) -> FloatWaveform:
    """Faster (factor above 1) or slower at the same pitch, by overlapping like pieces (WSOLA)."""
    size, hop, search = 640, 320, 160
    if len(samples) < 2 * size:
        return samples
    window = np.hanning(size).astype(np.float32)
    padded = np.pad(samples, (search, size + search))
    n_pieces = int((len(samples) / factor - size) / hop) + 1
    out = np.zeros(n_pieces * hop + size, np.float32)
    total = np.full(len(out), 1e-3, np.float32)
    follow = padded[search : search + size]
    for i in range(n_pieces):
        centre = int(i * hop * factor) + search
        region = padded[centre - search : centre + size + search]
        if len(region) < size + 2 * search:
            break
        best = int(np.correlate(region, follow, mode="valid").argmax())
        start = centre - search + best
        out[i * hop : i * hop + size] += padded[start : start + size] * window
        total[i * hop : i * hop + size] += window
        follow = padded[start + hop : start + hop + size]
        if len(follow) < size:
            break
    return out / total


def pitch_shift(samples: FloatWaveform, semitones: float) -> FloatWaveform:
    """Higher or lower at the same rate; formants move along, as from one speaker to another."""
    factor = 2.0 ** (semitones / 12.0)
    return stretch(speed(samples, factor), 1.0 / factor)


def noise(samples: FloatWaveform, snr_db: float, rng: Rng, *, slope: float = 0.5) -> FloatWaveform:
    """Add steady noise whose power falls with frequency to the power of twice `slope`."""
    n = len(samples)
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1.0) ** slope
    hiss = np.fft.irfft(spectrum, n)
    hiss *= np.sqrt(np.mean(samples**2) / max(float(np.mean(hiss**2)), 1e-12)) * 10 ** (
        -snr_db / 20
    )
    return (samples + hiss).astype(np.float32)


def reverb(samples: FloatWaveform, seconds: float, rng: Rng) -> FloatWaveform:
    """A room: decaying noise after a direct sound; `seconds` is the time of decay by 60 dB."""
    n = int(seconds * SAMPLE_RATE)
    tail = rng.standard_normal(n) * 10 ** (-3.0 * np.arange(n) / n)
    tail *= rng.uniform(0.3, 0.9) / np.sqrt(np.sum(tail**2))
    tail[0] += 1.0
    return np.asarray(fftconvolve(samples, tail)[: len(samples)], dtype=np.float32)


def telephone(samples: FloatWaveform) -> FloatWaveform:
    """300 to 3400 Hz and eight bits of mu-law."""
    band = butter(4, [300, 3400], btype="bandpass", fs=SAMPLE_RATE, output="sos")
    narrow = np.asarray(sosfilt(band, samples))
    narrow = narrow / max(float(np.abs(narrow).max()), 1e-6)
    coded = np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256)
    coded = np.round(coded * 127) / 127
    out: npt.NDArray[np.float64] = np.sign(coded) * (256 ** np.abs(coded) - 1) / 255
    return out.astype(np.float32)


def colour(samples: FloatWaveform, rng: Rng, *, most_db: float = 8.0) -> FloatWaveform:
    """Another microphone: a smooth random curve over the spectrum."""
    knots = np.array([0, 150, 400, 1000, 2500, 5000, 8000], dtype=np.float64)
    gains = rng.uniform(-most_db, most_db, len(knots)) * np.array([2, 1, 0.7, 0.5, 0.7, 1, 1.5]) / 2
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    spectrum *= 10 ** (np.interp(hertz, knots, gains) / 20)
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


def crop(samples: FloatWaveform, rng: Rng, *, least_seconds: float = 1.0) -> FloatWaveform:
    """A random piece of at least `least_seconds`."""
    least = int(least_seconds * SAMPLE_RATE)
    if len(samples) <= least:
        return samples
    size = int(rng.integers(least, len(samples) + 1))
    start = int(rng.integers(0, len(samples) - size + 1))
    return samples[start : start + size]


def disturb(samples: FloatWaveform, rng: Rng) -> FloatWaveform:
    """A random chain of the above."""
    if rng.random() < 0.5:
        samples = crop(samples, rng)
    if rng.random() < 0.7:
        samples = speed(samples, rng.uniform(0.85, 1.15))
    if rng.random() < 0.4:
        samples = stretch(samples, rng.uniform(0.85, 1.15))
    if rng.random() < 0.6:
        samples = colour(samples, rng)
    if rng.random() < 0.35:
        samples = reverb(samples, rng.uniform(0.15, 0.6), rng)
    if rng.random() < 0.5:
        samples = noise(samples, rng.uniform(5, 30), rng, slope=rng.uniform(0.0, 1.0))
    if rng.random() < 0.2:
        samples = telephone(samples)
    return samples * np.float32(rng.uniform(0.1, 1.0))
