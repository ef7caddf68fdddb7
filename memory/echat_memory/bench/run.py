"""Fills a store, has people talk through each side in turn, round after round, and counts."""

from __future__ import annotations

import asyncio
import os
import platform
import random
import shutil
import statistics
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from echat_memory import Encryption, SQLMemory
from echat_memory.bench import people, talking
from echat_memory.bench.filling import fill
from echat_memory.bench.peers import Peer
from echat_memory.bench.people import Person
from echat_memory.bench.talking import Milliseconds, Ours, Side, Took
from echat_memory.search import Index
from echat_memory.sqlite import copy
from echat_sdk.errors import ConfigError
from echat_sdk.pause_profile import PauseProfile

GET_PEER = 'pip install "echat-sdk[bench]"'

_FILLING = 600.0  # seconds, in one transaction
_ALONE = 30  # turns a round of one user, of 50, of more
_AT_ONCE = 40
_MANY = 100
_MICRO = 200
_WEIGHED = 10_000  # turns whose memory is weighed, which is slow


@dataclass(frozen=True, slots=True)
class Row:
    """How long one step took one side.

    Attributes:
        turns: In the store.
        sessions: How many users talked at once.
        of_user: Turns in the store of the one user who talked; 0 where several did.
        step: See `talking.STEPS`.
        side: Whose memory it was.
        p50: Milliseconds.
        p95: Milliseconds.
        cpu: Processor time, the median; None where several talked, so that nobody knows whose.
        n: How many were timed.
    """

    turns: int
    sessions: int
    of_user: int
    step: str
    side: str
    p50: Milliseconds
    p95: Milliseconds
    cpu: Milliseconds | None
    n: int


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long the peer took, beside ours.

    Attributes:
        turns: See `Row`.
        sessions: See `Row`.
        of_user: See `Row`.
        step: See `Row`.
        side: Which of ours.
        medians: The peer's median by ours, round by round.
        p95: The peer's p95 by ours, of all rounds.
        cpu: The peer's processor time by ours, the medians of all rounds; None as in `Row`.
    """

    turns: int
    sessions: int
    of_user: int
    step: str
    side: str
    medians: tuple[float, ...]
    p95: float
    cpu: float | None

    @property
    def median(self) -> float:
        """Of `medians`."""
        return statistics.median(self.medians)


@dataclass(frozen=True, slots=True)
class Part:
    """What a part of ours takes, called alone and without a thread between.

    Attributes:
        turns: In the store; of the one user who is searched, for the search.
        name: Of what.
        p50: Milliseconds.
        p95: Milliseconds.
    """

    turns: int
    name: str
    p50: Milliseconds
    p95: Milliseconds


@dataclass(frozen=True, slots=True)
class MemoryBench:
    """What was found.

    Attributes:
        database: `sqlite` or `postgresql`.
        machine: Processors, Python.
        rounds: How many, of each side.
        peer: Name and version; empty where there was none.
        rows: By store, sessions, step and side.
        ratios: The peer's time by ours.
        parts: What ours consists of.
        search_bytes: RAM that a searched turn takes.
    """

    database: str
    machine: str
    rounds: int
    peer: str
    rows: tuple[Row, ...]
    ratios: tuple[Ratio, ...]
    parts: tuple[Part, ...]
    search_bytes: float


@dataclass(frozen=True, slots=True)
class _Talk:
    """Who talks at once."""

    users: tuple[str, ...]
    of_user: int
    turns: int


@dataclass(slots=True)
class _Found:
    rows: list[Row] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)


def run(
    store: str | None,
    *,
    turns: Sequence[int],
    sessions: Sequence[int] = (1, 50, 500),
    rounds: int = 8,
    encrypt: bool = False,
    step: Callable[[str], None] = lambda doing: None,
) -> MemoryBench:
    """Measure memory on the turn path.

    Args:
        store: The URL of an empty PostgreSQL database, which is left full; None for SQLite in a
            temporary folder.
        turns: In the store; one size after another.
        sessions: Users at once.
        rounds: Of each side, for each size and number of sessions.
        encrypt: Whether ours is measured with encrypted fields as well.
        step: Called with what is done next.

    Raises:
        ConfigError: the store is not empty, or cannot be encrypted here.
        StoreError: it cannot be used.
    """
    if store is not None and encrypt:
        raise ConfigError("--encrypt needs a copy of the store, which only SQLite gives; leave one")
    found, peer = _Found(), ""
    with TemporaryDirectory(prefix="echat-memory-") as folder:
        path = None if store is not None else Path(folder) / "echat.db"
        url = path or str(store)
        already = 0
        for size in sorted(turns):
            step(f"filling a store with {size:,} turns")
            who = people.people(size - already, name=f"user-{size}")
            with closing(SQLMemory(url, retention=None, busy_timeout=_FILLING)) as memory:
                if not already and memory.users():
                    raise ConfigError(
                        "the store has users already; give an empty database, for what is "
                        "measured is written into it"
                    )
                fill(memory, who, datetime.now(UTC))
            already = size
            measured = asyncio.run(
                _measure(url, Path(folder), who, size, sessions, rounds, encrypt, found, step)
            )
            peer = measured or peer
    weight = _search(found, turns, step)
    return MemoryBench(
        database="sqlite" if store is None else "postgresql",
        machine=f"{os.cpu_count()} cores, Python {platform.python_version()}, shared or not",
        rounds=rounds,
        peer=peer,
        rows=tuple(found.rows),
        ratios=tuple(found.ratios),
        parts=tuple(found.parts),
        search_bytes=weight,
    )


async def _measure(
    url: str | Path,
    folder: Path,
    who: Sequence[Person],
    turns: int,
    sessions: Sequence[int],
    rounds: int,
    encrypt: bool,
    found: _Found,
    step: Callable[[str], None],
) -> str:
    """Measure one size of store; the peer's name, empty where it is not installed."""
    async with AsyncExitStack() as stack:
        step(f"opening {turns:,} turns")
        sides = []
        async for side in _sides(url, folder, encrypt):
            stack.push_async_callback(side.close)
            sides.append(side)
        for talk in _talks(who, sessions):
            step(f"{len(talk.users)} talking, {turns:,} turns in the store")
            took = await _rounds(sides, talk, rounds)
            _note(found, turns, talk, took)
    step(f"the parts of {turns:,} turns")
    found.parts += _parts(url, who[0].user, who[1].user, turns)
    return next((side.name for side in sides if isinstance(side, Peer)), "")


