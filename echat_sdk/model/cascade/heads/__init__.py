"""The trained heads that ship with the package: small safetensors files, described in CARD.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from echat_sdk.errors import CheckpointError, ModelMissingError

TEXT = Path(__file__).with_name("text.safetensors")
LEXICON_ZH = Path(__file__).with_name("lexicon_zh.tsv")


def voice_head(width: int) -> Path:
    """The voice head for a Whisper encoder of this width: 512 is base, 384 is tiny."""
    return TEXT.with_name(f"voice-{width}.safetensors")


def moment_head(vocabulary: int) -> Path | None:
    """The head of moments for a language model with so many tokens; None if there is none."""
    path = TEXT.with_name(f"moment-{vocabulary}.safetensors")
    return path if path.is_file() else None


def load_head(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """The tensors of a head.

    Raises:
        ModelMissingError: there is no such file, or safetensors is not installed.
        CheckpointError: the file is damaged.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise ModelMissingError("safetensors is missing: pip install 'echat-sdk[lite]'") from error
    try:
        tensors: dict[str, npt.NDArray[np.generic]] = load_file(path)
    except FileNotFoundError as error:
        raise ModelMissingError(f"no head at {path}; reinstall echat-sdk") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} is damaged ({error}); reinstall echat-sdk") from error
    return tensors
