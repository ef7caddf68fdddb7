from __future__ import annotations

from typing import Any

import pytest
import torch

from echat_sdk.model.echat.adapter import Adapter, embeddings_of
from echat_sdk.model.echat.configuration import EChatAdapterConfig, EChatEncoderConfig
from echat_sdk.model.echat.encoder import Encoder
from echat_sdk.model.echat.names import from_upstream

CLOSE = {"atol": 5e-5, "rtol": 1e-4}
WEIGHTS = ("encoder.", "down_sample_2.", "speech_transformer.", "speech_llama_proj.")


def _part(case: Any, prefix: str) -> dict[str, torch.Tensor]:
    state = from_upstream({k: v for k, v in case.tensors.items() if k.startswith(WEIGHTS)})
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


@torch.no_grad()
def test_the_golden_states_become_upstreams_embeddings(golden: Any) -> None:
    case = golden("case03_adapter")
    config = EChatAdapterConfig(num_hidden_layers=2, intermediate_size=96)
    adapter = Adapter(config, 64, 48).eval()
    adapter.load_state_dict(_part(case, "adapter."))
    embeds, lengths = adapter(case.tensors["x"], case.tensors["mask"].sum((1, 2)))
    torch.testing.assert_close(embeds, case.tensors["out"], **CLOSE)
    assert lengths.tolist() == case.tensors["out_mask"].sum(1).tolist()


@torch.no_grad()
@pytest.mark.parametrize("batch", ["b0", "b1", "b2"])
def test_each_row_of_the_golden_chain_is_what_upstream_makes_of_it_alone(
    golden: Any, batch: str
) -> None:
    case = golden("case04_chain")
    sizes = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4}
    encoder = Encoder(EChatEncoderConfig(**sizes, encoder_ffn_dim=64)).eval()
    encoder.load_state_dict(_part(case, "encoder."))
    adapter = Adapter(EChatAdapterConfig(num_hidden_layers=2, intermediate_size=48), 32, 24).eval()
    adapter.load_state_dict(_part(case, "adapter."))
    frames = case.tensors[f"{batch}.lens"]
    embeds, lengths = adapter(*encoder(case.tensors[f"{batch}.feats"], frames))
    for i, count in enumerate(lengths.tolist()):
        alone = case.tensors[f"{batch}.alone{i}"][0]
        torch.testing.assert_close(embeds[i, :count], alone, **CLOSE)
        assert count == embeddings_of(int(frames[i]))


@torch.no_grad()
def test_what_is_behind_a_rows_end_changes_nothing() -> None:
    torch.manual_seed(3)
    adapter = Adapter(EChatAdapterConfig(num_hidden_layers=2, intermediate_size=16), 16, 8).eval()
    states, lengths = torch.randn(2, 29, 16), torch.tensor([29, 14])
    before, counts = adapter(states, lengths)
    states[1, 14:] = 100.0
    after, _ = adapter(states, lengths)
    torch.testing.assert_close(after[1, : counts[1]], before[1, : counts[1]])
