"""Functions that plugins offer to a model: what they are called, what they take, what they found.

```python
@tool(examples={"set a timer for ten minutes": {"minutes": 10}})
async def set_timer(minutes: float) -> str:
    \"\"\"Set a timer that rings after some minutes.\"\"\"
    ...
    return f"Your timer is set for {minutes:g} minutes."
```

What people say to mean a tool is told by examples: a small model learns more from three of them
than from a page of description.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import to_json

from echat_sdk.audio import Seconds
from echat_sdk.errors import ConfigError
from echat_sdk.turn import Finding, Lang

MOST_DEADLINE: Seconds = 8.0
"""No tool may take longer: a person waits."""

MOST_RESULT = 2_000
"""Characters of a result that are given to a model."""

_SIMPLE = (str, int, float, bool)
_MOST_EXAMPLES = 6

Arguments = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Tool:
    """One function that an agent may use; made by `tool`.

    Attributes:
        name: As the model calls it: the function's.
        description: One line: the first of its docstring.
        takes: Checks arguments, and has their JSON schema (`takes.model_json_schema()`).
        function: What is run: in a thread of its own, or on the event loop where it is `async`.
        examples: What people say, and the arguments that they mean by it.
        looks_only: Whether it changes nothing. Such a tool may run before the turn is known to
            have ended, and for nothing; any other runs once somebody has finished speaking.
        deadline: How long it may take.
        asks: What is asked before it runs, in a language, with `{arguments}` in it; a yes in the
            next turn runs it. Empty where nobody has to be asked.
    """

    name: str
    description: str
    takes: type[BaseModel]
    function: Callable[..., object]
    examples: tuple[tuple[str, Arguments], ...]
    looks_only: bool = False
    deadline: Seconds = 5.0
    asks: Mapping[Lang, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_async(self) -> bool:
        """Whether it runs on the event loop."""
        return inspect.iscoroutinefunction(self.function)

    def check(self, arguments: Arguments) -> dict[str, object]:
        """The arguments as the function takes them.

        Raises:
            ValidationError: of pydantic: they do not fit.
        """
        checked = self.takes.model_validate(dict(arguments))
        return {name: getattr(checked, name) for name in self.takes.model_fields}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that somebody asked for, with the arguments that they meant, checked."""

    tool: Tool
    arguments: Mapping[str, object]
    answer: bool | None = None
    """What was said to its question: yes, no, or nothing yet."""


def needs_yes(call: ToolCall) -> bool:
    """Whether somebody has to be asked before it runs."""
    return bool(call.tool.asks) and call.answer is None


def question(call: ToolCall, lang: Lang) -> str:
    """What is asked before it runs."""
    asks = call.tool.asks
    return asks.get(lang, next(iter(asks.values()))).format(**call.arguments)


def tool(
    *,
    examples: Mapping[str, Arguments],
    looks_only: bool = False,
    deadline: Seconds = 5.0,
    asks: Mapping[Lang, str] | None = None,
) -> Callable[[Callable[..., Any] | Callable[..., Awaitable[Any]]], Tool]:
    """Make a tool of a function.

    What it returns is data for the answer: a text is a sentence that can be said as it is, None
    means that it was done, and anything else is put into words by the model. What it raises is told
    to nobody but the log, by its type; the person hears that it did not work.

    Args:
        examples: What people say to mean it, in every language that is spoken, and the arguments
            that they mean: one at least, six at most are shown to the model.
        looks_only: Whether it changes nothing; see `Tool`.
        deadline: How long it may take, up to 8 s.
        asks: For what has effects outside: the question that has to be answered by a yes first, by
            language, such as `{"en": "Shall I call {name}?"}`.

    Raises:
        ConfigError: on decorating: an argument that is no text, number, truth or choice of texts;
            no docstring; examples that do not fit.
    """

    def made(function: Callable[..., Any]) -> Tool:
        name = function.__name__
        description = (inspect.getdoc(function) or "").partition("\n")[0].strip()
        if not description:
            raise ConfigError(f"tool {name} has no docstring; its first line tells the model")
        if not 0 < deadline <= MOST_DEADLINE:
            raise ConfigError(f"tool {name}: deadline {deadline} is not within 0 to 8 s")
        found = Tool(
            name,
            description,
            _takes(name, function),
            function,
            tuple(examples.items())[:_MOST_EXAMPLES],
            looks_only,
            deadline,
            MappingProxyType(dict(asks or {})),
        )
        if not examples:
            raise ConfigError(f"tool {name} has no examples of what people say to mean it")
        for text in found.asks.values():
            asked = {each for _, each, _, _ in Formatter().parse(text) if each is not None}
            if not asked <= set(found.takes.model_fields):
                raise ConfigError(f"tool {name} asks for {asked}, which it does not take")
        for said, arguments in examples.items():
            try:
                found.check(arguments)
            except ValidationError as error:
                why = error.errors()[0]
                raise ConfigError(f"tool {name}, example {said!r}: {why['msg']}") from error
        return found

    return made


def offered(tools: Sequence[Tool]) -> tuple[Tool, ...]:
    """The tools of all plugins, if each has a name of its own.

    Raises:
        ConfigError: two have the same.
    """
    names = [each.name for each in tools]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{names.count(name)} tools are called {name!r}; rename one")
    return tuple(tools)


def finding(name: str, result: object) -> Finding:
    """What a tool returned, as data for an answer."""
    if result is None:
        return Finding(name)
    if isinstance(result, str):
        return Finding(name, words=" ".join(result[: 2 * MOST_RESULT].split())[:MOST_RESULT])
    data = to_json(result, inf_nan_mode="null", bytes_mode="base64", fallback=str)
    return Finding(name, data=data.decode()[:MOST_RESULT])


def _takes(name: str, function: Callable[..., Any]) -> type[BaseModel]:
    """A pydantic model of what a function takes by name."""
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        kind = hints.get(parameter.name)
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ConfigError(f"tool {name}: {parameter} cannot be given by name")
        if kind is None or not _is_simple(kind):
            raise ConfigError(
                f"tool {name}: {parameter} must be a str, int, float, bool or Literal of texts"
            )
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (kind, default)
    made: type[BaseModel] = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    return made


def _is_simple(kind: Any) -> bool:
    if get_origin(kind) is Annotated:
        return _is_simple(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return all(isinstance(choice, str) for choice in get_args(kind))
    if kind in _SIMPLE:
        return True
    is_union = get_origin(kind) in (Union, UnionType)  # such as `str | None`
    return is_union and all(each is NoneType or _is_simple(each) for each in get_args(kind))
