"""Qwen's tokenizer as transformers loads it, from a `tokenizer.json` or a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from echat_sdk.config import home_dir
from echat_sdk.errors import CheckpointError, ModelMissingError
from echat_sdk.model.cache import Cache
from echat_sdk.model.cascade.gguf import GgufFile
from echat_sdk.model.cascade.vocabulary import MARKUP, TEXT_END, TURN_END, Vocabulary
from echat_sdk.model.echat.configuration import EChatConfig
from echat_sdk.model.echat.processing import EChatFeatureExtractor, EChatProcessor
from echat_sdk.model.echat.vocab import END_OF_TEXT, IM_END, IM_START, REAL_TEXT_ROWS
from echat_sdk.model.zoo import PARTS

QWEN_PART = "qwen2.5-coder-0.5b"
"""The part of the zoo whose vocabulary is that of all Qwen2 and Qwen2.5 models."""

_CONTROL, _USER_DEFINED = 3, 4  # token types of a GGUF vocabulary


def qwen_gguf(home: Path | None = None) -> Path:
    """The GGUF file that the zoo pulled.

    Raises:
        ModelMissingError: it was not.
    """
    file = Cache(home or home_dir()).part(QWEN_PART) / PARTS[QWEN_PART].files[0].name
    if not file.is_file():
        raise ModelMissingError(
            f"the weights of {QWEN_PART} are not here; run: echat models pull {QWEN_PART}"
        )
    return file


def read_tokenizer(file: Path) -> Any:
    """The tokenizer of a `tokenizer.json` or a GGUF file, chat marks included.

    Raises:
        CheckpointError: not one, or not Qwen's: its chat marks have other ids.
    """
    try:
        if file.suffix == ".gguf":
            tokenizer = _from_gguf(file)
        else:
            tokenizer = Tokenizer.from_str(file.read_text("utf-8"))
    except CheckpointError:
        raise
    except Exception as error:  # the tokenizers package raises nothing narrower
        raise CheckpointError(f"{file} holds no tokenizer: {error}") from error
    found = tuple(tokenizer.token_to_id(mark) for mark in MARKUP)
    if found != (END_OF_TEXT, IM_START, IM_END):
        raise CheckpointError(f"{file.name} is not Qwen's tokenizer: its chat marks are {found}")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=TURN_END, pad_token=TEXT_END, padding_side="left"
    )


def save_processor(
    folder: Path, config: EChatConfig, tokenizer: Path | None = None
) -> tuple[str, ...]:
    """Write the processor of a network into its directory.

    Args:
        folder: The directory.
        config: The network's sizes.
        tokenizer: See `read_tokenizer`; None takes the zoo's for a network of Qwen's vocabulary.

    Returns:
        What could not be written, and what to do.

    Raises:
        CheckpointError: see `read_tokenizer`.
    """
    if tokenizer is None:
        if config.vocab_size < REAL_TEXT_ROWS:
            return (f"no tokenizer: Qwen's has {REAL_TEXT_ROWS} rows, this {config.vocab_size}",)
        try:
            tokenizer = qwen_gguf()
        except ModelMissingError as error:
            return (f"no tokenizer: {error}, and convert again",)
    processor = EChatProcessor(
        EChatFeatureExtractor(config.encoder.num_mel_bins),
        read_tokenizer(tokenizer),
        text_rows=config.vocab_size,
        speech_codes=config.speech_codes,
    )
    processor.save_pretrained(folder)
    return ()


def _from_gguf(path: Path) -> Tokenizer:
    with path.open("rb") as raw:
        file = GgufFile(raw)
        tokens = file.strings("tokenizer.ggml.tokens")
        merges = file.strings("tokenizer.ggml.merges")
        split = file.field("tokenizer.ggml.pre", str)
        kinds = file.field("tokenizer.ggml.token_type", list)
    vocabulary = Vocabulary.parse(tokens, merges, split)
    tokenizer = vocabulary.tokenizer()
    # The marks that follow the text have their ids by their order.
    marks = [
        AddedToken(tokens[i], special=kind == _CONTROL or tokens[i] in MARKUP, normalized=False)
        for i, kind in enumerate(kinds)
        if kind in (_CONTROL, _USER_DEFINED)
    ]
    tokenizer.add_tokens(marks)
    return tokenizer
