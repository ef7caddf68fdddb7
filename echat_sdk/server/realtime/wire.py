"""The client's events, checked against the `openai` package's own types."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from openai.types import realtime
from pydantic import BaseModel, TypeAdapter, ValidationError

from echat_sdk.server.realtime.faults import Fault

_MOST_DEPTH = 32
_MOST_TEXT = 256 * 1024
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


def parse(text: str | bytes) -> dict[str, Any]:
    """A client's event as JSON.

    Args:
        text: One message.

    Raises:
        Fault: it is no event.
    """
    try:
        event = _DECODER.decode(text if isinstance(text, str) else text.decode())
    except (ValueError, RecursionError) as error:
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
        Fault: it has not, or is nested too deep; names the field.
    """
    kind = event["type"]
    if _depth(event) > _MOST_DEPTH:
        raise Fault(f"nested deeper than {_MOST_DEPTH}", code="invalid_event")
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


def _depth_of(fault: Any) -> int:
    return -len(fault["loc"])


def _is_class(part: Any) -> bool:
    """Whether it is the name of a type in a union, which nobody outside knows."""
    return isinstance(part, str) and part[:1].isupper()


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= _MOST_DEPTH:
        depth += 1
        level = [
            inner
            for each in level
            for inner in (
                each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
            )
            if isinstance(inner, dict | list)
        ]
    return depth


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"{text[:20]} is too large")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
