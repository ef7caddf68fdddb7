"""A device's commands: each is sent until it is answered, one after the other, in order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from echat_plugins.mqtt.messages import Answer, Command, id_of
from echat_plugins.mqtt.outbox import Outbox
from echat_sdk.audio import Seconds
from echat_sdk.bridge import Worker
from echat_sdk.errors import StoreError

log = logging.getLogger(__name__)

ANSWER: Seconds = 3.0
"""So long an answer is waited for before a command is sent again, under the same id."""

_LATER: Seconds = 0.5  # after a server said that it is too much
_NOT_NOW = frozenset({"too_many", "no_session", "full"})


@dataclass(slots=True)
class _Pending:
    id: str
    payload: bytes
    at: Seconds
    number: int | None = None  # in the outbox


class Commands:
    """What is still to be done; kept in an outbox, where there is one, else in RAM.

    Args:
        send: Sends one; whether the broker has it.
        outbox: Keeps them while the broker is away, or we are.
        most: That may wait; one more is refused.
        keeps: How long one may wait; what is older is not sent any more.
        on_answer: Told what came of each.
        clock: The wall clock, as the outbox has it.
    """

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[bool]],
        outbox: Outbox | None,
        *,
        most: int,
        keeps: Seconds,
        on_answer: Callable[[Answer], None],
        clock: Callable[[], Seconds] = time.time,
    ) -> None:
        self._send = send
        self._outbox = outbox
        self._most = most
        self._keeps = keeps
        self._on_answer = on_answer
        self._clock = clock
        self._worker = Worker("echat-outbox")
        self._waiting: deque[_Pending] = deque()  # bounded by `most`
        self._has_some = asyncio.Event()
        self._ready = asyncio.Event()
        self._answer: asyncio.Future[Answer] | None = None
        self._asked = ""

    def __len__(self) -> int:
        return len(self._waiting)

    async def open(self) -> None:
        """Take up what was left.

        Raises:
            ConfigError: as `Outbox.open`.
            StoreError: as `Outbox.open`.
        """
        if self._outbox is not None:
            for kept in await self._worker.call(self._outbox.open):
                pending = _Pending(id_of(kept.payload), kept.payload, kept.at, kept.number)
                self._waiting.append(pending)
            self._has_some.set()

    async def close(self) -> None:
        """Leave what waits in the outbox."""
        await self._worker.closed(1.0)

    async def put(self, command: Command) -> None:
        """Have it done, once; it is kept when this returns.

        Raises:
            StoreError: too many wait, or the disk fails; it will not be done.
        """
        if len(self._waiting) >= self._most:
            raise StoreError(f"{len(self._waiting)} commands wait already; none is added")
        pending = _Pending(command.id, command.render(), self._clock())
        self._waiting.append(pending)
        try:
            if self._outbox is not None:
                kept = await self._worker.keep(self._outbox.put, pending.payload)
                pending.number = kept.number
        except StoreError:
            self._waiting.remove(pending)
            raise
        self._has_some.set()

    def ready(self, is_ready: bool) -> None:
        """Whether a server listens now."""
        if is_ready:
            self._ready.set()
        else:
            self._ready.clear()

    def take(self, answer: Answer) -> bool:
        """An answer; whether it is to one of these."""
        if self._answer is None or self._answer.done() or answer.to != self._asked:
            return False
        self._answer.set_result(answer)
        return True

    async def run(self) -> None:
        """Send, for ever."""
        while True:
            while not self._waiting or (self._outbox and self._waiting[0].number is None):
                self._has_some.clear()
                await self._has_some.wait()
            await self._ready.wait()
            pending = self._waiting[0]
            answer = await self._asked_for(pending)
            if answer is None:
                continue
            if answer.code in _NOT_NOW:
                await asyncio.sleep(_LATER)
                continue
            await self._over(pending)
            self._on_answer(answer)

    async def _asked_for(self, pending: _Pending) -> Answer | None:
        """What it is answered; None where nothing came in time."""
        if self._clock() - pending.at > self._keeps:
            return Answer(to=pending.id, ok=False, code="late", message="it waited too long")
        self._asked = pending.id
        self._answer = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(ANSWER):
                if not await self._send(pending.payload):
                    await asyncio.sleep(_LATER)
                    return None
                return await self._answer
        except TimeoutError:
            return None
        finally:
            self._answer = None

    async def _over(self, pending: _Pending) -> None:
        self._waiting.remove(pending)
        if self._outbox is not None and pending.number is not None:
            try:
                await self._worker.keep(self._outbox.remove, pending.number)
            except StoreError as error:
                log.error("the outbox: %s", type(error).__name__)
