"""The values of hooks as JSON, and back. Pure.

What the parent renders is taken as it comes; what a plugin answers is checked: it may be anything.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any

import numpy as np

from echat_sdk.cues import Cue, Cues, ReplyEmotion
from echat_sdk.hooks.spec import Session
from echat_sdk.turn import Heard, SafetyEvent, SpeechDelta, Thought, Timings, Turn, TurnStatus

MOST_REQUEST = 8 * 2**20
"""Bytes of a line to a plugin: more than a minute of speech."""

MOST_ANSWER = 256 * 2**10
"""Bytes of a line from a plugin."""

MOST_DEPTH = 16
"""Lists and objects within each other in such a line."""

_MOST_LABEL = 200

_KINDS: Mapping[str, type] = {
    "session": Session,
    "heard": Heard,
    "thought": Thought,
    "speech": SpeechDelta,
    "turn": Turn,
    "crisis": SafetyEvent,
    "emotion": ReplyEmotion,
}
_PARTS: Mapping[type, Mapping[str, type]] = {
    Cues: dict.fromkeys(Cues.__slots__, Cue),
    Heard: {"cues": Cues},
    Thought: {"reply_emotion": ReplyEmotion, "safety": SafetyEvent},
    Turn: {
        "cues": Cues,
        "reply_emotion": ReplyEmotion,
        "status": TurnStatus,
        "timings": Timings,
        "safety": SafetyEvent,
    },
}


def line(message: Mapping[str, Any]) -> bytes:
    """A message as it goes over the pipe.

    Raises:
        TypeError: a value in it is no JSON.
        ValueError: one holds itself.
    """
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def message(line: bytes) -> dict[str, Any]:
    """A message that came over the pipe.

    Raises:
        ValueError: it is no object of JSON, or too deep.
    """
    try:
        found = json.loads(line)
    except RecursionError as error:
        raise ValueError("too deep") from error
    if not isinstance(found, dict) or not _is_shallow(found, MOST_DEPTH):
        raise ValueError("no object, or too deep")
    return found


def rendered(value: Any) -> Any:
    """A value that a hook is given, or gives, as JSON."""
    match value:
        case np.ndarray():
            return base64.b64encode(value.astype("<i2").tobytes()).decode()
        case np.generic():
            return value.item()
        case Enum():
            return value.value
        case Mapping():
            return {str(name): rendered(each) for name, each in value.items()}
        case list() | tuple():
            return [rendered(each) for each in value]
        case _ if is_dataclass(value):
            return {each.name: rendered(getattr(value, each.name)) for each in fields(value)}
        case _ if callable(value):
            return None  # a function of the host's stays with it
    return value


def parsed(name: str, data: Any) -> Any:
    """The value of this name among those that hooks take."""
    return _made(_KINDS.get(name), data)


def answer(hook: str, data: Any) -> Any:
    """What a plugin answered, if it is what the hook may answer.

    Raises:
        ValueError: it is not.
    """
    if data is None or hook.startswith("on_"):
        return None
    if hook == "shape_context" and isinstance(data, list):
        if all(isinstance(each, str) for each in data):
            return tuple(data)
    elif hook == "shape_emotion":
        return ReplyEmotion(data)
    elif hook == "find_danger" and isinstance(data, dict):
        named = {each.name for each in fields(SafetyEvent)}
        if data.keys() == named and all(_is_label(each) for each in data.values()):
            return SafetyEvent(**data)
    elif hook in ("shape_voice", "shape_reply") and isinstance(data, str):
        return data
    raise ValueError(f"{hook} does not answer that")


def _made(kind: type | None, data: Any) -> Any:
    if kind is None or data is None:
        return data
    if issubclass(kind, Enum):
        return kind(data)
    parts = _PARTS.get(kind, {})
    given = {name: _made(parts.get(name), each) for name, each in data.items()}
    if kind is Cue:
        given["distribution"] = MappingProxyType(given["distribution"])
    if kind is SpeechDelta:
        samples = np.frombuffer(base64.b64decode(given["samples"]), "<i2")
        given["samples"] = samples.astype(np.int16)
    return kind(**given)


def _is_shallow(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_shallow(each, depth - 1) for each in inner)


def _is_label(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _MOST_LABEL
