"""People who talk in turns through a side, and how long memory kept each turn.

The steps are the agent's: what will be recalled is made ready when somebody begins to speak, and
recalled when their words are known; these are kept before the answer begins, the whole turn after.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from echat_memory import SQLMemory
from echat_memory.bench import people
from echat_sdk.audio import Seconds
from echat_sdk.bridge import Worker
from echat_sdk.turn import Turn

STEPS = ("recall", "remember open", "remember whole", "prefetch")
"""What is timed. The first two are waited for before an answer begins, the others by nobody."""

SPEAKING: Seconds = 1.0
"""How long somebody speaks, where several do at once; the answer takes as long."""

EVERY: Seconds = 8.0
"""How often one of many takes a turn; of few so often that there are 20 turns a second."""

Milliseconds = float
Took = tuple[Milliseconds, Milliseconds]
"""How long it was waited for, and the processor time that this process took meanwhile."""
T = TypeVar("T")


class Side(Protocol):
    """Memory on the turn path, by whoever."""

    @property
    def name(self) -> str:
        """Who, and which version."""

    async def prefetch(self, user: str) -> None:
        """Somebody begins to speak."""

    async def recall(self, user: str, query: str) -> int:
        """Their words are known; how many of their last turns were found."""

    async def open(self, user: str, turn: Turn) -> str:
        """Keep the words, durable; the turn's id."""

    async def complete(self, user: str, turn: Turn, turn_id: str) -> None:
        """Keep the whole turn in their place, durable."""

    async def close(self) -> None:
        """Release all."""


class Ours:
    """A `SQLMemory` that all sessions share, each through an agent's own thread.

    Args:
        name: Who, and which version.
        memory: Of all.
    """

    def __init__(self, name: str, memory: SQLMemory) -> None:
        self.name = name
        self._memory = memory
        self._workers: dict[str, Worker] = {}

    async def prefetch(self, user: str) -> None:
        """See `Side`."""
        await self._call(user, self._memory.prefetch, user)

    async def recall(self, user: str, query: str) -> int:
        """See `Side`."""
        found = self._memory.at_hand(user, query=query) if self._workers[user].is_idle else None
        if found is None:
            found = await self._call(user, lambda: self._memory.recall(user, query=query))
        return len(found.turns)

    async def open(self, user: str, turn: Turn) -> str:
        """See `Side`."""
        return await self._call(user, self._memory.remember, user, turn)

    async def complete(self, user: str, turn: Turn, turn_id: str) -> None:
        """See `Side`."""
        await self._call(user, lambda: self._memory.remember(user, turn, turn_id=turn_id))

    async def close(self) -> None:
        """See `Side`."""
        for worker in self._workers.values():
            worker.close()
        self._memory.close()

    async def _call(self, user: str, function: Callable[..., T], *given: Any) -> T:
        if user not in self._workers:
            self._workers[user] = Worker("bench")
        return await self._workers[user].call(function, *given)


async def talk(
    side: Side, users: Sequence[str], *, turns: int, seed: int
) -> Mapping[str, list[Took]]:
    """Have users take turns; how long each step of each turn took, as the event loop saw it.

    One takes turn after turn without a pause; several speak, and are answered, at the same time.

    Args:
        side: Remembers.
        users: Who talks, each in a session of their own.
        turns: Of all together.
        seed: What they say.
    """
    draw = random.Random(seed)
    took: defaultdict[str, list[Took]] = defaultdict(list)
    said = [_said(draw) for _ in range(turns)]
    if len(users) == 1:
        for whole in said:
            await _take_turn(side, users[0], whole, took, speaking=0)
        return took
    pause = min(EVERY / len(users), 1 / 20)
    who = draw.sample(users, len(users))  # nobody twice before all have spoken
    async with asyncio.TaskGroup() as group:
        for i, whole in enumerate(said):
            user = who[i % len(who)]
            group.create_task(_take_turn(side, user, whole, took, speaking=SPEAKING), name="turn")
            await asyncio.sleep(pause)
    return took


async def _take_turn(
    side: Side,
    user: str,
    whole: Turn,
    took: defaultdict[str, list[Took]],
    *,
    speaking: Seconds,
) -> None:
    async def timed(step: str, work: Awaitable[T]) -> T:
        began, busy = time.perf_counter(), time.process_time()
        result = await work
        waited, worked = time.perf_counter() - began, time.process_time() - busy
        took[step].append((1000 * waited, 1000 * worked))
        return result

    async with asyncio.TaskGroup() as group:
        group.create_task(timed("prefetch", side.prefetch(user)), name="prefetch")
        group.create_task(asyncio.sleep(speaking), name="speech")
    found = await timed("recall", side.recall(user, whole.transcript))
    assert found > 0
    turn_id = await timed("remember open", side.open(user, people.opened(whole)))
    await asyncio.sleep(speaking)
    await timed("remember whole", side.complete(user, whole, turn_id))


def _said(draw: random.Random) -> Turn:
    """A turn as it ends; every second one asks for what was said before."""
    whole = people.turn(draw)
    return replace(whole, transcript=people.question(draw)) if draw.randrange(2) else whole
