"""Random checkpoints with every key of the released ones, small enough to try everything with."""

from __future__ import annotations

import tarfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from echat_sdk.errors import ConfigError
from echat_sdk.model.echat.configuration import EChatConfig
from echat_sdk.model.echat.names import Kind, to_upstream
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.sources import COSYVOICE_NETWORKS
from echat_sdk.model.echat.token2wav.config import Token2WavConfig
from echat_sdk.model.echat.token2wav.synthetic import Spelling, synthetic_states, tiny_config

LORA_RANK = 8
_LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "down_proj")  # not up_proj
_POSITIONS = {"osum": 1500, "osum-echat": 30_000}
_ADAPTER_POSITIONS = 5000


def small_config(kind: Kind = "osum-echat", *, vocab_size: int = 512) -> EChatConfig:
    """Sizes whose heads `infer_config` finds by itself, with all 4096 speech codes."""
    return EChatConfig(
        encoder={
            "d_model": 64,
            "encoder_layers": 2,
            "encoder_attention_heads": 1,
            "encoder_ffn_dim": 96,
        },
        adapter={"num_hidden_layers": 4, "intermediate_size": 80},
        llm={
            "vocab_size": vocab_size,
            "hidden_size": 128,
            "intermediate_size": 192,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
            "tie_word_embeddings": kind == "osum-echat",
            "eos_token_id": 2,
        },
    )


def synthetic_state(
    kind: Kind = "osum-echat",
    config: EChatConfig | None = None,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.bfloat16,
) -> dict[str, Tensor]:
    """A released state dict with random numbers: aliases share memory, OSUM has its LoRA.

    Args:
        kind: Whose keys.
        config: Sizes; None takes `small_config`.
        seed: The same seed gives the same numbers.
        dtype: Of all tensors.
    """
    config = config or small_config(kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = EChatForConditionalGeneration(config)
        for parameter in model.parameters():
            parameter.data += torch.randn_like(parameter) * 0.05
        state = {k: v.to(dtype) for k, v in to_upstream(model.state_dict(), kind=kind).items()}
        width = config.encoder.d_model
        table = state["llama_model.model.embed_tokens.weight"]
        if config.llm.tie_word_embeddings:
            state["llama_model.lm_head.weight"] = table
        state |= {
            "embed_tokens.weight": table,
            "lm_head.weight": state["llama_model.lm_head.weight"],
            "ln_speech.weight": torch.ones(width, dtype=dtype),
            "ln_speech.bias": torch.zeros(width, dtype=dtype),
            "encoder.embed.pos_enc.pe": torch.zeros(1, _POSITIONS[kind], width, dtype=dtype),
            "speech_transformer.embed.pos_enc.pe": torch.zeros(
                1, _ADAPTER_POSITIONS, width, dtype=dtype
            ),
        }
        return _with_lora(state) if kind == "osum" else state


def write_checkpoint(
    path: Path,
    kind: Kind = "osum-echat",
    config: EChatConfig | None = None,
    *,
    seed: int = 0,
    module_wrapped: bool = False,
) -> Path:
    """Write `synthetic_state` as a `.pt` or `.safetensors` file; gives its path.

    Args:
        path: Where to.
        kind: See `synthetic_state`.
        config: See `synthetic_state`.
        seed: See `synthetic_state`.
        module_wrapped: Put the state under `module`, as DeepSpeed does.

    Raises:
        ConfigError: another ending.
    """
    state = synthetic_state(kind, config, seed=seed)
    if path.suffix == ".safetensors":
        save_file({name: tensor.clone() for name, tensor in state.items()}, path)
    elif path.suffix == ".pt":
        torch.save({"module": state, "global_steps": 1} if module_wrapped else state, path)
    else:
        raise ConfigError(f"{path.name}: expected a name that ends in .pt or .safetensors")
    return path


def write_cosyvoice(
    path: Path,
    config: Token2WavConfig | None = None,
    *,
    seed: int = 0,
    spelling: Spelling = "parametrizations",
) -> Path:
    """Write a random CosyVoice release as a tar; its two ONNX networks are empty files."""
    flow, vocoder = synthetic_states(config or tiny_config(), seed=seed, spelling=spelling)
    folder = path.parent / f"{path.stem}-files"
    folder.mkdir(parents=True)
    chance = torch.Generator().manual_seed(seed)
    embedding = torch.randn(1, 192, generator=chance)
    torch.save(flow, folder / "flow.pt")
    torch.save(vocoder, folder / "hift.pt")
    torch.save({"中文女": {"embedding": embedding}}, folder / "spk2info.pt")
    for name in COSYVOICE_NETWORKS:
        (folder / name).write_bytes(b"")
    with tarfile.open(path, "w") as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, f"CosyVoice-300M-25Hz/{file.name}")
    return path


def _with_lora(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of OSUM: its language model under peft's names, with LoRA beside the weights."""
    named: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if not key.startswith("llama_model."):
            named[key] = tensor
            continue
        path = f"llama_model.base_model.model.{key.removeprefix('llama_model.')}"
        module, _, leaf = path.rpartition(".")
        if not module.endswith(_LORA_TARGETS):
            named[path] = tensor
            continue
        named[f"{module}.base_layer.{leaf}"] = tensor
        if leaf == "weight":
            out, into = tensor.shape
            down = torch.randn(LORA_RANK, into) * 0.05
            up = torch.randn(out, LORA_RANK) * 0.05
            named[f"{module}.lora_A.default.weight"] = down.to(tensor.dtype)
            named[f"{module}.lora_B.default.weight"] = up.to(tensor.dtype)
    return named
