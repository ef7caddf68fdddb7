"""Models that hear, think and speak; `load_model` opens one by its name in the zoo.

Shape letters of this room: B batch, S samples, T mel steps (10 ms), L tokens, D width, H heads,
M mel bins, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
) -> SpeechModel:
    """Open a model whose weights are here.

    Args:
        name: A model of the zoo; `echat models list` shows them.
        threads: Processor threads for its networks.
        voice: Voice of its answers; empty for the language's default.
        infer_emotion: Whether it may infer emotion from a voice.
        infer_gender: Whether it may infer gender from a voice.
        lang: The language to be ready for at once; `auto` is English. The other one takes a few
            seconds when it is first spoken.
        lazy: Whether each of its parts is opened when first used; else all are opened and warmed.

    Raises:
        ModelMissingError: unknown name, or weights or packages are missing; says what to do.
        CheckpointError: weights are damaged.
    """
    from echat_sdk.model.cascade.lite import load_cascade

    may = {"emotion": infer_emotion, "gender": infer_gender}
    infer = frozenset(cue for cue, allowed in may.items() if allowed)
    return load_cascade(name, threads=threads, voice=voice, infer=infer, lazy=lazy, lang=lang)
