from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.model.cascade.prosody import PROSODY, Prosody, shape_pitch, stretch, tilt_wave

FRAME = 0.0125
TRACKS = st.lists(st.sampled_from([-1.0, 0.0, 90.0, 180.0, 260.0, 400.0]), min_size=1, max_size=80)


@given(TRACKS)
def test_a_neutral_prosody_leaves_the_pitch_as_it_is(track: list[float]) -> None:
    f0 = np.array(track, np.float32)
    assert np.allclose(shape_pitch(f0, Prosody(), frame=FRAME), f0, rtol=1e-5)


@given(TRACKS, st.sampled_from(list(PROSODY.values())))
def test_where_there_is_no_pitch_none_is_made_and_where_there_is_it_stays_a_voice(
    track: list[float], prosody: Prosody
) -> None:
    f0 = np.array(track, np.float32)
    shaped = shape_pitch(f0, prosody, frame=FRAME)
    voiced = f0 > 40
    assert np.array_equal(shaped[~voiced], f0[~voiced])
    assert np.all((shaped[voiced] >= 60) & (shaped[voiced] <= 500))


def test_pitch_range_and_ending_do_what_they_say() -> None:
    f0 = np.array([100.0, 200.0, 200.0, 400.0] * 20, np.float32)
    octave_up = shape_pitch(f0 / 2, Prosody(pitch=12), frame=FRAME)
    assert np.allclose(octave_up, f0)
    flat = shape_pitch(f0, Prosody(range=0), frame=FRAME)
    assert np.allclose(flat, 200)
    falling = shape_pitch(np.full(100, 200, np.float32), Prosody(final=-2), frame=FRAME)
    assert falling[0] == pytest.approx(200)
    assert falling[-1] == pytest.approx(200 * 2 ** (-2 / 12), rel=1e-3)
    assert np.all(np.diff(falling) <= 0)


@given(st.integers(1, 50), st.integers(1, 80))
def test_a_stretched_plan_keeps_its_order_and_its_ends(frames: int, wanted: int) -> None:
    track = np.arange(frames, dtype=np.float32)[None, None]
    stretched = stretch(track, wanted)
    assert stretched.shape == (1, 1, wanted)
    assert np.all(np.diff(stretched) >= 0)
    assert set(stretched.ravel()) <= set(track.ravel())
    if wanted >= frames:
        assert set(stretched.ravel()) == set(track.ravel())
    assert np.array_equal(stretch(track, frames), track)


def test_a_language_with_tones_keeps_them() -> None:
    sad = Prosody(pitch=-2, range=0.6, final=-2, rate=0.9)
    assert sad.keeping_tones() == Prosody(pitch=-2, range=0.9, final=-0.5, rate=0.9)


def test_a_tilt_turns_the_high_part_down_and_leaves_the_low_part() -> None:
    time = np.arange(24_000) / 24_000
    low, high = np.sin(2 * np.pi * 200 * time), np.sin(2 * np.pi * 4000 * time)
    for wave, octaves in ((low, 0), (high, 3)):
        dulled = tilt_wave(wave.astype(np.float32), 24_000, -2.0)
        ratio = np.std(dulled[2000:-2000]) / np.std(wave)
        assert 20 * np.log10(ratio) == pytest.approx(-2.0 * octaves, abs=0.1)
