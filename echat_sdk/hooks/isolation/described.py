"""What a plugin's process says of its hooks and tools, checked: it may say anything."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from string import Formatter
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from echat_sdk.audio import Seconds
from echat_sdk.errors import ConfigError, PluginError
from echat_sdk.hooks.spec import NAMES, Hooks
from echat_sdk.json_tools import tool_run_by
from echat_sdk.tools import MOST_DEADLINE, Tool
from echat_sdk.turn import Lang

_MOST_TOOLS = 64
_MOST_QUESTION = 300
_FORM = re.compile(r"(\.\d)?[a-z]?")  # of a number in a question, such as `g`; no widths

Run = Callable[[str, Mapping[str, object], Seconds], object]
"""Runs a tool of this name, with these arguments, within so long."""


class Hook(BaseModel):
    """A hook that it has.

    Attributes:
        takes: The names of what it takes.
        tryfirst: Whether it wants to come before others.
        trylast: Whether after.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    takes: tuple[str, ...] = ()
    tryfirst: bool = False
    trylast: bool = False


class _Tool(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    parameters: dict[str, Any]
    echat: dict[str, Any]
    looks_only: bool
    deadline: float = Field(gt=0, le=MOST_DEADLINE)
    asks: dict[Lang, str]


class Described(BaseModel):
    """All that it says of itself.

    Attributes:
        confined: What keeps it in, see `confinement.confine`.
        hooks: By their names.
        tools: As `json_tools.tool_from_json` takes them, and more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    confined: frozenset[str] = frozenset()
    hooks: dict[str, Hook] = {}
    tools: tuple[_Tool, ...] = Field(default=(), max_length=_MOST_TOOLS)


def described(name: str, said: Any) -> Described:
    """What the process of a plugin says of it.

    Raises:
        PluginError: it cannot be used.
    """
    try:
        found = Described.model_validate(said)
    except ValidationError as error:
        why = error.errors()[0]["msg"]
        raise PluginError(f"plugin {name} cannot be described: {why}") from error
    for each, hook in found.hooks.items():
        if each not in NAMES:
            raise PluginError(
                f"plugin {name}: there is no hook {each[:60]!r}; there are {', '.join(NAMES)}"
            )
        given = inspect.signature(getattr(Hooks, each)).parameters.keys() - {"self"}
        if unknown := sorted(set(hook.takes) - given):
            raise PluginError(
                f"plugin {name}: {each} is given {', '.join(given)}, not {unknown[0][:60]!r}"
            )
    return found


def tools(name: str, found: Described, run: Run) -> tuple[Tool, ...]:
    """Its tools, run by a function.

    Raises:
        PluginError: one cannot be offered.
    """
    try:
        return tuple(_tool(each, run) for each in found.tools)
    except ConfigError as error:
        raise PluginError(f"plugin {name}: {error}") from error


def _tool(found: _Tool, run: Run) -> Tool:
    def function(**arguments: object) -> object:
        needed = found.parameters.get("required") or ()
        # What was left out has the default that the plugin gave it.
        given = {n: each for n, each in arguments.items() if each is not None or n in needed}
        return run(found.name, given, found.deadline)

    made = tool_run_by(
        function, found.model_dump(), deadline=found.deadline, looks_only=found.looks_only
    )
    for question in found.asks.values():
        _check(question, made)
    return replace(made, asks=MappingProxyType(dict(found.asks)))


def _check(question: str, tool: Tool) -> None:
    """See that a question names arguments, and does nothing else with them.

    Raises:
        ConfigError: it is too long, or asks for something else.
    """
    try:
        parts = list(Formatter().parse(question[: _MOST_QUESTION + 1]))
    except ValueError as error:
        raise ConfigError(f"tool {tool.name}: its question is no format") from error
    for _, argument, form, conversion in parts:
        is_plain = argument is None or argument in tool.takes.model_fields
        if not is_plain or conversion or not _FORM.fullmatch(form or ""):
            raise ConfigError(f"tool {tool.name} asks for what it does not take")
    if len(question) > _MOST_QUESTION:
        raise ConfigError(f"tool {tool.name}: a question is {_MOST_QUESTION} characters at most")
