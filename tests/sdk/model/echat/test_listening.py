"""Embeddings made while somebody speaks: what is exact is exact, what is final stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echat_sdk.audio import Waveform, to_float
from echat_sdk.errors import AudioFormatError, ConfigError
from echat_sdk.model.echat.features import LogMel
from echat_sdk.model.echat.listening import BlockListener, BlockPlan, Listener, WholeListener

PLAN = BlockPlan(block=4, right=2, left=6)
RATE = 16_000
LAW = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def sound(samples: int, seed: int = 0) -> Waveform:
    """Noise that grows and fades, so that the floor moves."""
    swell = 1 + np.sin(np.arange(samples) / 3000)
    noise = np.random.default_rng(seed).normal(0, 2000, samples)
    return (swell * noise).clip(-32768, 32767).astype(np.int16)


def cut(wave: Waveform, sizes: Sequence[int]) -> list[Waveform]:
    return [piece for piece in np.split(wave, np.cumsum(sizes)) if len(piece)]


@torch.inference_mode()
def exact(model: Any, wave: Waveform) -> torch.Tensor:
    embeds, _ = model.hear(LogMel()(torch.from_numpy(to_float(wave))[None])[0])
    return embeds[0]


@LAW
@given(st.lists(st.integers(1, 9000), min_size=1, max_size=6), st.sets(st.integers(0, 6)))
def test_exact_hearing_is_that_of_the_whole_however_it_is_pushed(
    small_model: Any, sizes: list[int], asked: set[int]
) -> None:
    wave = sound(sum(sizes) + 400)
    listener: Listener = WholeListener(small_model, LogMel())
    come = 0
    for place, piece in enumerate(cut(wave, sizes)):
        assert not listener.push(piece)
        come += len(piece)
        if place in asked and come >= 400:
            torch.testing.assert_close(
                listener.embeds(), exact(small_model, wave[:come]), atol=1e-4, rtol=1e-4
            )
    torch.testing.assert_close(listener.embeds(), exact(small_model, wave), atol=1e-4, rtol=1e-4)


@LAW
@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=6), st.sets(st.integers(0, 6)))
def test_blocks_do_not_hang_on_how_sound_is_pushed_nor_on_who_asks(
    small_model: Any, sizes: list[int], asked: set[int]
) -> None:
    wave = sound(sum(sizes) + 400)
    listener = BlockListener(small_model, LogMel(), PLAN)
    for place, piece in enumerate(cut(wave, sizes)):
        listener.push(piece)
        if place in asked and len(piece) >= 400:
            listener.embeds()
    at_once = BlockListener(small_model, LogMel(), PLAN)
    at_once.push(wave)
    assert len(listener.embeds()) == -(-(len(wave) // 160) // 8)
    torch.testing.assert_close(listener.embeds(), at_once.embeds(), atol=1e-4, rtol=1e-4)


def test_what_is_final_is_never_changed(small_model: Any) -> None:
    listener = BlockListener(small_model, LogMel(), PLAN)
    assert listener.final() is None
    seen: list[torch.Tensor] = []
    for piece in np.split(sound(3 * RATE), 30):
        if listener.push(piece):
            final = listener.final()
            assert final is not None
            seen.append(final)
    assert [len(each) for each in seen] == [4, 8, 12, 16, 20, 24, 28, 32]
    whole = listener.embeds()
    for each in seen:
        assert torch.equal(each, whole[: len(each)])


def test_an_utterance_within_its_first_block_is_heard_exactly(small_model: Any) -> None:
    wave = sound(2 * RATE + 77)
    listener = BlockListener(small_model, LogMel())  # 2 s, and 0.48 s behind them
    for piece in np.split(wave[:-77], 100):
        listener.push(piece)
    listener.push(wave[-77:])
    torch.testing.assert_close(listener.embeds(), exact(small_model, wave), atol=1e-4, rtol=1e-4)


def test_but_for_attention_and_floor_blocks_are_exact(small_model: Any) -> None:
    """Convolutions, positions and the adapter's stride go on over the seams."""
    with torch.no_grad():
        for layer in (*small_model.encoder.layers, *small_model.adapter.layers):
            layer.self_attn.out_proj.weight.zero_()
            layer.self_attn.out_proj.bias.zero_()
    wave = np.random.default_rng(1).normal(0, 2000, 4 * RATE + 1234).astype(np.int16)
    wave[0:400] = 30_000 * (-1) ** np.arange(400)  # the loudest is known from the start
    listener = BlockListener(small_model, LogMel(), PLAN)
    listener.push(wave)
    final = listener.final()
    assert final is not None
    assert len(final) == 48
    torch.testing.assert_close(listener.embeds(), exact(small_model, wave), atol=1e-3, rtol=1e-3)


def test_an_approximation_is_close_where_attention_is_weak(small_model: Any) -> None:
    with torch.no_grad():
        for layer in (*small_model.encoder.layers, *small_model.adapter.layers):
            layer.self_attn.out_proj.weight.mul_(0.1)
    wave = sound(3 * RATE)
    listener = BlockListener(small_model, LogMel(), PLAN)
    listener.push(wave)
    expected = exact(small_model, wave)
    similar = torch.nn.functional.cosine_similarity(listener.embeds(), expected)
    assert not torch.allclose(listener.embeds(), expected, atol=1e-3)
    assert similar.min() > 0.9


def test_what_cannot_be_is_told(small_model: Any) -> None:
    with pytest.raises(ConfigError, match="blocks of 0"):
        BlockPlan(block=0)
    for listener in (WholeListener(small_model, LogMel()), BlockListener(small_model, LogMel())):
        listener.push(sound(399))
        with pytest.raises(AudioFormatError, match="399 samples"):
            listener.embeds()
