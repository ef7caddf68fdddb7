"""The client's events, checked against the `openai` package's own types."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from openai.types import realtime
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json

from echat_sdk.server.realtime.faults import Fault

_MOST_DEPTH = 32
_MOST_TEXT = 256 * 1024
_MOST_PARTS = 20_000
_WINDOW = 1 << 16  # characters in which they are counted at once
_WITH_SOUND = ("input_audio_buffer.append", "conversation.item.create")

_KINDS: Mapping[str, type[BaseModel]] = {
    "session.update": realtime.SessionUpdateEvent,
    "input_audio_buffer.append": realtime.InputAudioBufferAppendEvent,
    "input_audio_buffer.commit": realtime.InputAudioBufferCommitEvent,
    "input_audio_buffer.clear": realtime.InputAudioBufferClearEvent,
    "output_audio_buffer.clear": realtime.OutputAudioBufferClearEvent,
    "conversation.item.create": realtime.ConversationItemCreateEvent,
    "conversation.item.retrieve": realtime.ConversationItemRetrieveEvent,
    "conversation.item.truncate": realtime.ConversationItemTruncateEvent,
    "conversation.item.delete": realtime.ConversationItemDeleteEvent,
    "response.create": realtime.ResponseCreateEvent,
    "response.cancel": realtime.ResponseCancelEvent,
}
OURS = frozenset(
    {
        "echat.consent.ask",
        "echat.consent.update",
        "echat.memory.retrieve",
        "echat.memory.forget",
        "echat.mood.retrieve",
        "echat.trace.retrieve",
    }
)
"""Events of ours that a client may send."""

_ADAPTERS = {kind: TypeAdapter(model) for kind, model in _KINDS.items()}
for _adapter in _ADAPTERS.values():
    _adapter.rebuild()  # else the first event of each kind builds it, and sessions wait


def parse(text: str | bytes) -> dict[str, Any]:
    """A client's event as JSON.

    Args:
        text: One message.

    Raises:
        Fault: it is no event.
    """
    try:
        text = text if isinstance(text, str) else text.decode()
        if _has_many_parts(text):
            raise Fault(f"an event of more than {_MOST_PARTS} parts", code="too_large")
        event = from_json(text, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise Fault("expected one JSON object", code="invalid_json") from error
    if not isinstance(event, dict) or not isinstance(kind := event.get("type"), str):
        raise Fault("expected an object with a type", code="invalid_event")
    event_id = event.get("event_id")
    if event_id is not None and (not isinstance(event_id, str) or len(event_id) > 512):
        raise Fault("event_id: expected a string of at most 512", param="event_id")
    if len(text) > _MOST_TEXT and kind not in _WITH_SOUND:
        raise Fault(f"{kind[:80]}: at most {_MOST_TEXT} bytes without sound", code="too_large")
    return event


def check(event: dict[str, Any]) -> dict[str, Any]:
    """The event, if it has the shape of its type.

    Raises:
        Fault: it has not, is nested too deep or has a number without end; names the field.
    """
    kind = event["type"]
    _bounded(event)
    if kind in OURS:
        return event
    if kind not in _ADAPTERS:
        raise Fault(f"no event {kind[:80]!r}", code="unknown_or_invalid_event", param="type")
    try:
        # Strict: the event is used as it came, so a number that is written as text is none.
        _ADAPTERS[kind].validate_python(event, strict=True)
    except ValidationError as error:
        fault = min(error.errors(include_url=False, include_input=False), key=_depth_of)
        where = ".".join(str(part) for part in fault["loc"] if not _is_class(part))
        raise Fault(
            f"{where or kind}: {fault['msg']}", code="invalid_value", param=where or None
        ) from error
    return event


def begun(session: Mapping[str, Any]) -> dict[str, Any]:
    """What a session is to begin with, if an update could ask for it.

    Args:
        session: The body of a `session.update`; its type may be left out.

    Raises:
        Fault: it could not.
    """
    event = {"type": "session.update", "session": {"type": "realtime", **session}}
    checked: dict[str, Any] = check(parse(json.dumps(event)))["session"]
    return checked


def _depth_of(fault: Any) -> int:
    return -len(fault["loc"])


def _is_class(part: Any) -> bool:
    """Whether it is the name of a type in a union, which nobody outside knows."""
    return isinstance(part, str) and part[:1].isupper()


def _has_many_parts(text: str) -> bool:
    # Sound has no commas, which is soon found out; to count in all of it takes six times as long.
    count, at = 0, text.find(",")
    while at >= 0 and count <= _MOST_PARTS:
        count += text.count(",", at, at + _WINDOW)
        at = text.find(",", at + _WINDOW)
    return count > _MOST_PARTS


def _bounded(event: dict[str, Any]) -> None:
    depth = 0
    level: list[Any] = [event]
    while level:
        depth += 1
        if depth > _MOST_DEPTH:
            raise Fault(f"nested deeper than {_MOST_DEPTH}", code="invalid_event")
        inner = [
            value for each in level for value in (each.values() if type(each) is dict else each)
        ]
        if any(type(value) is float and math.isinf(value) for value in inner):
            raise Fault("a number is too large", code="invalid_event")
        level = [value for value in inner if type(value) is dict or type(value) is list]
