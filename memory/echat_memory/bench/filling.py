"""Fills a store with people's turns, as `remember` would have written them, but many at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, bindparam, insert, update

from echat_memory import SQLMemory, rows
from echat_memory.bench.people import Person, Placed, placed
from echat_memory.conflicts import KEPT, MOST
from echat_memory.extraction import extract
from echat_memory.facts import Fact, FactKind, is_passing
from echat_memory.pseudonym import pseudonym
from echat_memory.schema import (
    Base,
    ConsentRow,
    CueRow,
    EmotionRow,
    FactRow,
    PlanRow,
    SessionRow,
    TurnRow,
    UserRow,
)
from echat_sdk.consent import REMEMBERED

_BATCH = 2_000
_CLOSE = update(FactRow).where(FactRow.id == bindparam("fact")).values(valid_to=bindparam("now"))

T = TypeVar("T")
_Held = defaultdict[tuple[int, FactKind, str], list[dict[str, Any]]]


def fill(memory: SQLMemory, people: Sequence[Person], now: datetime) -> None:
    """Write all turns of these people, who are new to the store, which is plain.

    A fact that a newer one took the place of is closed, without saying which one that was.
    """
    first = now - timedelta(days=100)
    with memory._open(write=True) as connection:
        users = _new(
            connection,
            UserRow,
            [
                {
                    "pseudonym": pseudonym(memory._key, person.user),
                    "created_at": first,
                    "last_seen_at": now,
                }
                for person in people
            ],
        )
        _all(
            connection,
            ConsentRow,
            [
                {
                    "user_id": user,
                    "purpose": str(purpose),
                    "state": "granted",
                    "version": "1",
                    "channel": "bench",
                    "at": first,
                    "expires_at": None,
                }
                for user in users
                for purpose in sorted(REMEMBERED)
            ],
        )
        turns = list(placed(people, now))
        sessions = _sessions(connection, users, turns)
        facts: _Held = defaultdict(list)
        for batch in _batches(turns):
            _turns(connection, users, sessions, batch, facts)


def _sessions(connection: Connection, users: Sequence[int], turns: Sequence[Placed]) -> list[int]:
    spans: dict[int, dict[str, Any]] = {}
    for each in turns:
        new = {"user_id": users[each.person], "started_at": each.at, "ended_at": each.at}
        spans.setdefault(each.sitting, new)["ended_at"] = each.at
    return _new(connection, SessionRow, [spans[number] for number in range(len(spans))])


def _turns(
    connection: Connection,
    users: Sequence[int],
    sessions: Sequence[int],
    turns: Sequence[Placed],
    facts: _Held,
) -> None:
    ids = _new(
        connection,
        TurnRow,
        [
            {
                "session_id": sessions[each.sitting],
                "user_id": users[each.person],
                "seq": each.seq,
                "created_at": each.at,
                **rows.turn_columns(each.turn),
            }
            for each in turns
        ],
    )
    beside: dict[type[Base], list[dict[str, Any]]] = {EmotionRow: [], CueRow: [], PlanRow: []}
    told: list[dict[str, Any]] = []
    for each, turn_id in zip(turns, ids, strict=True):
        of = {"turn_id": turn_id, "user_id": users[each.person]}
        for table, columns in rows.cue_columns(each.turn.cues):
            beside[table].append({**of, **columns})
        beside[PlanRow].append({**of, "strategy": each.turn.strategy, "remembered": ""})
        for fact in extract(each.turn.transcript, each.turn.lang):
            told.append({**of, **_fact(fact, each.at)})
    for table, new in beside.items():
        _all(connection, table, new)
    _learn(connection, told, facts)


def _fact(fact: Fact, at: datetime) -> dict[str, Any]:
    return {
        "kind": fact.kind.value,
        "subject": fact.subject,
        "value": fact.value,
        "valid_from": at,
        "valid_to": None,
    }


def _learn(connection: Connection, told: Sequence[dict[str, Any]], held: _Held) -> None:
    """Keep facts as `learning` does."""
    fresh = []
    for fact in told:
        kind = FactKind(fact["kind"])
        there = held[fact["user_id"], kind, fact["subject"]]
        same = [one for one in there if one["value"] == fact["value"]]
        if same and not is_passing(kind):
            over = [one for one in there if one not in same]
        else:
            over = there[: len(there) - MOST + 1] if kind in KEPT else list(there)
            there.append(fact)
            fresh.append(fact)
        for one in over:
            there.remove(one)
            one["valid_to"] = fact["valid_from"]
            if "id" in one:
                connection.execute(_CLOSE, {"fact": one["id"], "now": one["valid_to"]})
    for fact, fact_id in zip(fresh, _new(connection, FactRow, fresh), strict=True):
        fact["id"] = fact_id


def _new(connection: Connection, table: type[Base], columns: Sequence[dict[str, Any]]) -> list[int]:
    """Insert rows; their ids, in the same order."""
    if not columns:
        return []
    statement = insert(table).returning(_table(table).c.id, sort_by_parameter_order=True)
    return list(connection.execute(statement, list(columns)).scalars())


def _all(connection: Connection, table: type[Base], columns: Sequence[dict[str, Any]]) -> None:
    if columns:
        connection.execute(insert(table), list(columns))


def _table(table: type[Base]) -> Table:
    found = table.__table__
    assert isinstance(found, Table)
    return found


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    left = iter(items)
    while batch := list(islice(left, _BATCH)):
        yield batch
