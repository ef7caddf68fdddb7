"""What a device can do, as tools of its agent's: called over control, answered by the device."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from echat_plugins.mqtt.messages import Answer, Call, Offer, new_id
from echat_sdk.errors import EChatError
from echat_sdk.json_tools import tool_from_json
from echat_sdk.server.allowance import Allowance
from echat_sdk.tools import MOST_DEADLINE, Tool

MOST_PENDING = 8
"""Calls that wait for a device at once; one more fails."""


class CallRefusedError(EChatError):
    """A device's function was not called, or did not do what it was called for."""


class DeviceTools:
    """A device's functions. Used from the event loop's thread.

    Args:
        send: Takes a call for the device, without waiting.
        calls_per_minute: Of each function at most, whatever the device allows.
    """

    def __init__(self, send: Callable[[Call], None], calls_per_minute: int) -> None:
        self._send = send
        self._most = calls_per_minute
        self._waiting: dict[str, asyncio.Future[Answer]] = {}  # bounded by MOST_PENDING

    def made(self, offers: Sequence[Offer]) -> list[Tool]:
        """Tools out of what a device offers.

        Raises:
            ConfigError: one of them is no function that can be offered.
        """
        return [self._made(each) for each in offers]

    def take(self, answer: Answer) -> bool:
        """An answer of the device's; whether somebody waits for it."""
        waiting = self._waiting.get(answer.to)
        if waiting is None or waiting.done():
            return False
        waiting.set_result(answer)
        return True

    def _made(self, offer: Offer) -> Tool:
        per_minute = min(offer.calls_per_minute, self._most)
        clock = asyncio.get_running_loop().time
        allowance = Allowance(per_minute / 60, per_minute, clock)
        deadline = min(offer.deadline, MOST_DEADLINE)

        async def call(name: str, arguments: Mapping[str, object]) -> str:
            if not allowance.take():
                raise CallRefusedError(f"more than {per_minute} calls a minute")
            return await self._call(name, arguments, deadline)

        given: dict[str, Any] = {
            "name": offer.name,
            "description": offer.description,
            "parameters": offer.parameters,
            "echat": {"examples": offer.examples},
        }
        return tool_from_json(given, call, deadline=deadline, looks_only=offer.looks_only)

    async def _call(self, name: str, arguments: Mapping[str, object], within: float) -> str:
        if len(self._waiting) >= MOST_PENDING:
            raise CallRefusedError("too many calls wait for the device")
        given: Any = {key: value for key, value in arguments.items() if value is not None}
        call = Call(id=new_id(), name=name, arguments=given, within=within)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[call.id] = future
        try:
            self._send(call)
            answer = await future  # the agent sees to the deadline
        finally:
            del self._waiting[call.id]
        if not answer.ok:
            raise CallRefusedError("the device could not do it")
        return "null" if answer.output is None else answer.output
