"""Models that hear, think and speak; `load_model` opens one by its name in the zoo.

Shape letters of this room: B batch, S samples, T mel steps (10 ms), L tokens, D width, H heads,
M mel bins, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from echat_sdk.config import home_dir
from echat_sdk.errors import ModelMissingError

if TYPE_CHECKING:
    from echat_sdk.model.options import NetworkOptions
    from echat_sdk.protocols import SpeechModel
    from echat_sdk.turn import LangChoice

DEFAULT_MODEL = "echat-lite"


def load_model(
    name: str = DEFAULT_MODEL,
    *,
    threads: int = 2,
    voice: str = "",
    infer_emotion: bool = True,
    infer_gender: bool = True,
    lang: LangChoice = "auto",
    lazy: bool = False,
    options: NetworkOptions | None = None,
) -> SpeechModel:
    """Open a model whose weights are here.

    Args:
        name: A model of the zoo (`echat models list` shows them), or the name or folder of a
            checkpoint that `echat models convert` or `assemble` wrote.
        threads: Processor threads for its networks.
        voice: Voice of its answers; empty for the language's default.
        infer_emotion: Whether it may infer emotion from a voice.
        infer_gender: Whether it may infer gender from a voice.
        lang: The language to be ready for at once; `auto` is English. The other one takes a few
            seconds when it is first spoken.
        lazy: Whether each of its parts is opened when first used; else all are opened and warmed.
        options: How the end-to-end network is run; other models do not heed it.

    Raises:
        ModelMissingError: unknown name, or weights or packages are missing; says what to do.
        CheckpointError: weights are damaged.
    """
    from echat_sdk.model import zoo

    may = {"emotion": infer_emotion, "gender": infer_gender}
    infer = frozenset(cue for cue, allowed in may.items() if allowed)
    if folder := checkpoint_folder(name):
        try:
            from echat_sdk.model.echat.loading import open_model
        except ModuleNotFoundError as error:
            raise ModelMissingError(
                f'{name} needs the package {error.name}; run: pip install "echat-sdk[echat]"'
            ) from error
        return open_model(
            folder, name=name, threads=threads, voice=voice, infer=infer, options=options
        )
    if name in zoo.MODELS and zoo.card(name).release:
        zoo.checkpoint(name)  # it is not here: says how to pull it
    from echat_sdk.model.cascade.lite import load_cascade

    return load_cascade(name, threads=threads, voice=voice, infer=infer, lazy=lazy, lang=lang)


def checkpoints_home() -> Path:
    """The folder of the checkpoints that were converted or assembled here."""
    return home_dir() / "checkpoints"


def checkpoint_folder(name: str) -> Path | None:
    """Where a checkpoint of the end-to-end network lies; None for any other model's name."""
    places = (checkpoints_home() / name, Path(name).expanduser())
    return next((place for place in places if (place / "echat.json").is_file()), None)


def local_checkpoints() -> list[str]:
    """Names of the checkpoints that were converted or assembled here, sorted."""
    return sorted(card.parent.name for card in checkpoints_home().glob("*/echat.json"))
