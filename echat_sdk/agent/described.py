"""Functions that run elsewhere, at a client or on a device: described by JSON, offered as tools."""

from __future__ import annotations

import inspect
import json
import keyword
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from echat_sdk.audio import Seconds
from echat_sdk.errors import ConfigError
from echat_sdk.tools import Tool

_KINDS: Mapping[str, type] = {"string": str, "integer": int, "number": float, "boolean": bool}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MOST_PARAMETERS = 64

Call = Callable[[str, Mapping[str, object]], Awaitable[str]]
"""Has a function called, by name and arguments; what it will have given, as text or JSON."""


def described_tool(
    given: Mapping[str, Any], call: Call, *, deadline: Seconds, looks_only: bool = False
) -> Tool:
    """A tool out of the JSON that describes a function.

    A small model learns from examples what is meant; some may be given beside the schema, as
    `"echat": {"examples": {"what people say": {arguments}}}`. Without them the description is all.

    Args:
        given: Its `type`, `name`, `description` and `parameters`.
        call: Has it called.
        deadline: How long it may take.
        looks_only: As of `Tool`.

    Raises:
        ConfigError: it is no function that can be offered here.
    """
    name = str(given.get("name") or "")
    if given.get("type", "function") != "function":
        raise ConfigError(f"tools of type {str(given['type'])[:40]!r} are not taken")
    if not _NAME.fullmatch(name):
        raise ConfigError(f"a function's name is letters, digits and _, got {name[:80]!r}")
    takes, hints = _takes(name, _object(given.get("parameters"), f"{name}: parameters"))

    async def run(**arguments: object) -> object:
        return found(await call(name, arguments))

    run.__name__ = name
    run.__annotations__ = {**hints, "return": object}
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY) for each in hints]
    )
    description = " ".join(str(given.get("description") or name.replace("_", " ")).split())[:200]
    tool = Tool(name, description, takes, run, (), looks_only, deadline)
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
            raise ConfigError(f"example {said[:40]!r} of {name}: {why}") from error
    return Tool(name, description, takes, run, told, looks_only, deadline)


def found(output: str) -> object:
    """What was given elsewhere, as a tool returns it: a sentence that can be said, or data."""
    try:
        return json.loads(output)
    except (ValueError, RecursionError):
        return output


def _object(given: Any, what: str) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"{what}: expected an object")
    return given


def _takes(name: str, schema: Mapping[str, Any]) -> tuple[type[Any], dict[str, Any]]:
    """A pydantic model of an object schema whose values are simple, and its types."""
    properties = _object(schema.get("properties"), f"{name}: properties")
    required = schema.get("required") or []
    if not isinstance(required, list):
        raise ConfigError(f"{name}: required: expected a list")
    if len(properties) > _MOST_PARAMETERS:
        raise ConfigError(f"{name}: more than {_MOST_PARAMETERS} parameters")
    fields: dict[str, Any] = {}
    hints: dict[str, Any] = {}
    for each, body in properties.items():
        if not _is_name(each):
            raise ConfigError(f"{name}: no parameter may be called {each[:40]!r}")
        kind = _kind(body)
        if kind is None:
            raise ConfigError(
                f"{name}({each[:40]}): parameters are text, number, truth or a choice of texts"
            )
        hints[each] = kind if each in required else kind | None
        fields[each] = (hints[each], ... if each in required else None)
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields), hints


def _is_name(given: str) -> bool:
    """Whether a parameter may be called so: pydantic has names of its own, and so has Python."""
    is_taken = keyword.iskeyword(given) or hasattr(BaseModel, given) or given.startswith("_")
    return _NAME.fullmatch(given) is not None and not is_taken


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
