"""The flow beyond parity: batches, windows, noise that is tied to its place."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from echat_sdk.model.echat.token2wav.config import FlowConfig, VocoderConfig, mel_frames
from echat_sdk.model.echat.token2wav.flow import Condition, Flow
from echat_sdk.model.echat.token2wav.noise import NoiseTape
from echat_sdk.model.echat.token2wav.regulator import stretch, stretch_window
from echat_sdk.model.echat.token2wav.synthetic import released_spelling
from echat_sdk.model.echat.token2wav.vocoder import Vocoder

pytestmark = pytest.mark.usefixtures("without_gradients")

law = settings(max_examples=8, deadline=None)


def random_condition(rows: int, frames: int) -> Condition:
    chance = torch.Generator().manual_seed(frames)
    draw = (torch.randn(rows, 80, frames, generator=chance) for _ in range(2))
    return Condition(next(draw), torch.randn(rows, 80, generator=chance), next(draw))


def test_the_default_sizes_are_the_released_ones() -> None:
    with torch.device("meta"):
        flow, vocoder = Flow(FlowConfig()), Vocoder(VocoderConfig())
    spelt = released_spelling(vocoder.state_dict())
    assert sum(weight.numel() for weight in flow.state_dict().values()) == 104_874_752
    assert len(flow.state_dict()) == 1185
    assert sum(weight.numel() for weight in spelt.values()) == 20_460_591
    assert len(spelt) == 227


@law
@given(lengths=st.lists(st.integers(1, 30), min_size=2, max_size=3))
def test_a_row_of_a_batch_is_what_it_is_alone(flow: Flow, lengths: list[int]) -> None:
    # In float64: norms over a frame or two make much of float32's rounding.
    estimator = copy.deepcopy(flow.decoder.estimator).double()
    most = max(lengths)
    given_all = random_condition(len(lengths), most)
    mu, spks, cond = (x.double() for x in (given_all.mu, given_all.spks, given_all.cond))
    mask = (torch.arange(most) < torch.tensor(lengths)[:, None])[:, None].double()
    time = torch.tensor([0.3])
    batch = estimator(cond, mask, mu, time, spks, cond)
    for row, length in enumerate(lengths):
        one, kept = slice(row, row + 1), slice(length)
        alone = estimator(
            cond[one, :, kept], None, mu[one, :, kept], time, spks[one], cond[one, :, kept]
        )
        torch.testing.assert_close(batch[one, :, kept], alone, rtol=1e-9, atol=1e-9)
        assert not batch[one, :, length:].any()


def test_answers_of_two_lengths_are_solved_together(flow: Flow) -> None:
    together, noise = random_condition(2, 30), random_condition(2, 30).cond
    mask = (torch.arange(30) < torch.tensor([[30], [17]]))[:, None].float()
    batch = flow.decoder(noise, together, steps=3, mask=mask)
    short = Condition(together.mu[1:, :, :17], together.spks[1:], together.cond[1:, :, :17])
    alone = flow.decoder(noise[1:, :, :17], short, steps=3)
    torch.testing.assert_close(batch[1:, :, :17], alone, rtol=1e-4, atol=1e-4)


def test_encoded_rows_are_what_they_are_alone(flow: Flow) -> None:
    codes = torch.randint(0, 4096, (2, 30), generator=torch.Generator().manual_seed(2))
    lengths = torch.tensor([30, 13])
    batch = flow.encode(flow.embed(codes, lengths), lengths)
    alone = flow.encode(flow.embed(codes[1:, :13]))
    torch.testing.assert_close(batch[1:, :13], alone, rtol=1e-5, atol=1e-5)


def test_a_voice_without_a_recording_speaks(flow: Flow) -> None:
    voice = torch.zeros(0, dtype=torch.int64), torch.zeros(0, 80), torch.ones(192)
    mel = flow(torch.tensor([[7]]), flow.prompt(*voice), torch.randn(1, 80, 3), steps=1)
    assert mel.shape == (1, 80, 3)
    assert mel.isfinite().all()


def test_mel_frames_are_counted_in_integers() -> None:
    assert [mel_frames(codes) for codes in (0, 1, 20, 128)] == [0, 3, 68, 441]
    assert mel_frames(4480) == 15_435  # where floating point comes out one short


@law
@given(start=st.integers(0, 500), middle=st.integers(10, 30), end=st.integers(4, 30))
def test_windows_agree_on_the_frames_that_they_share(start: int, middle: int, end: int) -> None:
    chance = torch.Generator().manual_seed(start)
    states = torch.randn(1, 3 + middle + end, 80, generator=chance)
    early = stretch_window(states[:, : 3 + middle], start)
    late = stretch_window(states[:, 3:], start + 3)
    # All but the frames before a window's first code's centre and after its last one's.
    shift = mel_frames(start + 3) - mel_frames(start)
    shared = early.shape[1] - shift
    torch.testing.assert_close(early[:, shift + 3 : -3], late[:, 3 : shared - 3])


def test_a_window_of_128_codes_is_stretched_as_the_whole() -> None:
    states = torch.randn(1, 128, 80, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(stretch_window(states, 0), stretch(states, 441), rtol=0, atol=2e-4)


@law
@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300), st.integers())
def test_noise_is_tied_to_its_place(start: int, first: int, second: int, seed: int) -> None:
    tape = NoiseTape(seed, 1, rows=2, block=64)
    cut = [tape.read(start, start + first), tape.read(start + first, start + first + second)]
    assert torch.equal(tape.read(start, start + first + second), torch.cat(cut, dim=2))


def test_tapes_of_another_seed_track_or_block_are_independent_and_normal() -> None:
    tape = NoiseTape(0, 0, rows=1, block=1024).read(0, 20_000)[0, 0]
    others = [
        NoiseTape(1, 0, rows=1, block=1024).read(0, 20_000)[0, 0],
        NoiseTape(0, 1, rows=1, block=1024).read(0, 20_000)[0, 0],
        NoiseTape(0, 0, rows=1, block=1024).read(1024, 21_024)[0, 0],
    ]
    assert abs(float(tape.mean())) < 0.03
    assert abs(float(tape.std()) - 1) < 0.03
    assert all(abs(float((tape * other).mean())) < 0.03 for other in others)
