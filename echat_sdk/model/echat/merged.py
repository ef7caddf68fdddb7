"""The language model apart: one plain Qwen2 that any server runs, and what a client keeps.

The merged model's ids are our combined ids: its table is the text rows and then the speech rows,
its head likewise. A plain Qwen2 lacks three things, which every request to a server must therefore
bring (`vllm.py` does): which half may be written now, the bias of the speech head, and that the
marks of the user's audio, whose rows of the head are zeros, are never written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import Qwen2Config, Qwen2ForCausalLM
from transformers.initialization import no_init_weights

from echat_sdk.errors import CheckpointError
from echat_sdk.model.echat.checkpoint import build
from echat_sdk.model.echat.configuration import EChatConfig
from echat_sdk.model.echat.directory import load, read_config, save_network, written_whole
from echat_sdk.model.echat.network import EChatForConditionalGeneration

MOST_BIAS = 100.0
"""What a request can add to a score, either way; OpenAI's bound, which vLLM keeps silently."""

_LAYERS = "llm.model.layers."


def merged(model: EChatForConditionalGeneration) -> Qwen2ForCausalLM:
    """The language model with text and speech in one vocabulary of V + C + 3 rows.

    Its layers are the given model's own; its table and head are new, and never tied: the text rows
    of both may be one tensor, the speech rows are two.

    Raises:
        CheckpointError: the bias of the speech head is more than a request can carry.
    """
    bias = float(model.speech_head.bias.detach().abs().max())
    if bias > MOST_BIAS:
        raise CheckpointError(
            f"the bias of the speech head reaches {bias:.0f}, a request carries {MOST_BIAS:.0f} "
            "at most; this checkpoint cannot be served so"
        )
    state = model.llm.state_dict()
    marks = model.speech_embedding.num_embeddings - model.speech_head.out_features
    head = model.speech_head.weight
    state |= {
        "model.embed_tokens.weight": _rows(
            state["model.embed_tokens.weight"], model.speech_embedding.weight
        ),
        "lm_head.weight": _rows(
            state["lm_head.weight"], head, head.new_zeros((marks, head.shape[1]))
        ),
    }
    config = _resized(
        model.config.llm, vocab_size=len(state["lm_head.weight"]), tie_word_embeddings=False
    )
    with torch.device("meta"), no_init_weights():
        plain = Qwen2ForCausalLM(config)
    plain.load_state_dict(state, assign=True)
    # What is no weight, the angles of the positions, is made again: on the meta device it is empty.
    plain.model.rotary_emb = type(plain.model.rotary_emb)(config).to(model.device)
    plain.eval()
    return plain


def export(source: Path, out: Path, *, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write the merged language model of a checkpoint as a directory that a server opens.

    Args:
        source: A directory that `convert` or `assemble` wrote.
        out: A new folder.
        dtype: Of the weights written.

    Raises:
        ModelMissingError: there is no such checkpoint.
        CheckpointError: it is damaged, or cannot be served.
        ConfigError: `out` is there already, or cannot be written.
    """
    with written_whole(out) as folder:
        save_network(cast(Any, merged(load(source, dtype=dtype))), folder)


def load_ears(
    source: Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> EChatForConditionalGeneration:
    """Open a checkpoint without the layers of its language model: what hears, and the tables.

    It embeds ids and audio, and decodes nothing. Of a head that is not tied no row is read.

    Raises:
        ModelMissingError: there is no such checkpoint.
        CheckpointError: it is damaged.
    """
    whole = read_config(source)
    llm = _resized(whole.llm, num_hidden_layers=0, layer_types=None, tie_word_embeddings=True)
    config = EChatConfig.from_dict(whole.to_dict() | {"llm": llm.to_dict()})
    state: dict[str, Tensor] = {}
    for shard in sorted(source.glob("model*.safetensors")):
        try:
            with safe_open(shard, framework="pt", device=str(device)) as opened:
                for name in opened.keys():  # noqa: SIM118 - no mapping
                    if not name.startswith((_LAYERS, "llm.lm_head.")):
                        state[name] = opened.get_tensor(name).to(dtype)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{shard.name} is damaged: {error}; convert again") from error
    model = build(state, config, what=str(source))
    nn.Module.to(model, device)
    return model


def _rows(*tables: Tensor) -> Tensor:
    return torch.cat([table.detach() for table in tables])


def _resized(config: Qwen2Config, **sizes: object) -> Qwen2Config:
    return Qwen2Config(**(config.to_dict() | sizes))