async def _sides(url: str | Path, folder: Path, encrypt: bool) -> AsyncIterator[Side]:
    """Whose memory is measured: ours, with a copy of its own each the peer's and ours encrypted."""
    memory = SQLMemory(url, retention=None)
    ours = f"echat-sdk {version('echat-sdk')}"
    yield Ours(ours, memory)
    if encrypt and isinstance(url, Path):
        opened = _encrypted(url, folder / "fields.db")
        yield Ours(f"{ours}, encrypted", opened)
    try:
        if isinstance(url, Path):
            from echat_memory.bench import peer_sqlite

            yield await peer_sqlite.open_peer(url, folder, memory._key)
        else:
            from echat_memory.bench import peer_postgres

            yield await peer_postgres.open_peer(url, memory._key)
    except ImportError:
        return


def _encrypted(store: Path, to: Path) -> SQLMemory:
    """A copy of a store, its fields encrypted."""
    for left in to.parent.glob(f"{to.name}*"):
        left.unlink()
    copy(store, to)
    shutil.copyfile(f"{store}.key", f"{to}.key")
    return SQLMemory(to, retention=None, encryption=Encryption("fields"))


def _talks(who: Sequence[Person], sessions: Sequence[int]) -> list[_Talk]:
    """Who talks at once: whoever has most turns alone, somebody usual alone, and so many."""
    talks = []
    for many in sorted(sessions):
        if many == 1:
            usual = who[len(who) // 2]
            talks += [_Talk((one.user,), one.turns, _ALONE) for one in (who[0], usual)]
        elif many <= len(who):
            users = tuple(person.user for person in who[:many])
            talks.append(_Talk(users, 0, _AT_ONCE if many < _MANY else _MANY))
    return talks


async def _rounds(
    sides: Sequence[Side], talk: _Talk, rounds: int
) -> dict[Side, list[dict[str, list[Took]]]]:
    """What each side took, round by round, the sides in turn.

    Everybody has been heard once before: sessions have begun. The first round is not counted.
    """
    for side in sides:
        for user in talk.users:
            await side.prefetch(user)
    parts = talk.turns if len(talk.users) == 1 else 1
    took: dict[Side, list[dict[str, list[Took]]]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        found: dict[Side, dict[str, list[Took]]] = {
            side: {step: [] for step in talking.STEPS} for side in sides
        }
        # One alone changes sides after each turn: what else the machine does changes as fast.
        for part in range(parts):
            for side in sides if (number + part) % 2 else sides[::-1]:
                some = await talking.talk(
                    side, talk.users, turns=talk.turns // parts, seed=1000 * number + part
                )
                for name, each in some.items():
                    found[side][name] += each
        if number:
            for side in sides:
                took[side].append(found[side])
    return took


def _note(
    found: _Found,
    turns: int,
    talk: _Talk,
    took: dict[Side, list[dict[str, list[Took]]]],
) -> None:
    peer = next((side for side in took if isinstance(side, Peer)), None)
    at = (turns, len(talk.users), talk.of_user)
    for what in talking.STEPS:
        rows = {}
        for side, by_round in took.items():
            each = [one for part in by_round for one in part[what]]
            cpu = statistics.median(cpu for _, cpu in each) if talk.of_user else None
            late = _percentiles([waited for waited, _ in each])
            rows[side] = Row(*at, what, side.name, *late, cpu, len(each))
        if peer is not None and what == "prefetch":
            del rows[peer]
        found.rows += rows.values()
        for side, row in rows.items():
            if peer is None or peer not in rows or side is peer:
                continue
            theirs = rows[peer]
            medians = tuple(
                _middle(their[what]) / _middle(our[what])
                for their, our in zip(took[peer], took[side], strict=True)
            )
            cpu = theirs.cpu / row.cpu if theirs.cpu and row.cpu else None
            found.ratios.append(Ratio(*at, what, side.name, medians, theirs.p95 / row.p95, cpu))


def _middle(took: Sequence[Took]) -> Milliseconds:
    return statistics.median(waited for waited, _ in took)


def _parts(url: str | Path, user: str, other_user: str, turns: int) -> list[Part]:
    """What ours consists of, called alone; the last ones after each write of another process."""
    draw = random.Random(2)
    parts = []
    with (
        closing(SQLMemory(url, retention=None)) as memory,
        closing(SQLMemory(url, retention=None)) as other,
    ):

        def elsewhere() -> None:
            other.keep_pauses(other_user, PauseProfile(mean=draw.random(), count=1))

        def recall() -> object:
            return memory.recall(user, query=people.question(draw))

        def part(name: str, call: Callable[[], object], before: Callable[[], object]) -> None:
            took = []
            for _ in range(_MICRO):
                before()
                took.append(_time(call))
            parts.append(Part(turns, name, *_percentiles(took)))

        first = _time(lambda: memory.prefetch(user))
        parts.append(Part(turns, f"first prefetch, of {turns // 10:,} turns", first, first))
        part("consents", lambda: memory.allowed(user), lambda: None)
        part("recall", recall, lambda: None)
        part("consents, once another process has written", lambda: memory.allowed(user), elsewhere)
        part("recall, once another process has written", recall, elsewhere)
    return parts


def _search(found: _Found, turns: Sequence[int], step: Callable[[str], None]) -> float:
    """Time the search alone, with all turns of a store one user's; bytes that a turn takes."""
    draw = random.Random(3)
    for size in sorted(turns):
        step(f"searching {size:,} turns of one user")
        index = _index(size, draw)
        took = [_time(partial(index.find, people.question(draw), 5)) for _ in range(_MICRO)]
        found.parts.append(Part(size, "search, these turns all one user's", *_percentiles(took)))
    step("weighing the search")
    weighed = min(_WEIGHED, *turns)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    index = _index(weighed, draw)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / weighed


def _index(turns: int, draw: random.Random) -> Index:
    index = Index()
    for turn_id in range(1, turns + 1):
        words = people.turn(draw).transcript
        index.add(turn_id, words, words)
    return index


def _time(call: Callable[[], object]) -> Milliseconds:
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


def _percentiles(took: Sequence[Milliseconds]) -> tuple[Milliseconds, Milliseconds]:
    """The 50th and the 95th."""
    ordered = sorted(took)
    return statistics.median(ordered), ordered[len(ordered) * 95 // 100]
