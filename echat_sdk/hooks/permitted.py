"""What a plugin may read and do, and values without what it may not. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from echat_sdk.cues import Cue, Cues
from echat_sdk.turn import Heard, SpeechDelta, Turn

NOT_GRANTED = Cue(why="not granted")


class Needs:
    """Names of what a plugin may need; nothing of it is granted unasked."""

    READ_TRANSCRIPT = "read_transcript"
    """What was said, thought and answered."""
    READ_EMOTION = "read_emotion"
    """How it was said, moods, and what an answer's emotion is."""
    SHAPE = "shape"
    """To change what is answered, and how."""
    KEEP = "keep"
    """To keep what it reads beyond the conversation; each user has to agree to that."""

    @staticmethod
    def tool(name: str) -> str:
        """To offer this function to the model."""
        return f"tool:{name}"

    @staticmethod
    def network(host: str) -> str:
        """To reach this host. Declared, and asked for; who is not isolated is not held to it."""
        return f"network:{host}"


EVERYTHING = frozenset({"*"})
"""What a plugin may that its host gave itself."""


def permitted(hook: str, values: Mapping[str, Any], may: frozenset[str]) -> dict[str, Any] | None:
    """The values as a plugin is given them; None where it may have no part in this at all.

    Args:
        hook: Which it is.
        values: What it takes.
        may: What was granted.
    """
    if may == EVERYTHING:
        return dict(values)
    if hook.startswith("shape_") and Needs.SHAPE not in may:
        return None
    if hook == "on_mood" and Needs.READ_EMOTION not in may:
        return None
    return {name: _reduced(name, value, may) for name, value in values.items()}


def _reduced(name: str, value: Any, may: frozenset[str]) -> Any:
    words, feelings = Needs.READ_TRANSCRIPT in may, Needs.READ_EMOTION in may
    match value:
        case Heard():
            value = value if feelings else replace(value, cues=_unknown())
            return value if words else replace(value, transcript="")
        case Turn():
            # A thought says how somebody sounded, and in what words.
            value = value if feelings else replace(value, cues=_unknown(), think="")
            return value if words else replace(value, transcript="", think="", reply="")
        case SpeechDelta():
            return value if words else replace(value, text="")
        case str() if name == "think":
            return value if words and feelings else ""
        case str() if name == "text":
            return value if words else ""
    return value


def _unknown() -> Cues:
    return Cues(**dict.fromkeys(Cues.__slots__, NOT_GRANTED))
