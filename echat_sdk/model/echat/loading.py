"""A checkpoint directory as a model that can hold a conversation."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from echat_sdk.errors import CheckpointError
from echat_sdk.model.echat.backend import Backend
from echat_sdk.model.echat.directory import Card, load
from echat_sdk.model.echat.engine import Engine, EngineLimits
from echat_sdk.model.echat.quantize import quantize, runs_on
from echat_sdk.model.echat.speech_model import Abilities, EChatModel
from echat_sdk.model.echat.token2wav import Token2Wav
from echat_sdk.model.echat.vllm import VllmEngine
from echat_sdk.model.echat.vocab import PlainText
from echat_sdk.model.options import NetworkOptions, Precision

log = logging.getLogger(__name__)

TOKEN2WAV = "token2wav"


def open_model(
    directory: Path,
    *,
    name: str = "",
    threads: int = 2,
    voice: str = "",
    infer: frozenset[str] = frozenset({"emotion", "gender"}),
    options: NetworkOptions | None = None,
    limits: EngineLimits | None = None,
    seed: int | None = None,
    greedy: bool = False,
) -> EChatModel:
    """Open a directory that `echat models convert` or `assemble` wrote.

    Args:
        directory: The directory.
        name: What the model is called; the directory's name if empty.
        threads: Processor threads of torch, for the whole process.
        voice: Name of the voice of its answers; empty for the first.
        infer: Cues that may be inferred, of emotion and gender.
        options: How it is run. With a vLLM server the language model of this directory is not read;
            the server serves what `echat models export` wrote of it.
        limits: What the engine may hold.
        seed: Makes answers repeatable.
        greedy: Take the likeliest token always.

    Raises:
        ModelMissingError: no such directory.
        CheckpointError: it is damaged, or lacks its tokenizer.
        ModelError: it does not fit into the free memory.
        ConfigError: the vLLM server or its model is named in a way that cannot be used.
        GenerationError: the vLLM server does not answer.
    """
    card = Card.read(directory)
    options = options or NetworkOptions()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = _precision(options.precision, device)
    torch.set_num_threads(threads)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    engine: Backend[Any]
    if options.vllm_url:
        engine = VllmEngine.connect(
            directory,
            options.vllm_url,
            name=options.vllm_model,
            key=os.environ.get("VLLM_API_KEY", ""),
            allow_plain=options.vllm_allow_plain,
            dtype=dtype,
            device=device,
        )
    else:
        network = load(directory, dtype=dtype, device=device)
        if precision == "int8":
            quantize(network.llm)
        engine = Engine(network, limits)
    spoken = directory / TOKEN2WAV
    steps = options.flow_steps or None
    return EChatModel(
        name or directory.name,
        engine,
        _tokenizer(directory / "tokenizer.json"),
        Abilities(
            think="off" if card.think == "none" else card.think,
            interleaves=card.order == "interleaved",
            chats=card.kind == "osum-echat",
        ),
        token2wav=Token2Wav.load(spoken, steps=steps, device=device) if spoken.is_dir() else None,
        voice=voice,
        infer=infer,
        seed=seed,
        greedy=greedy,
        hearing=options.hearing,
    )


def _precision(wanted: Precision, device: torch.device) -> Precision:
    """What the device can do of what is wanted."""
    if wanted == "auto":
        return "int8" if runs_on(device) else "bfloat16"
    if wanted == "int8" and not runs_on(device):
        log.warning("int8 runs on a processor alone; bfloat16 is used on %s", device.type)
        return "bfloat16"
    return wanted


def _tokenizer(file: Path) -> PlainText:
    if not file.is_file():
        raise CheckpointError(
            f"{file.parent} has no {file.name}; get one, and convert again: "
            "echat models pull qwen2.5-tokenizer"
        )
    try:
        return PlainText(Tokenizer.from_file(str(file)))
    except Exception as error:  # the tokenizers package raises nothing narrower
        raise CheckpointError(f"{file} is damaged; convert again") from error
