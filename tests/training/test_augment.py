from __future__ import annotations

import numpy as np
import pytest

from echat_sdk.model.cascade.acoustics import pitch
from echat_training import augment


def buzz(hertz: float = 150.0, seconds: float = 1.0) -> np.ndarray:
    t = np.arange(int(16_000 * seconds)) / 16_000
    return sum(np.sin(2 * np.pi * k * hertz * t) / k for k in range(1, 20)).astype("f4") * 0.2


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def height(samples: np.ndarray) -> float:
    return float(np.median(pitch(samples)[0]))


def test_speed_moves_length_and_pitch() -> None:
    fast = augment.speed(buzz(), 1.15)
    assert len(fast) == pytest.approx(16_000 / 1.15, rel=0.01)
    assert height(fast) == pytest.approx(150 * 1.15, rel=0.03)


def test_stretching_moves_length_and_keeps_pitch() -> None:
    for factor in (0.85, 1.15):
        stretched = augment.stretch(buzz(), factor)
        assert len(stretched) == pytest.approx(16_000 / factor, rel=0.05)
        assert height(stretched) == pytest.approx(150, rel=0.03)


def test_noise_is_as_loud_as_asked() -> None:
    clean = buzz()
    for snr in (0.0, 10.0, 30.0):
        added = augment.noise(clean, snr, rng()) - clean
        measured = 10 * np.log10(np.mean(clean**2) / np.mean(added**2))
        assert measured == pytest.approx(snr, abs=0.1)


def test_the_telephone_takes_lows_and_highs() -> None:
    def power(samples: np.ndarray, low: float, high: float) -> float:
        hertz = np.fft.rfftfreq(len(samples), 1 / 16_000)
        return float((np.abs(np.fft.rfft(samples)) ** 2)[(hertz > low) & (hertz < high)].sum())

    noise = rng().standard_normal(16_000).astype("f4") * 0.1
    heard = augment.telephone(noise)
    assert power(heard, 4_500, 8_000) < 0.02 * power(heard, 500, 3_000)
    assert power(heard, 0, 150) < 0.02 * power(heard, 500, 3_000)


def test_a_room_has_a_tail() -> None:
    click = np.zeros(16_000, np.float32)
    click[100] = 1.0
    tail = augment.reverb(click, 0.5, rng())
    early, late = np.abs(tail[200:1_600]).max(), np.abs(tail[8_000:9_000]).max()
    assert early > 10 * late


def test_a_seed_replays_a_disturbance_and_another_does_not() -> None:
    one, same = (augment.disturb(buzz(), rng()) for _ in range(2))
    other = augment.disturb(buzz(), np.random.default_rng(8))
    assert np.array_equal(one, same)
    assert one.shape != other.shape or not np.array_equal(one, other)


def test_whatever_the_seed_a_disturbed_voice_is_finite_and_long_enough() -> None:
    for seed in range(12):
        out = augment.disturb(buzz(seconds=2.0), np.random.default_rng(seed))
        assert out.dtype == np.float32
        assert np.isfinite(out).all()
        assert len(out) > 0.7 * 16_000
