from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from echat_sdk.model.echat.configuration import EChatEncoderConfig
from echat_sdk.model.echat.encoder import Encoder, Past, TransformerLayer
from echat_sdk.model.echat.names import from_upstream, whisper_encoder

CLOSE = {"atol": 5e-5, "rtol": 1e-4}


def _encoder(state: Any, config: EChatEncoderConfig) -> Encoder:
    encoder = Encoder(config).eval()
    encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in state.items()})
    return encoder


def _random(config: EChatEncoderConfig) -> Encoder:
    torch.manual_seed(5)
    return Encoder(config).eval()


@torch.no_grad()
@pytest.mark.parametrize("tag", ["odd", "even", "oddodd"])
def test_the_golden_batches_come_out_as_upstreams(golden: Any, tag: str) -> None:
    case = golden("case02_encoder")
    sizes = {"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 4}
    config = EChatEncoderConfig(**sizes, encoder_ffn_dim=128, upstream_padding=True)
    state = {k: v for k, v in case.tensors.items() if k.startswith("encoder.")}
    encoder = _encoder(from_upstream(state), config)
    states, lengths = encoder(case.tensors[f"{tag}.feats"], case.tensors[f"{tag}.lens"])
    torch.testing.assert_close(states, case.tensors[f"{tag}.out"], **CLOSE)
    assert lengths.tolist() == case.tensors[f"{tag}.mask"].sum((1, 2)).tolist()


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 70), min_size=2, max_size=4), st.integers(0, 2**31))
def test_a_row_is_the_same_alone_and_in_a_batch(lengths: list[int], seed: int) -> None:
    encoder = _random(
        EChatEncoderConfig(
            num_mel_bins=8,
            d_model=16,
            encoder_layers=2,
            encoder_attention_heads=2,
            encoder_ffn_dim=24,
        )
    )
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(len(lengths), max(lengths), 8, generator=generator)  # padding is noise
    with torch.no_grad():
        batch, states = encoder(features, torch.tensor(lengths))
        for i, count in enumerate(lengths):
            alone, length = encoder(features[i : i + 1, :count])
            assert states[i] == length[0] == alone.shape[1]
            torch.testing.assert_close(batch[i, : length[0]], alone[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_thirty_seconds_are_what_transformers_whisper_makes_of_them() -> None:
    torch.manual_seed(2)
    theirs = WhisperEncoder(
        WhisperConfig(
            d_model=32,
            encoder_layers=2,
            encoder_attention_heads=4,
            encoder_ffn_dim=64,
            attn_implementation="sdpa",
        )
    ).eval()
    for parameter in theirs.layers.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    config = EChatEncoderConfig(
        d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=64
    )
    ours = _encoder(whisper_encoder(theirs.state_dict()), config)
    features = torch.randn(1, 3000, 80)
    expected = theirs(features.transpose(1, 2)).last_hidden_state
    torch.testing.assert_close(ours(features)[0], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_minute_has_positions_of_its_own() -> None:
    encoder = _random(
        EChatEncoderConfig(
            num_mel_bins=8,
            d_model=16,
            encoder_layers=1,
            encoder_attention_heads=2,
            encoder_ffn_dim=16,
        )
    )
    features = torch.randn(1, 6001, 8)
    states, lengths = encoder(features)
    assert states.shape == (1, 3001, 16)
    assert lengths.tolist() == [3001]
    assert states.isfinite().all()


@torch.no_grad()
def test_layers_that_look_back_do_as_a_mask_over_the_whole_does() -> None:
    torch.manual_seed(6)
    layer = TransformerLayer(
        16, 2, 24, activation=torch.nn.GELU(), key_bias=False, dropout=0.0
    ).eval()
    for parameter in layer.parameters():
        parameter.normal_(0, 0.5)
    x = torch.randn(1, 30, 16)
    block, most = 10, 15
    of_query = torch.arange(30)[:, None] // block
    key = torch.arange(30)[None]
    seen = (key // block <= of_query) & (key >= of_query * block - most)
    whole = layer(x, seen[None, None])
    past = Past(most)
    for start in range(0, 30, block):
        end = start + block
        # What lies behind a block is offered and seen, but not kept.
        layer(x[:, start : end + 3], None, past)
        layer(x[:, start:end] + 1, None, past)
        found = layer(x[:, start:end], None, past)
        past.keep(block)
        torch.testing.assert_close(found, whole[:, start:end], atol=1e-5, rtol=1e-5)
