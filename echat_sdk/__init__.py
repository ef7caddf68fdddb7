"""An empathetic voice agent: speech in, an empathetic spoken answer out, remembered.

Why so little is here: these names are what a host needs; the rest is a room behind one of them.
Each is imported when first used, so that the command line starts, and can be stopped, at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from echat_sdk.agent import Agent, Answer
    from echat_sdk.audio import AudioFrame
    from echat_sdk.cues import Cue, Cues, Emotion, ReplyEmotion
    from echat_sdk.errors import EChatError
    from echat_sdk.io.wav import read_audio, write_audio
    from echat_sdk.model import load_model
    from echat_sdk.protocols import Hearing, Memory, SpeechModel
    from echat_sdk.turn import Recollection, Turn

__all__ = [
    "Agent",
    "Answer",
    "AudioFrame",
    "Cue",
    "Cues",
    "EChatError",
    "Emotion",
    "Hearing",
    "Memory",
    "Recollection",
    "ReplyEmotion",
    "SpeechModel",
    "Turn",
    "load_model",
    "read_audio",
    "write_audio",
]

_HOMES = {
    "agent": ("Agent", "Answer"),
    "audio": ("AudioFrame",),
    "cues": ("Cue", "Cues", "Emotion", "ReplyEmotion"),
    "errors": ("EChatError",),
    "io.wav": ("read_audio", "write_audio"),
    "model": ("load_model",),
    "protocols": ("Hearing", "Memory", "SpeechModel"),
    "turn": ("Recollection", "Turn"),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"echat_sdk.{home}"), name)
    raise AttributeError(f"module 'echat_sdk' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
