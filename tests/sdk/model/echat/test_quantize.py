"""Eight-bit layers: near what they replace, row by row, and nothing is left out."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from echat_sdk.errors import UnsupportedError
from echat_sdk.model.echat.quantize import Int8Linear, quantize, runs_on


@pytest.mark.parametrize("shape", [(24,), (3, 24), (2, 5, 24)])
def test_a_quantised_layer_is_near_the_one_that_it_replaces(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(24, 40)
    inputs = torch.randn(shape)
    expected, found = linear(inputs), Int8Linear(linear)(inputs)
    assert found.shape == expected.shape
    assert (found - expected).norm() / expected.norm() < 0.02


def test_a_row_is_not_changed_by_a_loud_neighbour() -> None:
    torch.manual_seed(0)
    layer, quiet = Int8Linear(torch.nn.Linear(24, 40)), torch.randn(1, 24) / 1000
    both = layer(torch.cat([quiet, 1000 * torch.randn(1, 24)]))
    assert torch.equal(both[:1], layer(quiet))


def test_zeros_give_the_bias() -> None:
    linear = torch.nn.Linear(8, 4)
    assert torch.equal(Int8Linear(linear)(torch.zeros(1, 8))[0], linear.bias.detach())


def test_every_layer_of_a_network_is_replaced_and_its_answer_stays_near(small_model: Any) -> None:
    inputs = torch.randn(1, 6, 48)
    before = small_model.backbone(inputs_embeds=inputs).last_hidden_state
    count = quantize(small_model.llm)
    after = small_model.backbone(inputs_embeds=inputs).last_hidden_state
    assert count == 2 * 7 + 1
    assert not any(type(m) is torch.nn.Linear for m in small_model.llm.modules())
    assert torch.nn.functional.cosine_similarity(before, after, dim=-1).min() > 0.99


def test_weights_that_are_not_a_processor_s_are_refused_and_left_whole() -> None:
    layers = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4, device="meta"))
    with pytest.raises(UnsupportedError, match="bfloat16"):
        quantize(layers)
    assert all(type(layer) is torch.nn.Linear for layer in layers)


def test_eight_bits_run_on_a_processor_and_not_on_a_gpu() -> None:
    assert runs_on(torch.device("cpu"))
    assert not runs_on(torch.device("cuda", 0))
