"""A checkpoint directory as a model that can hold a conversation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer

from echat_sdk.errors import CheckpointError
from echat_sdk.model.echat.directory import Card, load
from echat_sdk.model.echat.engine import Engine, EngineLimits
from echat_sdk.model.echat.quantize import quantize
from echat_sdk.model.echat.speech_model import Abilities, EChatModel
from echat_sdk.model.echat.token2wav import Token2Wav
from echat_sdk.model.echat.vocab import PlainText

Precision = Literal["auto", "float32", "bfloat16", "int8"]
TOKEN2WAV = "token2wav"


def open_model(
    directory: Path,
    *,
    name: str = "",
    threads: int = 2,
    voice: str = "",
    infer: frozenset[str] = frozenset({"emotion", "gender"}),
    precision: Precision = "auto",
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
        precision: `auto` is bfloat16 on a GPU; on a processor the language model in int8 and the
            rest in float32.
        limits: What the engine may hold.
        seed: Makes answers repeatable.
        greedy: Take the likeliest token always.

    Raises:
        ModelMissingError: no such directory.
        CheckpointError: it is damaged, or lacks its tokenizer.
        ModelError: it does not fit into the free memory.
    """
    card = Card.read(directory)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if precision == "auto":
        precision = "int8" if device.type == "cpu" else "bfloat16"
    torch.set_num_threads(threads)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    network = load(directory, dtype=dtype, device=device)
    if precision == "int8":
        quantize(network.llm)
    spoken = directory / TOKEN2WAV
    return EChatModel(
        name or directory.name,
        Engine(network, limits),
        _tokenizer(directory / "tokenizer.json"),
        Abilities(
            think="off" if card.think == "none" else card.think,
            interleaves=card.order == "interleaved",
            chats=card.kind == "osum-echat",
        ),
        token2wav=Token2Wav.load(spoken, device=device) if spoken.is_dir() else None,
        voice=voice,
        infer=infer,
        seed=seed,
        greedy=greedy,
    )


def _tokenizer(file: Path) -> PlainText:
    if not file.is_file():
        raise CheckpointError(
            f"{file.parent} has no {file.name}; pull echat-lite, whose tokenizer is the same, "
            "and convert again"
        )
    try:
        return PlainText(Tokenizer.from_file(str(file)))
    except Exception as error:  # the tokenizers package raises nothing narrower
        raise CheckpointError(f"{file} is damaged; convert again") from error
