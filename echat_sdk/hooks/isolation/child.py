"""What runs in a plugin's own process: it is confined, brings the plugin, and answers calls.

Two lanes: one for hooks, in the main thread; one for tools, in another, for they take longer. On
each one line is read, and answered by one line. When the first ends, so does the process.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import os
import pwd
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic_core import from_json, to_json

from echat_sdk.audio import Seconds
from echat_sdk.hooks.isolation import values
from echat_sdk.hooks.isolation.confinement import confine
from echat_sdk.hooks.spec import BEGINNINGS, NAMES
from echat_sdk.tools import MOST_RESULT, Tool

_EARLIER = 0.8  # of its time, after which an `async` function is cancelled
_MOST_SAID = 200

Answer = Callable[[Mapping[str, Any]], Any]


def main(hooks: int, tools: int, parent: int) -> None:
    """Answer until the lane of hooks is closed.

    Args:
        hooks: Its file descriptor.
        tools: Of the other lane.
        parent: The process that this one belongs to.
    """
    lanes = [socket.socket(fileno=fd) for fd in (hooks, tools)]
    for lane in lanes:
        lane.set_inheritable(False)
    _serve(lanes[0], _Plugin(parent, lanes[1]).answer)


def _serve(lane: socket.socket, answer: Answer) -> None:
    with lane.makefile("rb") as lines:
        while line := lines.readline(values.MOST_REQUEST + 1):
            asked = values.message(line)
            told: dict[str, Any] = {"id": asked["id"]}
            is_full = False
            try:
                said = values.line(told | {"value": answer(asked)})
                if len(said) > values.MOST_ANSWER:
                    raise ValueError(f"an answer of {len(said)} bytes")
            except BaseException as error:  # noqa: BLE001 - a stranger's code; the parent is told
                is_full = isinstance(error, MemoryError)
                why = " ".join(str(error)[:_MOST_SAID].split()) if "module" in asked else ""
                said = values.line(told | {"error": type(error).__name__, "why": why})
            lane.sendall(said)
            if is_full:
                return  # what it holds is freed with the process, and by nothing else


class _Plugin:
    """The plugin, once the first line has told which.

    Args:
        parent: The process that this one belongs to.
        tools: The lane of tools.
    """

    def __init__(self, parent: int, tools: socket.socket) -> None:
        self._parent = parent
        self._lane = tools
        self._hooks: dict[str, Callable[..., Any]] = {}
        self._tools: dict[str, Tool] = {}
        self._loops = threading.local()

    def answer(self, asked: Mapping[str, Any]) -> Any:
        """What a line asks for."""
        if "module" in asked:
            return self._begin(asked)
        if "hook" in asked:
            name = asked["hook"]
            given = {each: values.parsed(each, data) for each, data in asked["values"].items()}
            said = self._run(self._hooks[name], given, asked["within"])
            return None if name.startswith("on_") else values.rendered(said)
        tool = self._tools[asked["tool"]]
        return _result(self._run(tool.function, tool.check(asked["arguments"]), asked["within"]))

    def _begin(self, asked: Mapping[str, Any]) -> Any:
        home = Path(pwd.getpwuid(os.getuid()).pw_dir)
        path = (Path(each) for each in sys.path)
        # Whose modules lie beside all that somebody has is not given all that.
        reads = [each for each in path if not home.is_relative_to(each)]
        file = Path(asked["file"]) if asked["file"] else None
        confined = confine(
            parent=self._parent,
            memory=asked["memory"],
            network=asked["network"],
            reads=[*reads, *([file] if file else ())],
        )
        module = _imported(asked["module"], file)
        plugin = getattr(module, asked["attribute"])
        if callable(plugin):
            plugin = plugin(**asked["options"])
        elif asked["options"]:
            raise TypeError("it takes no options")
        hooks = [name for name in dir(plugin) if _is_hook(plugin, name)]
        self._hooks = {name: getattr(plugin, name) for name in hooks}
        if (offers := self._hooks.pop("tools", None)) is not None:
            self._tools = {tool.name: tool for tool in offers()}
        serve = partial(_serve, self._lane, self.answer)
        threading.Thread(target=serve, name="echat-plugin-tools", daemon=True).start()
        return {
            "confined": confined,
            "hooks": {name: _hook(function) for name, function in self._hooks.items()},
            "tools": [_tool(tool) for tool in self._tools.values()],
        }

    def _run(self, function: Callable[..., Any], given: Mapping[str, Any], within: Seconds) -> Any:
        if not inspect.iscoroutinefunction(function):
            return function(**given)

        async def run() -> Any:
            async with asyncio.timeout(within * _EARLIER):
                return await function(**given)

        if not hasattr(self._loops, "runner"):
            self._loops.runner = asyncio.Runner()
        return self._loops.runner.run(run())


def _imported(name: str, file: Path | None) -> ModuleType:
    if file is None:
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.name} is no module")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _is_hook(plugin: object, name: str) -> bool:
    # One that only looks like a hook is told of, too: the parent refuses it.
    if name in NAMES:
        return inspect.isroutine(getattr(plugin, name))
    return name.startswith(BEGINNINGS)


def _hook(function: object) -> dict[str, Any]:
    """What it takes, and where among others it wants to be."""
    if not callable(function):
        return {"takes": []}
    taken = inspect.signature(function).parameters.values()
    marks = getattr(function, "echat_impl", None) or {}
    return {
        "takes": [each.name for each in taken if each.default is each.empty],
        "tryfirst": bool(marks.get("tryfirst")),
        "trylast": bool(marks.get("trylast")),
    }


def _tool(tool: Tool) -> dict[str, Any]:
    """The tool as `tool_from_json` takes it, and what is not in there."""
    schema = tool.takes.model_json_schema()
    properties = {name: _simple(each) for name, each in schema.get("properties", {}).items()}
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": {"properties": properties, "required": schema.get("required", [])},
        "echat": {"examples": {said: dict(arguments) for said, arguments in tool.examples}},
        "looks_only": tool.looks_only,
        "deadline": tool.deadline,
        "asks": dict(tool.asks),
    }


def _simple(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of one argument without choices of types; `check` knows the rest."""
    if "const" in schema:
        return {"enum": [schema["const"]]}
    kinds = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    if not kinds:
        return schema
    widest = ("string", "number", "integer", "boolean")
    return _simple(min(kinds, key=lambda each: widest.index(each.get("type", "string"))))


def _result(result: object) -> Any:
    """What a tool gave, as JSON; `tools.finding` says what becomes of it."""
    if isinstance(result, str):
        return result[: 2 * MOST_RESULT]
    return from_json(to_json(result, inf_nan_mode="null", bytes_mode="base64", fallback=str))
