"""Which tensor is which: upstream's names and ours, both ways.

The released files are WeNet's: `encoder.encoders.0.self_attn.linear_q.weight` there is
`encoder.layers.0.self_attn.q_proj.weight` here. What may be in a file and not be needed is a short
list; any other name is kept, and the audit in `checkpoint` refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from echat_sdk.errors import CheckpointError

Kind = Literal["osum", "osum-echat"]
State = dict[str, Tensor]
Names = Sequence[tuple[str, str]]

LORA_ALPHA = 32
# Upstream's name, ours. Both are prefixes that end at a dot, in the order in which they are tried.
_NAMES = (
    ("encoder.embed.conv.0.", "encoder.conv1."),
    ("encoder.embed.conv.2.", "encoder.conv2."),
    ("encoder.after_norm.", "encoder.layer_norm."),
    ("encoder.encoders.", "encoder.layers."),
    ("down_sample_2.conv.1.", "adapter.convs.0."),
    ("down_sample_2.conv.4.", "adapter.convs.1."),
    ("down_sample_2.conv.7.", "adapter.convs.2."),
    ("speech_transformer.embed.out.0.", "adapter.input."),
    ("speech_transformer.embed.out.1.", "adapter.input_layer_norm."),
    ("speech_transformer.after_norm.", "adapter.layer_norm."),
    ("speech_transformer.encoders.", "adapter.layers."),
    ("speech_llama_proj.", "adapter.projection."),
    ("llama_model.", "llm."),
    ("speech_token_emded.", "speech_embedding."),
    ("speech_head.", "speech_head."),
    ("speaker_head.", "speech_head."),  # OSUM's name for it
)
_LAYER_NAMES = (
    ("self_attn.linear_q.", "self_attn.q_proj."),
    ("self_attn.linear_k.", "self_attn.k_proj."),
    ("self_attn.linear_v.", "self_attn.v_proj."),
    ("self_attn.linear_out.", "self_attn.out_proj."),
    ("feed_forward.w_1.", "fc1."),
    ("feed_forward.w_2.", "fc2."),
    ("norm1.", "self_attn_layer_norm."),
    ("norm2.", "final_layer_norm."),
)
_WENET_LAYER = re.compile(r"(encoder|speech_transformer)\.encoders\.\d+\.")
_OUR_LAYER = re.compile(r"(encoder|adapter)\.layers\.\d+\.")
# Computed here, never called upstream, or second names of the tied token table.
_NOT_NEEDED = re.compile(
    r"(encoder\.embed|speech_transformer\.embed)\.pos_enc\.pe"
    r"|ln_speech\.(weight|bias)|(embed_tokens|lm_head)\.weight"
)
# What a call of upstream's `generate` before saving adds: the speech layers once more.
_MOVED = re.compile(r"llama_model\.(speech_token_emded|speech_head)\.")
_LORA = re.compile(r"(.+)\.lora_([AB])\.(?:\w+\.)?weight")


def from_upstream(
    state: Mapping[str, Tensor],
    *,
    lora_alpha: float = LORA_ALPHA,
    dtype: torch.dtype | None = None,
) -> State:
    """The tensors of a released checkpoint under our names, LoRA merged (in float32).

    A tensor whose name is unknown keeps it, for the audit to refuse.

    Args:
        state: Upstream's state dict; from DataParallel or DDP, each name may begin with `module.`.
        lora_alpha: LoRA's scale is this over its rank, which is read from the shapes.
        dtype: Of the result; None keeps each tensor's, so that a merged one is rounded to it.

    Raises:
        CheckpointError: half of a LoRA pair is missing, or its shapes do not fit its weight.
    """
    plain = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    for key in [key for key in plain if _MOVED.match(key)]:
        plain.setdefault(key.removeprefix("llama_model."), plain[key])
        del plain[key]
    plain = _merge_lora(plain, lora_alpha, dtype)
    ours: State = {}
    for key, tensor in plain.items():
        if _NOT_NEEDED.fullmatch(key):
            continue
        name = _renamed(key, _WENET_LAYER, _LAYER_NAMES, _NAMES)
        if name in ours:
            raise CheckpointError(f"two tensors for {name}; one of them is {key!r}")
        ours[name] = tensor.to(dtype or tensor.dtype)
    return ours


def to_upstream(state: Mapping[str, Tensor], *, kind: Kind = "osum-echat") -> State:
    """Our tensors under the names that upstream's code loads; the inverse of `from_upstream`."""
    other = "speech_head." if kind == "osum" else "speaker_head."
    names = [(ours, theirs) for theirs, ours in _NAMES if theirs != other]
    layers = [(ours, theirs) for theirs, ours in _LAYER_NAMES]
    return {_renamed(key, _OUR_LAYER, layers, names): tensor for key, tensor in state.items()}


def whisper_encoder(state: Mapping[str, Tensor]) -> State:
    """The encoder of a transformers Whisper model under our names, without its positions."""
    found = (re.match(r"(?:model\.)?(?:encoder\.)?(.+)", key) for key in state)
    stripped = {m[1]: m[0] for m in found if m and "decoder" not in m[0]}
    keep = re.compile(r"(conv[12]|layers\.\d+|layer_norm)\.")
    return {f"encoder.{name}": state[key] for name, key in stripped.items() if keep.match(name)}


def _renamed(key: str, layer: re.Pattern[str], inner: Names, outer: Names) -> str:
    """A key with the name inside its layer, if it is in one, and that of its module replaced."""
    if found := layer.match(key):
        key = key[: found.end()] + _swapped(key[found.end() :], inner)
    return _swapped(key, outer)


def _swapped(key: str, names: Names) -> str:
    return next((new + key[len(old) :] for old, new in names if key.startswith(old)), key)


def _merge_lora(state: State, alpha: float, dtype: torch.dtype | None) -> State:
    """The names of peft to plain ones; W becomes W + alpha / rank * B A."""
    pairs: dict[str, dict[str, Tensor]] = {}
    plain: State = {}
    for key, tensor in state.items():
        if lora := _LORA.fullmatch(key):
            pairs.setdefault(lora[1], {})[lora[2]] = tensor
        else:
            plain[_without_peft(key)] = tensor
    for module, pair in pairs.items():
        name = f"{_without_peft(module)}.weight"
        weight, down, up = plain.get(name), pair.get("A"), pair.get("B")
        if weight is None or down is None or up is None:
            raise CheckpointError(f"LoRA of {name}: its A, its B or its base weight is missing")
        if down.shape[0] != up.shape[1] or (up.shape[0], down.shape[1]) != weight.shape:
            raise CheckpointError(
                f"LoRA of {name}: A {tuple(down.shape)} and B {tuple(up.shape)} do not fit "
                f"the weight {tuple(weight.shape)}"
            )
        delta = up.float() @ down.float() * (alpha / down.shape[0])
        plain[name] = (weight.float() + delta).to(dtype or weight.dtype)
    return plain


def _without_peft(key: str) -> str:
    return key.replace("llama_model.base_model.model.", "llama_model.").replace(".base_layer", "")
