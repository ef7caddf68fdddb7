"""A nursery: forks children that use a store until they are killed. Its own process is light.

It reads one JSON object a line, `Life`, and answers with what the child was promised, a line each,
and `died STATUS`. Started once, it costs a kill a fork, and no import.
"""

from __future__ import annotations

import functools
import gc
import itertools
import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from echat_memory import SQLMemory, sqlite
from echat_sdk.consent import REMEMBERED, ConsentState, Purpose
from echat_sdk.cues import Cue, Cues
from echat_sdk.turn import Turn, TurnStatus

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=100)
"""All that was said then is due for a sweep."""

PLANTED = 3
"""Turns of somebody who is erased, refuses, or is swept."""

SAD = Cue("sad", 0.8, {"sad": 0.8, "neutral": 0.2})
WHOLE = Turn("", cues=Cues(SAD, Cue("male", 0.5)), think="hm", reply="I see.", seconds=2.0)


@dataclass(frozen=True, slots=True)
class Life:
    """What a child does, and when it dies.

    Attributes:
        work: A name in `WORKS`.
        store: The file.
        name: Tells what it writes from what others wrote.
        at: It kills itself at the so-manieth step of its work; 0 for never. A step is a statement,
            before it is run, or a promise, before it is told.
        after: It is killed so many seconds after it began to work; 0 for never.
        checkpoint: The write-ahead log is copied whenever it has so many pages.
    """

    work: str
    store: str
    name: str
    at: int = 0
    after: float = 0.0
    checkpoint: int = 1000


def said(name: str, number: int) -> str:
    """What somebody says in a turn, and in no other."""
    return f"{name} {number}. My dog is called Rex. I live in Leeds."


def tell(stage: str, name: str, *what: object) -> None:
    """Say at once what was promised."""
    if name == "warm":
        return
    what = (stage, name, *what)
    os.write(1, f"{' '.join(map(str, what))}\n".encode())


def _talk(memory: SQLMemory, user: str, name: str, number: int, step: Callable[[], None]) -> None:
    """A turn in two calls, as a conversation has it."""
    turn = Turn(said(name, number), status=TurnStatus.OPEN, seconds=2.0)
    turn_id = memory.remember(user, turn)
    step()
    tell("open", name, number, turn_id)
    memory.remember(user, replace(WHOLE, transcript=turn.transcript), turn_id=turn_id)
    step()
    tell("whole", name, number, turn_id)


def _turns(
    memory: SQLMemory, name: str, step: Callable[[], None], begin: Callable[[], None]
) -> None:
    begin()
    for number in itertools.count(1):
        _talk(memory, "ada", name, number, step)


def _ends(
    memory: SQLMemory,
    name: str,
    step: Callable[[], None],
    begin: Callable[[], None],
    *,
    end: Callable[[SQLMemory, str], object],
) -> None:
    """Turns of somebody new, a turn of ada's, and the end of the first."""
    for number in range(1, PLANTED + 1):
        memory.remember(name, replace(WHOLE, transcript=said(name, number)))
    tell("planted", name)
    memory._clock = lambda: NOW
    _talk(memory, "ada", f"beside{name}", 1, lambda: None)
    begin()
    end(memory, name)
    step()
    tell("ended", name)


def _refuse(memory: SQLMemory, user: str) -> object:
    return memory.consent(user, Purpose.LONG_TERM_MEMORY, ConsentState.DENIED)


def _nothing(
    memory: SQLMemory, name: str, step: Callable[[], None], begin: Callable[[], None]
) -> None:
    step()
    tell("opened", name)


WORKS: dict[str, Callable[..., None]] = {
    "turns": _turns,
    "erase": functools.partial(_ends, end=SQLMemory.erase),
    "consent": functools.partial(_ends, end=_refuse),
    "sweep": functools.partial(_ends, end=lambda memory, _: memory.sweep()),
    "migrate": _nothing,
}


def live(life: Life, begun: Callable[[], object]) -> None:
    """What a child does; it ends here unless it is killed."""
    steps = itertools.count(1)
    is_working = life.work == "migrate"

    def step(_: str = "") -> None:
        if is_working and next(steps) == life.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def begin() -> None:
        nonlocal is_working
        is_working = True
        begun()

    connect = sqlite3.connect

    def traced(*arguments: Any, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **named)
        connection.execute(f"PRAGMA wal_autocheckpoint = {life.checkpoint}")
        connection.set_trace_callback(step)
        return connection

    sqlite3.connect = sqlite3.dbapi2.connect = traced  # type: ignore[assignment,attr-defined]
    past = LONG_AGO if life.work == "sweep" else NOW
    memory = SQLMemory(
        Path(life.store), unasked=REMEMBERED, clock=lambda: past, retention=None, busy_timeout=10
    )
    WORKS[life.work](memory, life.name, step, begin)


def warm(store: Path) -> None:
    """Import and compile what every child would for itself, before its first turn."""
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        for end in (SQLMemory.erase, _refuse):
            _talk(memory, "warm", "warm", 1, lambda: None)
            end(memory, "warm")
        memory.erase("warm")


def main() -> None:
    """Fork a child for each line."""
    engines: dict[str, Any] = {}  # with the statements that they have compiled
    create = sqlite.create_engine

    def create_engine(url: Any, **given: Any) -> Any:
        if url not in engines:
            engines[url] = create(url, **given)
        return engines[url]

    sqlite.create_engine = create_engine  # type: ignore[assignment]
    warm(Path(sys.argv[1]))
    gc.freeze()  # what is shared with the children stays so
    for line in sys.stdin:
        life = Life(**json.loads(line))
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                live(life, functools.partial(os.close, writer))
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        os.close(writer)
        if life.after:
            os.read(reader, 1)  # until it has begun
            time.sleep(life.after)
            os.kill(child, signal.SIGKILL)
        os.close(reader)
        tell("died", str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))


if __name__ == "__main__":
    main()
