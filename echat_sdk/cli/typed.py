"""What a person types, as words and cues."""

from __future__ import annotations

import json
from enum import StrEnum
from types import MappingProxyType

from echat_sdk.cues import UNKNOWN, Age, Cue, Cues, Emotion, Gender, VocalEvent
from echat_sdk.errors import ConfigError

_KINDS: dict[str, type[StrEnum]] = {
    "emotion": Emotion,
    "gender": Gender,
    "age": Age,
    "events": VocalEvent,
}


def parse_line(line: str) -> tuple[str, Cues]:
    """A typed line: plain words, or a JSON object whose cues stand in for the voice.

    Raises:
        ConfigError: not an object of that form; says what is wrong.
    """
    if not line.lstrip().startswith("{"):
        return line, Cues()
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
    return text, Cues(**{name: _cue(name, given.get(name), kind) for name, kind in _KINDS.items()})


def _cue(name: str, value: object, kind: type[StrEnum]) -> Cue:
    if value is None or value == UNKNOWN:
        return Cue(why="not given")
    labels = [label.value for label in kind]
    if value not in labels:
        raise ConfigError(f"{name} must be one of {', '.join(labels)}, or unknown")
    return Cue(str(value), 1.0, MappingProxyType({str(value): 1.0}))
