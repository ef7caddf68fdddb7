"""Reading together is reading alone: any lengths, any pasts, in float and in eight bits."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echat_sdk.errors import GenerationError
from echat_sdk.model.echat.quantize import quantize
from echat_sdk.model.echat.runner import Prompt, Runner

ROW = st.tuples(st.integers(0, 30), st.integers(1, 40))
"""Positions held before, and ids read behind them."""


@pytest.fixture(params=["float32", "int8"])
def network(request: pytest.FixtureRequest, small_model: Any) -> Any:
    if request.param == "int8":
        small_model = copy.deepcopy(small_model)
        quantize(small_model.llm)
    return small_model


def prompt_of(seed: int, length: int, model: Any, *, hears: bool = False) -> Prompt:
    chance = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 300, (length,), generator=chance).tolist()
    if not hears:
        return Prompt(tuple(ids))
    ids[::3] = [model.config.vocab.audio_placeholder] * len(ids[::3])
    heard = torch.randn((len(ids[::3]), model.config.hidden_size), generator=chance)
    return Prompt(tuple(ids), heard)


@torch.inference_mode()
def read(model: Any, rows: Sequence[tuple[int, int]], *, together: bool) -> tuple[Any, Runner]:
    runner = Runner(model, rows=len(rows), most=512)
    for row, (past, _) in enumerate(rows):
        if past:
            runner.prefill([(row, 0, prompt_of(100 + row, past, model))])
    readings = [
        (row, past, prompt_of(row, new, model, hears=row % 2 == 0))
        for row, (past, new) in enumerate(rows)
    ]
    if together:
        return runner.prefill(readings), runner
    return torch.cat([runner.prefill([one]) for one in readings]), runner


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(ROW, min_size=1, max_size=6))
def test_prompts_read_together_give_what_each_gives_alone(
    network: Any, rows: list[tuple[int, int]]
) -> None:
    alone, one_by_one = read(network, rows, together=False)
    found, runner = read(network, rows, together=True)

    torch.testing.assert_close(found, alone, rtol=1e-5, atol=1e-4)
    for row, (past, new) in enumerate(rows):
        ours, theirs = runner.park(row, past + new), one_by_one.park(row, past + new)
        torch.testing.assert_close(ours.keys, theirs.keys, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(ours.values, theirs.values, rtol=1e-5, atol=1e-4)


@torch.inference_mode()
def test_padding_is_written_nowhere(small_model: Any) -> None:
    runner = Runner(small_model, rows=2, most=64)
    runner.prefill([(0, 0, prompt_of(0, 3, small_model)), (1, 0, prompt_of(1, 14, small_model))])

    assert not runner.park(0, 64).keys[:, :, 3:].any()
    assert runner.park(1, 14).keys.all(dim=-1).any()


@torch.inference_mode()
def test_a_full_row_is_read_with_longer_prompts_of_others(small_model: Any) -> None:
    """Padding would not fit behind it; it needs no place."""
    rows = [(60, 4), (0, 16)]
    alone, _ = read(small_model, rows, together=False)
    runner = Runner(small_model, rows=2, most=64)
    runner.prefill([(0, 0, prompt_of(100, 60, small_model))])
    found = runner.prefill(
        [
            (0, 60, prompt_of(0, 4, small_model, hears=True)),
            (1, 0, prompt_of(1, 16, small_model)),
        ]
    )
    torch.testing.assert_close(found, alone, rtol=1e-5, atol=1e-4)


@torch.inference_mode()
def test_prompts_of_about_one_length_share_a_forward(
    small_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, int]] = []
    forward = small_model.backbone.forward

    def counted(*args: Any, inputs_embeds: torch.Tensor, **kwargs: Any) -> Any:
        sizes.append((inputs_embeds.shape[0], inputs_embeds.shape[1]))
        return forward(*args, inputs_embeds=inputs_embeds, **kwargs)

    monkeypatch.setattr(small_model.backbone, "forward", counted)
    runner = Runner(small_model, rows=5, most=512)
    lengths = (200, 3, 60, 16, 64)
    runner.prefill([(row, 0, prompt_of(row, n, small_model)) for row, n in enumerate(lengths)])

    assert sizes == [(2, 16), (2, 64), (1, 200)]


@torch.inference_mode()
def test_a_prompt_in_pieces_gives_what_it_gives_whole(small_model: Any) -> None:
    prompt, holder = prompt_of(4, 50, small_model, hears=True), 0
    holder = small_model.config.vocab.audio_placeholder
    whole = Runner(small_model, rows=1, most=64).prefill([(0, 0, prompt)])
    runner = Runner(small_model, rows=1, most=64)
    for start in range(0, 50, 7):
        last = runner.prefill([(0, start, prompt.part(start, min(start + 7, 50), holder))])

    torch.testing.assert_close(last, whole, rtol=1e-5, atol=1e-4)


@torch.inference_mode()
def test_rows_that_change_places_keep_what_they_hold(small_model: Any) -> None:
    runner = Runner(small_model, rows=2, most=64)
    runner.prefill([(row, 0, prompt_of(row, 9, small_model)) for row in range(2)])
    before = [runner.park(row, 9) for row in range(2)]
    runner.swap(0, 1, 9)

    assert torch.equal(runner.park(0, 9).keys, before[1].keys)
    assert torch.equal(runner.park(1, 9).values, before[0].values)


def test_a_prompt_that_cannot_be_read_is_refused_by_what_is_wrong(small_model: Any) -> None:
    runner = Runner(small_model, rows=1, most=64)
    holder = small_model.config.vocab.audio_placeholder
    with pytest.raises(GenerationError, match="2 placeholders for 0"):
        runner.check(Prompt((1, holder, holder)))
    with pytest.raises(GenerationError, match="at least one"):
        runner.check(Prompt(()))
