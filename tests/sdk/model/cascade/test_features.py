from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echat_sdk.model.cascade.features import HOP, N_FFT, log_mel, mel_filters


def tone(hertz: float, seconds: float = 0.5) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(16_000 * seconds)) / 16_000)).astype(
        "f4"
    )


def by_definition(samples: np.ndarray) -> np.ndarray:
    """The same by the textbook's formulas: float64, a Fourier matrix, one frame at a time."""
    padded = np.pad(samples.astype(float), N_FFT // 2, mode="reflect")
    n = np.arange(N_FFT)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / N_FFT)
    fourier = np.exp(-2j * np.pi * np.outer(np.arange(N_FFT // 2 + 1), n) / N_FFT)
    starts = range(0, len(samples) // HOP * HOP, HOP)
    power = [np.abs(fourier @ (padded[s : s + N_FFT] * window)) ** 2 for s in starts]
    log = np.log10(np.maximum(mel_filters() @ np.array(power).T, 1e-10))
    return (np.maximum(log, log.max() - 8) + 4) / 4


def test_the_log_mel_is_what_its_definition_says() -> None:
    rng = np.random.default_rng(0)
    samples = tone(440) + 0.01 * rng.standard_normal(8_000).astype("f4")
    assert np.abs(log_mel(samples) - by_definition(samples)).max() < 1e-4


def test_the_filters_are_those_of_whisper() -> None:
    filters = mel_filters()
    assert filters.shape == (80, 201)
    assert filters[0, 1] == pytest.approx(0.02486259, abs=1e-7)  # published with Whisper's weights
    assert (filters.sum(axis=1) > 0).all()


def test_a_tone_is_loudest_in_the_band_around_it() -> None:
    for hertz in (200.0, 1_000.0, 4_000.0):
        band = int(log_mel(tone(hertz)).mean(axis=1).argmax())
        centre = (np.arange(201) * 40 * mel_filters()[band]).sum() / mel_filters()[band].sum()
        assert abs(centre - hertz) < 0.06 * hertz + 40


@given(length=st.integers(0, 3_000), seed=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_every_length_gives_whole_frames_of_finite_numbers(length: int, seed: int) -> None:
    samples = np.random.default_rng(seed).standard_normal(length).astype("f4")
    mel = log_mel(samples)
    assert mel.shape == (80, max(1, length // HOP))
    assert mel.dtype == np.float32
    assert np.isfinite(mel).all()
    assert mel.max() - mel.min() <= 2.0 + 1e-6  # eight decades over four


@given(gain=st.floats(0.1, 10.0))
@settings(max_examples=20, deadline=None)
def test_gain_only_moves_the_features_up_or_down(gain: float) -> None:
    samples = tone(300) + np.random.default_rng(0).normal(0, 0.01, 8_000).astype("f4")
    moved = log_mel(samples * np.float32(gain)) - log_mel(samples)
    assert np.abs(moved - np.log10(gain) / 2).max() < 1e-2
