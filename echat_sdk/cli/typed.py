"""What a person types, as words and cues."""

from __future__ import annotations

import json
from enum import StrEnum
from types import MappingProxyType
from unicodedata import category

from echat_sdk.cues import UNKNOWN, Age, Cue, Cues, Emotion, Gender, VocalEvent
from echat_sdk.errors import ConfigError

MAX_CHARACTERS = 4000
"""The longest line that is taken."""

_KINDS: dict[str, type[StrEnum]] = {
    "emotion": Emotion,
    "gender": Gender,
    "age": Age,
    "events": VocalEvent,
}


def parse_line(line: str) -> tuple[str, Cues]:
    """A typed line: plain words, or a JSON object whose cues stand in for the voice.

    Raises:
        ConfigError: too long, not text, or not an object of that form; says what is wrong.
    """
    if len(line) > MAX_CHARACTERS:
        raise ConfigError(f"a line is longer than {MAX_CHARACTERS:,} characters; say it in parts")
    if not line.lstrip().startswith("{"):
        return _words(line), Cues()
    form = '{"text": "...", "emotion"?, "gender"?, "age"?, "events"?}'
    try:
        given = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"this line starts like JSON but is none; write {form}") from error
    if wrong := sorted(set(given) - {"text", *_KINDS}):
        raise ConfigError(f"a JSON line is {form}; {wrong[0][:40]!r} is none of these")
    text = given.get("text")
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"a JSON line is {form}; its text is missing")
    return _words(text), Cues(
        **{name: _cue(name, given.get(name), kind) for name, kind in _KINDS.items()}
    )


def _words(text: str) -> str:
    """The text without control characters."""
    if any("\ud800" <= char <= "\udfff" for char in text):  # what bytes beyond UTF-8 are read as
        raise ConfigError("a line is not UTF-8 text; convert it")
    words = " ".join("".join(" " if category(char) == "Cc" else char for char in text).split())
    if not words:
        raise ConfigError("a line holds control characters only; write words")
    return words


def _cue(name: str, value: object, kind: type[StrEnum]) -> Cue:
    if value is None or value == UNKNOWN:
        return Cue(why="not given")
    labels = [label.value for label in kind]
    if value not in labels:
        raise ConfigError(f"{name} must be one of {', '.join(labels)}, or unknown")
    return Cue(str(value), 1.0, MappingProxyType({str(value): 1.0}))
