"""Functions that run at the client: offered to the model as tools, called over the wire."""

from __future__ import annotations

import asyncio
import inspect
import json
import keyword
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from echat_sdk.audio import Seconds
from echat_sdk.server.realtime.faults import Fault
from echat_sdk.tools import MOST_RESULT, Tool
from echat_sdk.turn import Finding

DEADLINE: Seconds = 15.0
"""How long a client may take; what comes later is answered when it asks for an answer."""

_MOST_OUTPUTS = 16
_KINDS: Mapping[str, type] = {"string": str, "integer": int, "number": float, "boolean": bool}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MOST_PARAMETERS = 64
_MOST_CHOICES = 500  # of all its parameters

Wait = Callable[[str, Mapping[str, object]], "asyncio.Future[str]"]
"""Tells the client of a call, by name and arguments; what it will have given."""


class ClientCalls:
    """Functions that were called at a client, and what it returned. On the event loop."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[str]] = {}  # by the name of the function
        self._outputs: dict[str, str] = {}  # by the id of the call; the last _MOST_OUTPUTS

    def call(self, name: str, arguments: Mapping[str, object]) -> asyncio.Future[str]:
        """Wait for a function; that it was called is told with the response that calls it."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[name] = future
        return future

    def take(self, call_id: str, output: str) -> None:
        """Take what a function returned, until an answer is asked for."""
        self._outputs[call_id] = output
        while len(self._outputs) > _MOST_OUTPUTS:
            del self._outputs[next(iter(self._outputs))]

    def is_awaited(self, call_id: str, name: str) -> bool:
        """Whether what a call returned is here, and an answer waits for it."""
        waiting = self._waiting.get(name)
        return call_id in self._outputs and waiting is not None and not waiting.done()

    def resolve(self, call_id: str, name: str) -> None:
        """Give what a call returned to the answer that waits for it."""
        self._waiting.pop(name).set_result(self._outputs.pop(call_id))

    def finding(self, call_id: str, name: str) -> Finding | None:
        """What a call returned that is not waited for any more; None for nothing."""
        output = self._outputs.pop(call_id, None)
        return None if output is None else late(name, output)


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
    takes, hints = _takes(name, _object(given.get("parameters"), f"{name}: parameters"))

    async def call(**arguments: object) -> object:
        return found(await wait(name, arguments))

    call.__name__ = name
    call.__annotations__ = {**hints, "return": object}
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY) for each in hints]
    )
    description = " ".join(str(given.get("description") or name.replace("_", " ")).split())[:200]
    tool = Tool(name, description, takes, call, (), deadline=DEADLINE)
    ours = _object(given.get("echat"), f"{name}: echat")
    examples = _object(ours.get("examples"), f"{name}: examples")
    told = tuple(
        (said, dict(_object(arguments, f"example {said[:40]!r} of {name}")))
        for said, arguments in examples.items()
    )[:6]
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


def _object(given: Any, what: str) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise Fault(f"{what}: expected an object", param="tools")
    return given


def _takes(name: str, schema: Mapping[str, Any]) -> tuple[type[Any], dict[str, Any]]:
    """A pydantic model of an object schema whose values are simple, and its types."""
    properties = _object(schema.get("properties"), f"{name}: properties")
    required = schema.get("required") or []
    if not isinstance(required, list):
        raise Fault(f"{name}: required: expected a list", param="tools")
    if max(len(properties), len(required)) > _MOST_PARAMETERS:
        raise Fault(f"{name}: more than {_MOST_PARAMETERS} parameters", param="tools")
    if sum(map(_choices, properties.values())) > _MOST_CHOICES:
        raise Fault(f"{name}: more than {_MOST_CHOICES} choices", param="tools")
    fields: dict[str, Any] = {}
    hints: dict[str, Any] = {}
    for each, body in properties.items():
        if not _is_name(each):
            raise Fault(f"{name}: no parameter may be called {each[:40]!r}", param="tools")
        kind = _kind(body)
        if kind is None:
            raise Fault(
                f"{name}({each[:40]}): parameters are text, number, truth or a choice of texts",
                param="tools",
            )
        hints[each] = kind if each in required else kind | None
        fields[each] = (hints[each], ... if each in required else None)
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields), hints


def _is_name(given: str) -> bool:
    """Whether a parameter may be called so: pydantic has names of its own, and so has Python."""
    is_taken = keyword.iskeyword(given) or hasattr(BaseModel, given) or given.startswith("_")
    return _NAME.fullmatch(given) is not None and not is_taken


def _choices(body: Any) -> int:
    choices = body.get("enum") if isinstance(body, Mapping) else None
    return len(choices) if isinstance(choices, list) else 0


def _kind(body: Any) -> Any:
    if not isinstance(body, Mapping):
        return None
    choices = body.get("enum")
    if isinstance(choices, list) and choices and all(isinstance(each, str) for each in choices):
        return Literal[tuple(choices)]
    kind = body.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), None)
    return _KINDS.get(kind) if isinstance(kind, str) else None
