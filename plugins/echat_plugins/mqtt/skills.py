"""What a device can do: told in its hello, and done when its agent has it called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from echat_plugins.mqtt.messages import MOST_OUTPUT, MOST_TOOLS, Answer, Call, Offer
from echat_sdk.agent.tool_use import ToolUse
from echat_sdk.errors import ConfigError
from echat_sdk.tools import Tool, ToolCall, offered

MOST_AT_ONCE = 8
"""Calls that run at once; one more is refused."""


class Skills:
    """Functions of a device's.

    Args:
        tools: Made by `echat_sdk.tools.tool`.

    Attributes:
        offers: As the hello tells them.

    Raises:
        ConfigError: two have one name, or there are more than may be told of.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        if len(tools) > MOST_TOOLS:
            raise ConfigError(f"{len(tools)} tools; a device may have {MOST_TOOLS}")
        if asking := [tool.name for tool in tools if tool.asks]:
            raise ConfigError(f"{asking[0]}: a tool of a device asks nobody; leave `asks` away")
        self._tools = {tool.name: tool for tool in offered(tools)}
        self._use = ToolUse()
        self._running = 0
        self.offers = [_offer(tool) for tool in tools]

    async def do(self, call: Call) -> Answer:
        """Run one of them, under its deadline; what goes wrong in it is answered."""
        tool = self._tools.get(call.name)
        if tool is None or self._running >= MOST_AT_ONCE:
            return Answer(to=call.id, ok=False, code="refused", message="it cannot be called now")
        try:
            arguments = tool.check(call.arguments)
        except ValidationError as error:
            why = error.errors(include_input=False)[0]["type"]
            return Answer(to=call.id, ok=False, code="refused", message=f"arguments: {why}")
        self._running += 1
        try:
            found = await self._use.run(ToolCall(tool, arguments), "en")
        finally:
            self._running -= 1
        if found.error:
            return Answer(to=call.id, ok=False, code="failed", message=found.error[:80])
        words = found.words or found.data
        return Answer(to=call.id, output=words[:MOST_OUTPUT] or None)

    def close(self) -> None:
        """Leave what still runs in a thread to itself."""
        self._use.close()


def _offer(tool: Tool) -> Offer:
    schema: dict[str, Any] = tool.takes.model_json_schema()
    properties = {name: _simple(body) for name, body in schema.get("properties", {}).items()}
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if required := schema.get("required"):
        parameters["required"] = required
    examples: Any = {said: dict(arguments) for said, arguments in tool.examples}
    return Offer(
        name=tool.name,
        description=tool.description[:200],
        parameters=parameters,
        examples=examples,
        looks_only=tool.looks_only,
        deadline=tool.deadline,
    )


def _simple(body: dict[str, Any]) -> dict[str, Any]:
    """One that may be left out, as pydantic writes it, as one type."""
    for choice in body.get("anyOf", ()):
        if choice.get("type") != "null":
            return dict(choice)
    return body
