"""What a device says in JSON; what is not known here is let pass."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from echat_plugins.xiaozhi.faults import Fault

Mode = Literal["auto", "manual", "realtime"]
"""How a turn ends: by its sound, by a button, or by its sound, over the agent's voice too."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class AudioParams(_Message):
    """How a device records."""

    format: str = "opus"
    channels: int = 1


class Features(_Message):
    """What a device can do."""

    mcp: bool = False


class Hello(_Message):
    """The first thing that a device says."""

    type: Literal["hello"]
    version: int = 1
    transport: str = "websocket"
    features: Features = Features()
    audio_params: AudioParams = AudioParams()


class Listen(_Message):
    """A device begins to listen or stops, or tells its wake word."""

    type: Literal["listen"]
    state: Literal["start", "stop", "detect"]
    mode: Mode = "auto"
    text: str = Field(default="", max_length=1000)


class Abort(_Message):
    """What is being said is to stop."""

    type: Literal["abort"]


class Mcp(_Message):
    """A message of the Model Context Protocol: JSON-RPC 2.0."""

    type: Literal["mcp"]
    payload: dict[str, Any]


class Goodbye(_Message):
    """A device goes."""

    type: Literal["goodbye"]


Message = Hello | Listen | Abort | Mcp | Goodbye

_KINDS: dict[str, type[Message]] = {
    "hello": Hello,
    "listen": Listen,
    "abort": Abort,
    "mcp": Mcp,
    "goodbye": Goodbye,
}


def parsed(text: str) -> Message | None:
    """A message; None for one of a kind that is not known here.

    Raises:
        Fault: it is none, or has not the shape of its kind.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Fault("a message is no JSON") from error
    if not isinstance(found, dict) or not isinstance(kind := found.get("type"), str):
        raise Fault("a message has no type")
    if kind not in _KINDS:
        return None
    try:
        return _KINDS[kind].model_validate(found)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise Fault(f"{kind}: {where} is not what was expected") from error
