"""Functions that run at the client: offered to the model as tools, called over the wire."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import ConfigDict, ValidationError, create_model

from echat_sdk.audio import Seconds
from echat_sdk.server.realtime.faults import Fault
from echat_sdk.tools import MOST_RESULT, Tool
from echat_sdk.turn import Finding

DEADLINE: Seconds = 15.0
"""How long a client may take; what comes later is answered when it asks for an answer."""

_KINDS: Mapping[str, type] = {"string": str, "integer": int, "number": float, "boolean": bool}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

Wait = Callable[[str, Mapping[str, object]], "asyncio.Future[str]"]
"""Tells the client of a call, by name and arguments; what it will have given."""


def client_tool(given: Mapping[str, Any], wait: Wait) -> Tool:
    """A tool out of the JSON that describes a function.

    A small model learns from examples what is meant; a client may give some beside the schema, as
    `"echat": {"examples": {"what people say": {arguments}}}`. Without them the description is all.

    Args:
        given: Its `type`, `name`, `description` and `parameters`.
        wait: Has it called.

    Raises:
        Fault: it is no function that can be offered here.
    """
    name = str(given.get("name") or "")
    if given.get("type", "function") != "function":
        raise Fault(f"tools of type {str(given['type'])[:40]!r} are not taken", param="tools")
    if not _NAME.fullmatch(name):
        raise Fault(f"a function's name is letters, digits and _, got {name[:80]!r}", param="tools")
    parameters = given.get("parameters") or {}
    takes, hints = _takes(name, parameters)

    async def call(**arguments: object) -> object:
        return found(await wait(name, arguments))

    call.__name__ = name
    call.__annotations__ = {**hints, "return": object}
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY) for each in hints]
    )
    description = " ".join(str(given.get("description") or name.replace("_", " ")).split())[:200]
    tool = Tool(name, description, takes, call, (), deadline=DEADLINE)
    examples = (given.get("echat") or {}).get("examples") or {}
    told = tuple((str(said), dict(arguments)) for said, arguments in examples.items())[:6]
    for said, arguments in told:
        try:
            tool.check(arguments)
        except ValidationError as error:
            why = error.errors()[0]["msg"]
            raise Fault(f"example {said[:40]!r} of {name}: {why}", param="tools") from error
    return Tool(name, description, takes, call, told, deadline=DEADLINE)


def found(output: str) -> object:
    """What a client gave, as a tool returns it: a sentence that can be said, or data."""
    try:
        return json.loads(output)
    except (ValueError, RecursionError):
        return output


def late(name: str, output: str) -> Finding:
    """What a client gave after it was not waited for any more."""
    value = found(output)
    if isinstance(value, str):
        return Finding(name, words=" ".join(value.split())[:MOST_RESULT])
    return Finding(name, data=output[:MOST_RESULT])


def _takes(name: str, schema: Mapping[str, Any]) -> tuple[type[Any], dict[str, Any]]:
    """A pydantic model of an object schema whose values are simple, and its types."""
    required = set(schema.get("required") or ())
    fields: dict[str, Any] = {}
    hints: dict[str, Any] = {}
    for each, body in (schema.get("properties") or {}).items():
        kind = _kind(body)
        if kind is None or not _NAME.fullmatch(each):
            raise Fault(
                f"{name}({each[:40]}): parameters are text, number, truth or a choice of texts",
                param="tools",
            )
        hints[each] = kind if each in required else kind | None
        fields[each] = (hints[each], ... if each in required else None)
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields), hints


def _kind(body: Any) -> Any:
    if not isinstance(body, Mapping):
        return None
    choices = body.get("enum")
    if choices and all(isinstance(choice, str) for choice in choices):
        return Literal[tuple(choices)]
    kind = body.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), None)
    return _KINDS.get(kind) if isinstance(kind, str) else None
