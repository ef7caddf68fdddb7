"""What a device can do, as tools of the agent's: it tells by the Model Context Protocol."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from echat_plugins.xiaozhi.options import XiaozhiOptions
from echat_sdk.audio import Seconds
from echat_sdk.server.realtime.client_tools import client_tool
from echat_sdk.server.realtime.faults import Fault as NoTool
from echat_sdk.tools import MOST_RESULT, Tool

log = logging.getLogger(__name__)

_VERSION = "2024-11-05"
_ANSWER: Seconds = 5.0  # to anything but a tool
_MOST_PAGES = 8
_MOST_WAITING = 8  # calls
_DONE = ("", "true", "ok", "null")  # says that it was done, and nothing else
_OTHER = re.compile(r"[^A-Za-z0-9_]")

# A small model learns from examples what is meant; the firmware's own tools have none.
_EXAMPLES: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "self.audio_speaker.set_volume": {
        "set the volume to thirty": {"volume": 30},
        "turn the sound up to eighty percent": {"volume": 80},
        "把音量调到五十": {"volume": 50},
    },
    "self.screen.set_brightness": {
        "set the screen brightness to forty": {"brightness": 40},
        "屏幕亮度调到百分之八十": {"brightness": 80},
    },
    "self.screen.set_theme": {
        "use the dark theme": {"theme": "dark"},
        "换成浅色主题": {"theme": "light"},
    },
    "self.get_device_status": {
        "how full is your battery": {},
        "你还有多少电": {},
    },
}


class ToolFailed(Exception):
    """A device could not do what it was asked to, or said so in a way that cannot be read."""


class DeviceTools:
    """Asks a device what it can do, and has it do it. Used from the event loop's thread.

    Args:
        send: Takes the payload of a message to the device.
        options: Which tools, how many, and how long each may take.
    """

    def __init__(self, send: Callable[[dict[str, Any]], None], options: XiaozhiOptions) -> None:
        self._send = send
        self._options = options
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last = 0

    async def discover(self) -> tuple[Tool, ...]:
        """The tools that may be used; nothing where the device does not tell in time."""
        try:
            params = {
                "protocolVersion": _VERSION,
                "capabilities": {},
                "clientInfo": {"name": "echat-sdk", "version": ""},
            }
            with contextlib.suppress(TimeoutError):  # some can be asked all the same
                await self._ask("initialize", params, _ANSWER)
            return tuple(self._made(await self._listed()))
        except (ToolFailed, TimeoutError) as error:
            log.info("a device told no tools: %s", type(error).__name__)
            return ()

    def take(self, payload: Mapping[str, Any]) -> None:
        """Take what the device says; what nobody waits for is let pass."""
        asked = payload.get("id")
        waiting = self._waiting.get(asked) if isinstance(asked, int) else None
        if waiting is None or waiting.done():
            return
        result = payload.get("result")
        if isinstance(result, dict):
            waiting.set_result(result)
        else:
            waiting.set_exception(ToolFailed("the device answered with an error"))

    async def _listed(self) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        cursor = ""
        for _ in range(_MOST_PAGES):
            page = await self._ask("tools/list", {"cursor": cursor}, _ANSWER)
            tools = page.get("tools")
            found += [each for each in tools if isinstance(each, dict)] if tools else []
            cursor = page.get("nextCursor") or ""
            if not cursor or not isinstance(cursor, str) or len(cursor) > 200:
                break
        return found

    def _made(self, listed: Iterable[Mapping[str, Any]]) -> Iterable[Tool]:
        allowed, left, names = self._options.tools, self._options.most_tools, set[str]()
        for each in listed:
            theirs = str(each.get("name") or "")
            ours = _OTHER.sub("_", theirs.removeprefix("self."))
            if not left or ours in names or (allowed is not None and theirs not in allowed):
                continue
            given = {
                "name": ours,
                "description": each.get("description"),
                "parameters": each.get("inputSchema"),
                "echat": {"examples": _EXAMPLES.get(theirs, {})},
            }
            try:
                tool = client_tool(given, self._caller(theirs))
            except NoTool:  # it takes what nobody could say
                log.info("a tool of a device cannot be offered")
                continue
            names.add(ours)
            left -= 1
            yield replace(tool, deadline=self._options.tool_seconds)

    def _caller(self, name: str) -> Callable[[str, Mapping[str, object]], asyncio.Future[str]]:
        """What has the device do it."""

        def call(_: str, arguments: Mapping[str, object]) -> asyncio.Future[str]:
            done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            given = {each: value for each, value in arguments.items() if value is not None}
            asked = self._request("tools/call", {"name": name, "arguments": given})

            def told(answer: asyncio.Future[dict[str, Any]]) -> None:
                if done.done() or answer.cancelled():
                    return
                if (error := answer.exception()) is not None:
                    done.set_exception(error)
                elif answer.result().get("isError"):
                    done.set_exception(ToolFailed("the device could not do it"))
                else:
                    done.set_result(_words(answer.result()))

            asked.add_done_callback(told)
            done.add_done_callback(lambda _: asked.cancel())  # nobody waits any more
            return done

        return call

    async def _ask(self, method: str, params: Mapping[str, Any], within: Seconds) -> dict[str, Any]:
        async with asyncio.timeout(within):
            return await self._request(method, params)

    def _request(self, method: str, params: Mapping[str, Any]) -> asyncio.Future[dict[str, Any]]:
        if len(self._waiting) >= _MOST_WAITING:
            raise ToolFailed("the device has not answered what it was asked before")
        self._last = number = self._last + 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        answer.add_done_callback(lambda _: self._waiting.pop(number, None))
        self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        return answer


def _words(result: Mapping[str, Any]) -> str:
    """The text of a result, as a tool returns it; what only says that it was done says nothing."""
    content = result.get("content")
    parts = content if isinstance(content, list) else []
    texts = [str(part.get("text", "")) for part in parts if isinstance(part, dict)]
    text = "\n".join(texts)[:MOST_RESULT].strip()
    return json.dumps(None) if text.strip('"').lower() in _DONE else text
