"""The vocoder in chunks: nothing that is heard depends on where it was cut."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from echat_sdk.model.echat.token2wav.checkpoint import build_vocoder
from echat_sdk.model.echat.token2wav.config import HOP, SAMPLE_RATE
from echat_sdk.model.echat.token2wav.source import SINE, VOICED_NOISE, Pitch
from echat_sdk.model.echat.token2wav.stream import FADE, WaveStream, fade
from echat_sdk.model.echat.token2wav.synthetic import synthetic_states, tiny_config
from echat_sdk.model.echat.token2wav.vocoder import REACH, Vocoder

pytestmark = pytest.mark.usefixtures("without_gradients")

law = settings(max_examples=8, deadline=None)
F0_REACH = 5
cuts = st.lists(st.integers(1, 20), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def vocoder() -> Vocoder:
    config = tiny_config()
    return build_vocoder(config.vocoder, synthetic_states(config)[1])


class FirstBand(nn.Module):
    """The pitch in hertz is the mel's first band."""

    def forward(self, mel: Tensor) -> Tensor:
        return mel[:, 0]


class Humming(Vocoder):
    """Speaks its source: one sine at the pitch."""

    def __init__(self) -> None:
        super().__init__(tiny_config().vocoder)
        self.f0_predictor = FirstBand()  # type: ignore[assignment]
        nn.init.zeros_(self.m_source.l_linear.bias)
        nn.init.zeros_(self.m_source.l_linear.weight)
        self.m_source.l_linear.weight[0, 0] = 1.0

    def decode(self, mel: Tensor, source: Tensor) -> Tensor:
        return source[:, 0]


def in_chunks(vocoder: Vocoder, mel: Tensor, sizes: list[int], ahead: int) -> Tensor:
    stream, parts, done = WaveStream(vocoder, seed=4), [], 0
    for size in [*sizes, mel.shape[2] - sum(sizes)]:
        parts.append(stream.push(mel[:, :, done : done + size + ahead], size))
        done += size
    return torch.cat(parts)


@law
@given(sizes=cuts)
def test_a_vocoder_that_is_shown_the_future_joins_without_a_seam(
    vocoder: Vocoder, sizes: list[int]
) -> None:
    mel = torch.randn(1, 80, sum(sizes) + 20, generator=torch.Generator().manual_seed(1)) - 4
    whole = in_chunks(vocoder, mel, [], 0)
    cut = in_chunks(vocoder, mel, sizes, REACH + F0_REACH)
    torch.testing.assert_close(cut, whole, rtol=0, atol=1e-4 * float(whole.abs().max()))


@law
@given(sizes=cuts, hertz=st.lists(st.floats(80, 400), min_size=6, max_size=6))
def test_the_pitch_goes_on_in_phase_when_the_future_was_wrong(
    sizes: list[int], hertz: list[float]
) -> None:
    stream, parts = WaveStream(Humming(), seed=4), []
    for size, pitch, wrong in zip(sizes, hertz, reversed(hertz), strict=False):
        mel = torch.full((1, 80, size), pitch)
        parts.append(stream.push(torch.cat([mel, torch.full((1, 80, 17), wrong)], dim=2), size))
    step = float(torch.cat(parts).diff().abs().max())
    noise = 12 * VOICED_NOISE
    fading = SINE / HOP  # the fade itself moves by this in a sample, at most
    assert step <= SINE * 2 * math.pi * 400 / SAMPLE_RATE + fading + noise


class Level(Vocoder):
    """Speaks the level of the mel's first band."""

    def decode(self, mel: Tensor, source: Tensor) -> Tensor:
        return mel[:, 0].repeat_interleave(HOP, dim=1)


def test_what_was_expected_is_left_gradually() -> None:
    stream = WaveStream(Level(tiny_config().vocoder), seed=4)
    frames = torch.zeros(1, 80, 30)
    expected = torch.cat([frames[:, :, :13], torch.ones(1, 80, 17)], dim=2)
    wave = torch.cat([stream.push(expected, 13), stream.push(frames, 30)])
    at_join = wave[13 * HOP :]
    assert not wave[: 13 * HOP].any()
    assert float(at_join[0]) > 0.99  # as the first chunk expected it to go on
    assert float(at_join.diff().abs().max()) < 2 / (FADE * HOP)
    assert not at_join[FADE * HOP :].any()


@law
@given(sizes=cuts)
def test_cycles_do_not_depend_on_how_the_pitch_is_cut(sizes: list[int]) -> None:
    hertz = torch.rand(1, sum(sizes), generator=torch.Generator().manual_seed(2)) * 400
    whole = Pitch.follow(hertz).cycles[0]
    start, place = torch.tensor([0.0], dtype=torch.float64), 0
    for part in torch.split(hertz, sizes, dim=1):
        piece = Pitch.follow(part, start).cycles[0]
        wanted = whole[place : place + len(piece)]
        apart = (piece - wanted + 0.5) % 1 - 0.5  # 0.999... and 0 are the same place
        assert float(apart.abs().max()) < 1e-9
        start, place = piece[-1:], place + part.shape[1]


def test_the_highest_harmonic_is_still_in_phase_after_a_minute(vocoder: Vocoder) -> None:
    frames = 60 * SAMPLE_RATE // HOP
    pitch = Pitch.follow(torch.full((1, frames), 300.0))
    last = Pitch(pitch.hertz[:, -1:], pitch.cycles[:, -2:])
    ours = vocoder.m_source.sines(last, torch.zeros(1, 9), torch.zeros(1, 9, HOP))[0, 8]
    sample = np.arange((frames - 1) * HOP + 1, frames * HOP + 1, dtype=np.float64)
    exact = SINE * np.sin(2 * np.pi * ((9 * 300 / SAMPLE_RATE * sample) % 1))
    assert np.abs(ours.numpy() - exact).max() < 1e-4 * SINE * 10


def test_ten_hertz_itself_is_unvoiced(vocoder: Vocoder) -> None:
    pitch = Pitch.follow(torch.tensor([[10.0, 10.1]]))
    waves = vocoder.m_source.sines(pitch, torch.zeros(1, 9), torch.zeros(1, 9, 2 * HOP))
    assert not waves[..., :HOP].any()
    assert waves[..., HOP:].any()


@law
@given(st.integers(0, 30), st.integers(1, 30), st.integers(0, 40))
def test_a_fade_stays_between_old_and_new(old: int, new: int, most: int) -> None:
    chance = torch.Generator().manual_seed(old)
    before, after = (torch.randn(count, generator=chance) for count in (old, new))
    joined = fade(before, after, most)
    count = min(old, new, most)
    assert joined.shape == after.shape
    assert torch.equal(joined[count:], after[count:])
    low, high = (pick(before[:count], after[:count]) for pick in (torch.minimum, torch.maximum))
    assert ((joined[:count] >= low - 1e-6) & (joined[:count] <= high + 1e-6)).all()


def test_a_fade_between_equals_changes_nothing_and_goes_from_old_to_new() -> None:
    wave = torch.randn(50)
    assert torch.equal(fade(wave, wave, 50), wave)
    ramp = fade(torch.zeros(50), torch.ones(50), 50)
    assert all(earlier < later for earlier, later in itertools.pairwise(ramp.tolist()))
    torch.testing.assert_close(ramp + ramp.flip(0), torch.ones(50))
