"""Real weights in this network without OSUM-EChat's own: Whisper's encoder and a small Qwen2.5.

The two that the zoo has are put into one directory; the adapter and the speech layers, which only
training can make, hold seeded random numbers. So text modes answer sensibly, hearing and speaking
run and mean nothing, and the card says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import Qwen2Config

from echat_sdk.errors import CheckpointError, ConfigError
from echat_sdk.model.cascade.ct2_weights import Tensors, read_tensors
from echat_sdk.model.cascade.gguf import GgufFile, network_of
from echat_sdk.model.echat.checkpoint import build
from echat_sdk.model.echat.configuration import EChatConfig, EChatEncoderConfig
from echat_sdk.model.echat.convert import Progress, Report, sha256_of
from echat_sdk.model.echat.directory import Card, save_network, written_whole
from echat_sdk.model.echat.names import State
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.tokenizer import qwen_gguf, save_processor
from echat_sdk.model.echat.vocab import END_OF_TEXT, IM_END
from echat_sdk.model.zoo import locate

NAMES = ("nano-init",)
UNTRAINED = ("adapter", "speech_embedding", "speech_head")
WHISPER_PART = "whisper-base"


def assemble(
    name: str,
    out: Path,
    *,
    home: Path | None = None,
    dtype: torch.dtype = torch.bfloat16,
    seed: int = 0,
    progress: Progress = lambda stage, share: None,
) -> Report:
    """Write a directory from weights of the zoo.

    Args:
        name: One of `NAMES`: `nano-init` is Whisper base and Qwen2.5 0.5B.
        out: The directory to write, whole or not at all.
        home: The model cache; None takes the usual one.
        dtype: Type of the weights.
        seed: Of the modules that nobody trained.
        progress: Told what is being done and how far it is, 0 to 1.

    Raises:
        ConfigError: no such name, or `out` is there already.
        ModelMissingError: a part was not pulled; says how to.
        CheckpointError: a part is damaged.
    """
    if name not in NAMES:
        raise ConfigError(f"nothing named {name!r} to assemble; there is {', '.join(NAMES)}")
    start = time.monotonic()
    text = qwen_gguf(home)
    progress("reading the encoder", 0.0)
    state, encoder = encoder_of_ct2(locate(WHISPER_PART, home=home))
    progress("reading the language model", 0.1)
    llm_state, llm = llm_of_gguf(text, dtype, lambda share: progress("reading", 0.1 + share / 2))
    config = EChatConfig(encoder=encoder, llm=llm)
    state |= llm_state
    state |= random_modules(config, UNTRAINED, seed)
    model = build({key: tensor.to(dtype) for key, tensor in state.items()}, config, what=name)
    progress("hashing", 0.7)
    card = Card(kind="osum-echat", source=text.name, sha256=sha256_of(text), untrained=UNTRAINED)
    progress("writing", 0.8)
    with written_whole(out) as folder:
        save_network(model, folder)
        notes = save_processor(folder, config, text)
        card.write(folder)
    progress("done", 1.0)
    untrained = (
        f"{', '.join(UNTRAINED)} hold random numbers: only text in and text out mean anything"
    )
    numbers = sum(tensor.numel() for tensor in state.values())
    seconds = time.monotonic() - start
    return Report(name, out, card.sha256, len(state), numbers, (*notes, untrained), seconds)


def encoder_of_ct2(folder: Path) -> tuple[State, EChatEncoderConfig]:
    """The encoder of a CTranslate2 Whisper directory, float32, under our names, and its sizes.

    Raises:
        ModelMissingError: no `model.bin` there.
        CheckpointError: it is damaged.
    """
    tensors = read_tensors(folder / "model.bin", lambda name: name.startswith("encoder/"))
    names = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
    state: State = {}

    def take(theirs: str, ours: str) -> None:
        for kind, name in names.items():
            if (key := f"encoder/{theirs}/{kind}") in tensors:
                state[f"encoder.{ours}.{name}"] = torch.from_numpy(tensors[key].copy())

    for ours in ("conv1", "conv2", "layer_norm"):
        take(ours, ours)
    layers = sum(f"encoder/layer_{i}/ffn/linear_0/weight" in tensors for i in range(100))
    for i in range(layers):
        theirs, ours = f"layer_{i}", f"layers.{i}"
        take(f"{theirs}/self_attention/layer_norm", f"{ours}.self_attn_layer_norm")
        take(f"{theirs}/self_attention/linear_1", f"{ours}.self_attn.out_proj")
        take(f"{theirs}/ffn/layer_norm", f"{ours}.final_layer_norm")
        take(f"{theirs}/ffn/linear_0", f"{ours}.fc1")
        take(f"{theirs}/ffn/linear_1", f"{ours}.fc2")
        _split(tensors, f"encoder/{theirs}/self_attention/linear_0", f"encoder.{ours}", state)
    try:
        width, mels, _ = state["encoder.conv1.weight"].shape
        config = EChatEncoderConfig(
            num_mel_bins=mels,
            d_model=width,
            encoder_layers=layers,
            encoder_attention_heads=int(tensors["encoder/num_heads"]),
            encoder_ffn_dim=len(state["encoder.layers.0.fc1.weight"]),
        )
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{folder} holds no whole Whisper encoder: {error}") from error
    return state, config


def llm_of_gguf(
    file: Path, dtype: torch.dtype, progress: Callable[[float], None] = lambda share: None
) -> tuple[State, Qwen2Config]:
    """The weights of a qwen2 GGUF file under our names, dequantised, and their sizes.

    The rows of q and k stand as in transformers; only llama's are permuted in GGUF.

    Raises:
        CheckpointError: not such a file, or damaged.
    """
    state: State = {}
    with file.open("rb") as raw:
        gguf = GgufFile(raw)
        sizes = network_of(gguf)
        if sizes.architecture != "qwen2":
            raise CheckpointError(f"{file.name} is of {sizes.architecture}, expected qwen2")
        width, hidden = sizes.width, sizes.hidden
        keys = width // sizes.heads * sizes.kv_heads
        rows = len(gguf.strings("tokenizer.ggml.tokens"))

        def take(theirs: str, ours: str, *shape: int) -> None:
            slices = [torch.from_numpy(piece).to(dtype) for piece in gguf.rows(theirs, shape)]
            state[f"llm.model.{ours}"] = torch.cat(slices)

        # Qwen2.5 0.5B ties table and head; where a file holds both, the head is the finer one.
        tied = "output.weight" if "output.weight" in gguf.tensors else "token_embd.weight"
        take(tied, "embed_tokens.weight", rows, width)
        take("output_norm.weight", "norm.weight", width)
        for i in range(sizes.layers):
            theirs, ours = f"blk.{i}", f"layers.{i}"
            take(f"{theirs}.attn_norm.weight", f"{ours}.input_layernorm.weight", width)
            take(f"{theirs}.ffn_norm.weight", f"{ours}.post_attention_layernorm.weight", width)
            for part, out in (("q", width), ("k", keys), ("v", keys)):
                for kind, shape in (("weight", (out, width)), ("bias", (out,))):
                    name = f"{ours}.self_attn.{part}_proj.{kind}"
                    take(f"{theirs}.attn_{part}.{kind}", name, *shape)
            take(f"{theirs}.attn_output.weight", f"{ours}.self_attn.o_proj.weight", width, width)
            for part, shape in (
                ("gate", (hidden, width)),
                ("up", (hidden, width)),
                ("down", (width, hidden)),
            ):
                take(f"{theirs}.ffn_{part}.weight", f"{ours}.mlp.{part}_proj.weight", *shape)
            progress((i + 1) / sizes.layers)
    config = Qwen2Config(
        vocab_size=rows,
        hidden_size=width,
        intermediate_size=hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.kv_heads,
        rms_norm_eps=sizes.epsilon,
        rope_parameters={"rope_type": "default", "rope_theta": sizes.rope_base},
        tie_word_embeddings=True,
        bos_token_id=END_OF_TEXT,
        eos_token_id=IM_END,
    )
    return state, config


def random_modules(config: EChatConfig, modules: tuple[str, ...], seed: int) -> State:
    """Seeded random numbers for modules of a network, as transformers would begin to train them."""
    small = EChatConfig(
        encoder=config.encoder,
        adapter=config.adapter,
        llm=Qwen2Config(
            vocab_size=8,
            hidden_size=config.hidden_size,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
        ),
        speech_codes=config.speech_codes,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = EChatForConditionalGeneration(small).state_dict()
    return {key: tensor for key, tensor in state.items() if key.startswith(modules)}


def _split(tensors: Tensors, theirs: str, ours: str, state: State) -> None:
    """Queries, keys and values are one matrix there; the keys' part of its bias is zero."""
    weights = np.split(tensors[f"{theirs}/weight"], 3)
    biases = np.split(tensors[f"{theirs}/bias"], 3)
    for part, weight, bias in zip("qkv", weights, biases, strict=True):
        state[f"{ours}.self_attn.{part}_proj.weight"] = torch.from_numpy(weight.copy())
        if part != "k":
            state[f"{ours}.self_attn.{part}_proj.bias"] = torch.from_numpy(bias.copy())
