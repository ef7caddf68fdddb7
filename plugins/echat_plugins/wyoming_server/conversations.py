"""Agents that answer in writing, one a conversation, kept while it goes on."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from echat_plugins.wyoming_server.faults import Fault
from echat_plugins.wyoming_server.options import WyomingOptions
from echat_sdk.agent import Agent
from echat_sdk.agent.service import Service
from echat_sdk.audio import Seconds

_LOOK: Seconds = 5.0


@dataclass(slots=True)
class _Kept:
    agent: Agent
    used_at: Seconds
    users: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Conversations:
    """Keeps agents by a key, so many at most. Used from the event loop's thread.

    Args:
        service: What they are made with.
        options: How many, how long, and for whom.
    """

    def __init__(self, service: Service, options: WyomingOptions) -> None:
        self._service = service
        self._options = options
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # who was used last is last

    def __len__(self) -> int:
        return len(self._kept)

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[Agent]:
        """The agent of a conversation, for one turn; others of the same wait.

        Args:
            key: Of the conversation; a new one begins where there is none.

        Raises:
            Fault: there are as many as there may be, and each is being answered.
        """
        kept = self._kept.get(key)
        gone = None
        if kept is None:
            if len(self._kept) >= self._options.conversations:
                gone = self._oldest()
            kept = self._kept[key] = _Kept(self._agent(), self._now())
        self._kept.move_to_end(key)
        kept.users += 1
        try:
            if gone is not None:
                await _end(gone)
            async with kept.turn:
                yield kept.agent
        finally:
            kept.users -= 1
            kept.used_at = self._now()

    async def drop(self, key: str) -> None:
        """End a conversation, if there is one."""
        if (kept := self._kept.pop(key, None)) is not None:
            await _end(kept)

    async def sweep(self) -> None:
        """End what was silent for long, for ever."""
        while True:
            await asyncio.sleep(min(_LOOK, self._options.conversation_seconds))
            oldest = self._now() - self._options.conversation_seconds
            silent = [key for key, kept in self._kept.items() if not kept.users]
            for key in silent:
                if key in self._kept and self._kept[key].used_at <= oldest:
                    await self.drop(key)

    async def close(self) -> None:
        """End all."""
        async with asyncio.TaskGroup() as group:
            for key in list(self._kept):
                group.create_task(self.drop(key), name="echat-wyoming-end")

    def _oldest(self) -> _Kept:
        for key, kept in self._kept.items():
            if not kept.users:
                return self._kept.pop(key)
        raise Fault("as many conversations as there may be are being answered", "busy")

    def _agent(self) -> Agent:
        service, user = self._service, self._options.user
        memory = service.memory if user is not None else service.guest_memory()
        user = user or f"guest_{secrets.token_hex(12)}"
        return Agent(
            service.model,
            memory,
            user=user,
            think=service.think,
            lang=service.lang,
            speak=False,  # whoever asked has it spoken, or reads it
            manner=service.manner(user),
        )

    def _now(self) -> Seconds:
        return asyncio.get_running_loop().time()


async def _end(kept: _Kept) -> None:
    """Wait until what was said is kept, without holding up the event loop."""
    await kept.agent.__aexit__(None, None, None)
