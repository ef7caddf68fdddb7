"""Tensors to a network: the configuration that fits them, and the audit that refuses a misfit.

A tied head may be left out of a file; any other difference from the network refuses the load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2Config
from transformers.initialization import no_init_weights

from echat_sdk.errors import CheckpointError
from echat_sdk.model.echat.configuration import (
    EChatAdapterConfig,
    EChatConfig,
    EChatEncoderConfig,
)
from echat_sdk.model.echat.names import Kind
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.vocab import END_OF_TEXT, IM_END

_NAMED = 12  # keys that an audit names of each sort
# Layers of each release, by its width.
_WHISPER_LAYERS = {384: 4, 512: 6, 768: 12, 1024: 24, 1280: 32}
_QWEN_LAYERS = {896: 24, 1536: 28, 2048: 36, 3584: 28}
_ADAPTER_LAYERS = 4


def infer_config(
    state: Mapping[str, Tensor],
    *,
    kind: Kind = "osum-echat",
    encoder_heads: int | None = None,
    adapter_heads: int = 4,
    llm: Mapping[str, Any] | None = None,
) -> EChatConfig:
    """The configuration that fits tensors under our names.

    A network of a released width has the released depth, so that a missing last layer is missed.

    Args:
        state: As `from_upstream` gives it.
        kind: Whose they are: only OSUM-EChat's text head may be left out, as the token table.
        encoder_heads: None takes Whisper's rule: each is 64 wide.
        adapter_heads: Upstream's is 4 at every size.
        llm: Settings of `Qwen2Config` that shapes cannot tell; without `num_attention_heads`, each
            head is as wide as in Qwen's release of that width.

    Raises:
        CheckpointError: a tensor that the sizes are read from is missing or not of its rank.
    """

    def shape(key: str, rank: int = 2) -> tuple[int, ...]:
        if key not in state or state[key].ndim != rank:
            got = tuple(state[key].shape) if key in state else "none"
            raise CheckpointError(
                f"tensor {key}: got {got}, expected one of rank {rank}; "
                "this is not a checkpoint of OSUM or OSUM-EChat"
            )
        return tuple(state[key].shape)

    width, mels, _ = shape("encoder.conv1.weight", 3)
    rows, hidden = shape("llm.model.embed_tokens.weight")
    sizes: dict[str, Any] = dict(llm or {})
    sizes.setdefault("num_attention_heads", hidden // (64 if hidden < 1536 else 128))
    key_rows, _ = shape("llm.model.layers.0.self_attn.k_proj.weight")
    heads = sizes["num_attention_heads"]
    if not heads or hidden % heads or key_rows % (hidden // heads):
        raise CheckpointError(f"{heads} attention heads do not divide width {hidden}; name them")
    fixed = {
        "vocab_size": rows,
        "hidden_size": hidden,
        "intermediate_size": shape("llm.model.layers.0.mlp.gate_proj.weight")[0],
        "num_hidden_layers": _QWEN_LAYERS.get(hidden) or _depth(state, "llm.model.layers."),
        "num_key_value_heads": key_rows // (hidden // heads),
        "tie_word_embeddings": tied(state, without_head=kind == "osum-echat"),
    }
    end = IM_END if kind == "osum-echat" else END_OF_TEXT
    usual = {
        "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
        "bos_token_id": END_OF_TEXT if rows > END_OF_TEXT else None,
        "eos_token_id": end if rows > end else None,
    }
    released = width in _WHISPER_LAYERS
    return EChatConfig(
        encoder=EChatEncoderConfig(
            num_mel_bins=mels,
            d_model=width,
            encoder_layers=_WHISPER_LAYERS.get(width) or _depth(state, "encoder.layers."),
            encoder_attention_heads=encoder_heads or max(1, width // 64),
            encoder_ffn_dim=shape("encoder.layers.0.fc1.weight")[0],
        ),
        adapter=EChatAdapterConfig(
            num_hidden_layers=_ADAPTER_LAYERS if released else _depth(state, "adapter.layers."),
            num_attention_heads=adapter_heads,
            intermediate_size=shape("adapter.layers.0.fc1.weight")[0],
        ),
        llm=Qwen2Config(**{**usual, **sizes, **fixed}),
        speech_codes=shape("speech_head.weight")[0] - 1,
    )


def tied(state: Mapping[str, Tensor], *, without_head: bool = True) -> bool:
    """Whether the text head is the token table: the same numbers.

    Args:
        state: Tensors under our names.
        without_head: The answer where there is no head.
    """
    head, table = (state.get(f"llm.{name}.weight") for name in ("lm_head", "model.embed_tokens"))
    if head is None or table is None:
        return without_head
    return head is table or (head.shape == table.shape and bool(torch.equal(head, table)))


def audit(state: Mapping[str, Tensor], expected: Mapping[str, torch.Size], what: str) -> None:
    """Refuse tensors that are not exactly those of a network.

    Args:
        state: Tensors under our names.
        expected: The network's names and shapes; a tied head is no name of its own.
        what: The checkpoint, for the message.

    Raises:
        CheckpointError: keys are missing, unexpected, of another shape or type, or hold NaN or
            infinity; the message counts them and names the first of each sort.
    """
    problems = {
        "missing": sorted(expected.keys() - state.keys()),
        "unexpected": sorted(state.keys() - expected.keys()),
        "of another shape": [
            f"{key} {tuple(tensor.shape)} instead of {tuple(expected[key])}"
            for key, tensor in state.items()
            if key in expected and tensor.shape != expected[key]
        ],
        "not of floating type": [k for k, t in state.items() if not t.is_floating_point()],
        "with NaN or infinity": [key for key, tensor in state.items() if not finite(tensor)],
    }
    told = [f"{len(keys)} {sort}: {_first(keys)}" for sort, keys in problems.items() if keys]
    if told:
        raise CheckpointError(f"{what} does not fit the network. " + ". ".join(told))


def expected_shapes(config: EChatConfig) -> dict[str, torch.Size]:
    """Names and shapes of a network's tensors, a tied head left out."""
    with torch.device("meta"), no_init_weights():
        model = EChatForConditionalGeneration(config)
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items()}
    if config.llm.tie_word_embeddings:
        del shapes["llm.lm_head.weight"]
    return shapes


def build(
    state: Mapping[str, Tensor], config: EChatConfig, *, what: str = "the checkpoint"
) -> EChatForConditionalGeneration:
    """A network that holds exactly these tensors, under our names; nothing is copied or random.

    Raises:
        CheckpointError: see `audit`.
    """
    state = dict(state)
    if config.llm.tie_word_embeddings and tied(state):
        state.pop("llm.lm_head.weight", None)
    audit(state, expected_shapes(config), what)
    with no_init_weights():
        model = EChatForConditionalGeneration(config)
    model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()
    model.eval()
    return model


def finite(tensor: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity; reads it once and allocates nothing."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())


def _depth(state: Iterable[str], prefix: str) -> int:
    """How many layers there are, of which none may be missing: that is the audit's to say."""
    numbers = {key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)}
    return sum(str(i) in numbers for i in range(len(numbers)))


def _first(keys: list[str]) -> str:
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + more
