"""The description of all messages as AsyncAPI 3, made of the code that reads and writes them.

python -m echat_plugins.mqtt.asyncapi > plugins/echat_plugins/mqtt/asyncapi.yaml
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from echat_plugins.mqtt import frame, messages
from echat_plugins.mqtt.topics import ROOT, SERVER, Leaf

_IN = (messages.Hello, messages.Bye, messages.Tell, messages.Interrupt, messages.Mute)


@dataclass(frozen=True, slots=True)
class _Channel:
    leaf: Leaf
    action: Literal["send", "receive"]
    qos: int
    says: str
    models: tuple[type[BaseModel], ...] = ()
    retain: bool = False


CHANNELS = (
    _Channel(
        "in/control",
        "receive",
        1,
        "What a device asks for, and its answers. A command that comes twice is done once.",
        (*_IN, messages.Answer),
    ),
    _Channel("in/audio", "receive", 0, "What a device hears: 16 kHz."),
    _Channel(
        "out/control",
        "send",
        1,
        "Answers to a device, and what it is asked for.",
        (messages.Welcome, messages.Answer, messages.Flush, messages.Call, messages.Bye),
    ),
    _Channel("out/audio", "send", 0, "What the agent says: 24 kHz, a little ahead of its time."),
    _Channel(
        "out/event",
        "send",
        1,
        "What the agent hears, says and does. Events that cannot be sent for long are dropped.",
        (
            messages.StateEvent,
            messages.HeardEvent,
            messages.TextEvent,
            messages.TurnEvent,
            messages.ToolEvent,
            messages.FailedEvent,
        ),
    ),
    _Channel("out/affect", "send", 0, "At most ten a second.", (messages.Affect,)),
    _Channel(
        "presence",
        "receive",
        1,
        f"Who is there; the last will of each. The device `{SERVER}` is the server itself.",
        (messages.Presence,),
        retain=True,
    ),
)


def document() -> dict[str, Any]:
    """The whole description."""
    models = list(dict.fromkeys(model for channel in CHANNELS for model in channel.models))
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Robots of echat-sdk over MQTT",
            "version": f"{messages.PROTOCOL}.0.0",
            "description": "Control in JSON, sound in binary frames. As the server sees it: it "
            "receives what a device sends.",
        },
        "defaultContentType": "application/json",
        "channels": {_key(each): _channel(each) for each in CHANNELS},
        "operations": {f"{each.action}_{_key(each)}": _operation(each) for each in CHANNELS},
        "components": {
            "schemas": _schemas(models),
            "messages": {
                **{model.__name__: _message(model) for model in models},
                "Frame": {
                    "contentType": "application/octet-stream",
                    "description": _plain(frame.__doc__),
                    "payload": {"type": "string", "format": "binary", "minLength": _SHORTEST},
                },
            },
        },
    }


_SHORTEST = frame.HEADER.size + 1


def _channel(channel: _Channel) -> dict[str, Any]:
    names = [model.__name__ for model in channel.models] or ["Frame"]
    return {
        "address": f"{ROOT}/{{tenant}}/{{device}}/{channel.leaf}",
        "description": channel.says,
        "parameters": {
            "tenant": {"description": "Whose devices these are: letters, digits and _.-"},
            "device": {"description": "Which: letters, digits and _.-"},
        },
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
    }


def _operation(channel: _Channel) -> dict[str, Any]:
    return {
        "action": channel.action,
        "channel": {"$ref": f"#/channels/{_key(channel)}"},
        "bindings": {"mqtt": {"qos": channel.qos, "retain": channel.retain}},
    }


def _message(model: type[BaseModel]) -> dict[str, Any]:
    return {
        "description": _plain(model.__doc__),
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
    }


def _schemas(models: Sequence[type[BaseModel]]) -> dict[str, Any]:
    _, schema = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    found: dict[str, Any] = schema["$defs"]
    for each in found.values():
        if "type" in each.get(
            "properties", {}
        ):  # what tells one message from another is never left out
            each["required"] = sorted({*each.get("required", ()), "type"})
    return found


def _key(channel: _Channel) -> str:
    return channel.leaf.replace("/", "_")


def _plain(text: str | None) -> str:
    return inspect.cleandoc(text or "")


if __name__ == "__main__":
    import yaml  # of who develops this, and not of who runs it

    sys.stdout.write(yaml.safe_dump(json.loads(json.dumps(document())), sort_keys=False, width=100))
