"""Erasing a part: what is left is what would be, had the rest never been."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select

from echat_memory import Encryption, Scope, SQLMemory
from echat_memory.erasing import erase
from echat_memory.schema import FactRow, PlanRow, SafetyRow, SessionRow, TurnRow, UserRow
from echat_sdk.consent import REMEMBERED, ConsentState, Purpose
from echat_sdk.cues import Cue, Cues
from echat_sdk.errors import ConfigError, ConsentError
from echat_sdk.pause_profile import PauseProfile
from echat_sdk.turn import Turn

Contents = Callable[[], list[bytes]]

SAID = (
    "I live in Leeds.",
    "I live in York.",
    "I don't live in Leeds any more.",
    "I don't live in York any more.",
    "My dog is called Rex.",
    "My dog is called Max. I live in Bath.",
    "My dog is called Bo.",
    "My dog died.",
    "My dog is ill.",
    "I have an exam on Friday.",
    "I love jazz. I live in Leeds.",
    "I hate jazz.",
    "I don't want to talk about work.",
    "We can talk about work again.",
    "Nothing much happened.",
)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def _fresh(folder: Path, empty: Path) -> Path:
    path = Path(tempfile.mkdtemp(dir=folder)) / "echat.db"
    for suffix in ("", ".key"):
        source = empty.with_name(empty.name + suffix)
        path.with_name(path.name + suffix).write_bytes(source.read_bytes())
    return path


def _opened(folder: Path, empty: Path, clock: Clock) -> SQLMemory:
    """A new store that waits for no disk."""
    memory = SQLMemory(_fresh(folder, empty), clock=clock, unasked=REMEMBERED)
    memory._database.connection.exec_driver_sql("PRAGMA synchronous = OFF")
    memory._database.connection.commit()
    return memory


def _erase(memory: SQLMemory, scope: Scope) -> None:
    """The rows alone, without receipt and bytes."""
    with memory._open(write=True) as connection:
        erase(connection, memory.pseudonym("ada"), scope, through=1_000, now=memory._clock())


def _facts(memory: SQLMemory, renamed: dict[int, int]) -> list[tuple[object, ...]]:
    """All facts in order, with the place of what superseded each; turns by their place."""
    found = select(
        FactRow.id, FactRow.turn_id, FactRow.kind, FactRow.subject, FactRow.value,
        FactRow.valid_from, FactRow.valid_to, FactRow.superseded_by, FactRow.trust,
    ).order_by(FactRow.id)  # fmt: skip
    with memory._open(write=False) as connection:
        rows = connection.execute(found).all()
    place = {row.id: number for number, row in enumerate(rows)}
    return [
        (
            row.turn_id and renamed[row.turn_id], row.kind, row.subject, row.value, row.valid_from,
            row.valid_to, row.superseded_by and place[row.superseded_by], row.trust,
        )
        for row in rows
    ]  # fmt: skip


def _sittings(memory: SQLMemory) -> list[tuple[object, ...]]:
    """Turns in order, each with its number in its session and that one's bounds."""
    found = (
        select(TurnRow.transcript, TurnRow.seq, SessionRow.started_at, SessionRow.ended_at)
        .join(SessionRow, SessionRow.id == TurnRow.session_id)
        .order_by(TurnRow.id)
    )
    with memory._open(write=False) as connection:
        return [tuple(row) for row in connection.execute(found)]


def _users(memory: SQLMemory) -> list[tuple[object, ...]]:
    found = select(UserRow.created_at, UserRow.last_seen_at)
    with memory._open(write=False) as connection:
        return [tuple(row) for row in connection.execute(found)]


def _all(memory: SQLMemory, turns: list[int]) -> list[object]:
    renamed = {turn: number for number, turn in enumerate(turns)}
    mood = memory.mood("ada")
    return [_facts(memory, renamed), _sittings(memory), _users(memory), mood.sessions, mood.days]


_told = st.lists(
    st.tuples(st.sampled_from(SAID), st.sampled_from([1, 20, 29, 45])), min_size=1, max_size=12
)


def _tell(memory: SQLMemory, clock: Clock, told: list[tuple[str, int]], without: set[int]) -> Any:
    ids, begun = [], clock.now
    for number, (said, minutes) in enumerate(told):
        clock.now += timedelta(minutes=minutes)
        if number not in without:
            cues = Cues(Cue("sad" if number % 2 else "happy", 0.8))
            ids.append(int(memory.remember("ada", Turn(said, cues=cues, seconds=2))))
        else:
            ids.append(0)
    clock.now = begun + timedelta(days=1)
    return ids


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)
@given(told=_told, data=st.data())
def test_an_erased_turn_leaves_the_facts_and_sittings_that_would_be_had_it_never_been(
    tmp_path: Path, empty_store: Path, told: list[tuple[str, int]], data: st.DataObject
) -> None:
    gone = data.draw(st.sets(st.integers(0, len(told) - 1), min_size=1, max_size=3))
    one, other = Clock(), Clock()
    with (
        closing(_opened(tmp_path, empty_store, one)) as memory,
        closing(_opened(tmp_path, empty_store, other)) as never,
    ):
        ids = _tell(memory, one, told, set())
        for number in gone:
            _erase(memory, Scope(turn=str(ids[number])))
        left = [turn for number, turn in enumerate(ids) if number not in gone]
        others = [turn for turn in _tell(never, other, told, gone) if turn]
        assert _all(memory, left) == _all(never, others)
        # And what is told from now on falls on the same ground.
        for each, clock, turns in ((memory, one, left), (never, other, others)):
            for said in SAID[:8]:
                clock.now += timedelta(minutes=2)
                turns.append(int(each.remember("ada", Turn(said))))
        assert _all(memory, left) == _all(never, others)
        assert memory.recall("ada").facts == never.recall("ada").facts


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25
)
@given(told=_told, data=st.data())
def test_what_was_said_since_leaves_what_had_been_told_until_then(
    tmp_path: Path, empty_store: Path, told: list[tuple[str, int]], data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(told) - 1))
    one, other = Clock(), Clock()
    since = one.now + timedelta(minutes=sum(minutes for _, minutes in told[: first + 1]))
    with (
        closing(_opened(tmp_path, empty_store, one)) as memory,
        closing(_opened(tmp_path, empty_store, other)) as never,
    ):
        ids = _tell(memory, one, told, set())
        _erase(memory, Scope(since=since))
        others = _tell(never, other, told, set(range(first, len(told))))
        assert _all(memory, ids[:first]) == _all(never, others[:first])
