"""How a text model is asked which tool somebody means, and how its answer is read. Pure.

The model sees functions and a few sentences with the calls that they mean, and writes one call.
What it writes is read as data and believed only as far as the words bear it out: names and numbers
must have been said.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_origin, get_type_hints

from pydantic import ValidationError

from echat_sdk.model.asking import asks
from echat_sdk.model.said_numbers import is_said
from echat_sdk.tools import Tool, ToolCall
from echat_sdk.turn import Lang

MAX_HEARD_CHARS = 300
"""Of longer words the end is shown."""

MAX_TOKENS = 64
"""Of a call."""

NOTHING = "none()"

_HEAD = "Functions:"
_TASK = "Write the one call that the person asks for."
_TALK: Mapping[Lang, tuple[str, ...]] = {
    "en": (
        "I had a really long day.",
        "My dog died yesterday.",
        "Thank you, that helps.",
        "I'm fine, how are you?",
        "Nobody ever listens to me.",
        "What do you think about that?",
        "I passed my exam!",
        "Can you help me? I feel so low.",
    ),
    "zh": (
        "我今天很难过。",
        "我的狗昨天死了。",
        "谢谢你。",
        "你好，你叫什么名字？",
        "从来没有人听我说话。",
        "你觉得呢？",
        "我考上了！",
        "我不想说这个。",
    ),
}
_CALL = re.compile(r"^[ \t]*([A-Za-z_]\w*\(.*\))[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ToolPrompt:
    """What does not change from question to question.

    Attributes:
        system: The functions and the task.
        shots: What people say, and the call that is meant.
    """

    system: str
    shots: tuple[tuple[str, str], ...]


def tool_prompt(tools: Sequence[Tool], lang: Lang) -> ToolPrompt:
    """The prompt for words of one language; examples in another only where there is none in it."""
    lines = [f"{_signature(tool)}  # {tool.description}" for tool in tools]
    system = "\n".join((_HEAD, *lines, f"{NOTHING}  # Anything else: talk, news, feelings.", _TASK))
    calls = [
        (said, _written(tool.name, arguments))
        for tool in tools
        for said, arguments in _told(tool, lang)
    ]
    talk = [(said, NOTHING) for said in _TALK[lang]]
    shots: list[tuple[str, str]] = []
    # In turn: a model that saw ten calls in a row writes an eleventh.
    while calls or talk:
        shots += [rows.pop(0) for rows in (calls, talk) if rows]
    return ToolPrompt(system, tuple(shots))


def may_ask(words: str, lang: Lang) -> bool:
    """Whether the model need be asked at all."""
    return bool(words.strip()) and asks(words[-MAX_HEARD_CHARS:], lang)


def read_call(written: str, words: str, tools: Sequence[Tool]) -> ToolCall | None:
    """The call that a model wrote, if it is one of these tools' and the words bear it out."""
    match = _CALL.search(written.strip())
    if match is None:
        return None
    try:
        call = ast.parse(match[1], mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        return None
    tool = next((each for each in tools if each.name == call.func.id), None)
    if tool is None:
        return None
    try:
        given = dict(zip(tool.takes.model_fields, map(_literal, call.args), strict=False))
        given |= {word.arg or "": _literal(word.value) for word in call.keywords}
        arguments = tool.check(given)
    except (ValueError, ValidationError):
        return None
    hints = get_type_hints(tool.function)
    is_told = all(
        _is_told(arguments[name], words) for name in given if get_origin(hints[name]) is not Literal
    )
    return ToolCall(tool, arguments) if is_told else None


def _told(tool: Tool, lang: Lang) -> list[tuple[str, Mapping[str, object]]]:
    spoken = [each for each in tool.examples if _lang(each[0]) == lang]
    return spoken or list(tool.examples)


def _lang(text: str) -> Lang:
    return "zh" if re.search("[\u4e00-\u9fff]", text) else "en"


def _signature(tool: Tool) -> str:
    hints = get_type_hints(tool.function)
    names = inspect.signature(tool.function).parameters
    return f"{tool.name}({', '.join(f'{name}: {_kind(hints[name])}' for name in names)})"


def _kind(hint: Any) -> str:
    shown = hint.__name__ if isinstance(hint, type) else str(hint)
    return shown.replace("typing.", "")


def _written(name: str, arguments: Mapping[str, object]) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


def _is_told(value: object, words: str) -> bool:
    """Whether a text or a number that the model wrote was said."""
    match value:
        case str():
            return bool(value) and _squeezed(value) in _squeezed(words)
        case bool() | None:
            return True
        case int() | float():
            return is_said(value, words)
        case _:
            return False


def _literal(node: ast.expr) -> object:
    value = ast.literal_eval(node)
    return value.strip() if isinstance(value, str) else value


def _squeezed(text: str) -> str:
    """Letters and digits alone, so that spaces and capitals make no difference."""
    return "".join(c for c in text.casefold() if c.isalnum())
