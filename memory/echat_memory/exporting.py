"""A person's rows as a document, a page at a time, so that it takes no room however many there are.

`COLUMNS` is what is exported of each table, `LEFT_OUT` what is not, and why. A test plants a value
in every column and looks for it in the document, so that neither list can be wrong.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection, Row, bindparam, select

from echat_memory import plans, sealing
from echat_memory.document import FORMAT, VERSION
from echat_memory.rows import storable
from echat_memory.schema import (
    Base,
    ConsentRow,
    CueRow,
    EmotionRow,
    FactRow,
    KeyRow,
    PauseRow,
    PlanRow,
    SafetyRow,
    SessionRow,
    TurnRow,
    UserRow,
)
from echat_sdk.errors import UnknownUserError

Entry = dict[str, Any]
"""An entry of the document, as a model of `document` has it."""

PAGE = 500
"""Rows that are read in one go."""

COLUMNS: Mapping[type[Base], Mapping[str, str]] = {
    UserRow: {"created_at": "user.created_at", "last_seen_at": "user.last_seen_at"},
    SessionRow: {name: f"sessions.{name}" for name in ("id", "started_at", "ended_at")},
    TurnRow: {
        "id": "turns.id",
        "session_id": "turns.session",
        **{
            name: f"turns.{name}"
            for name in (
                "seq",
                "status",
                "transcript",
                "lang",
                "think",
                "reply",
                "reply_emotion",
                "model",
                "timings",
                "seconds",
                "created_at",
            )
        },
    },
    EmotionRow: {
        "turn_id": "turns.id",
        **{
            name: f"turns.emotions.{name}"
            for name in (
                "source",
                "label",
                "confidence",
                "distribution",
                "valence",
                "arousal",
                "abstained",
            )
        },
    },
    CueRow: {
        "turn_id": "turns.id",
        **{
            name: f"turns.cues.{name}"
            for name in ("kind", "label", "confidence", "distribution", "abstained")
        },
    },
    PlanRow: {
        "turn_id": "turns.id",
        "strategy": "turns.plan.strategy",
        "remembered": "turns.plan.remembered",
    },
    FactRow: {
        "id": "facts.id",
        "turn_id": "facts.turn",
        **{
            name: f"facts.{name}"
            for name in (
                "kind",
                "subject",
                "value",
                "valid_from",
                "valid_to",
                "superseded_by",
                "trust",
                "extractor",
            )
        },
    },
    PauseRow: {"mean": "pauses.mean", "count": "pauses.count"},
    ConsentRow: {
        name: f"consents.{name}"
        for name in ("purpose", "state", "version", "channel", "at", "expires_at")
    },
    SafetyRow: {
        "turn_id": "safety_events.turn",
        **{
            name: f"safety_events.{name}"
            for name in ("category", "severity", "detector", "action", "at")
        },
    },
}
"""Where in the document each column of a person's rows is."""

_ONE_USER = "all rows of a document are one person's"
_ORDER = "the order of the entries tells as much"
_SECRET = "a secret of the store, which tells nothing of the person"
LEFT_OUT: Mapping[type[Base], Mapping[str, str]] = {
    UserRow: {"id": _ONE_USER, "pseudonym": _SECRET},
    SessionRow: {"user_id": _ONE_USER},
    TurnRow: {"user_id": _ONE_USER},
    EmotionRow: {"user_id": _ONE_USER, "id": _ORDER},
    CueRow: {"user_id": _ONE_USER, "id": _ORDER},
    PlanRow: {"user_id": _ONE_USER},
    FactRow: {"user_id": _ONE_USER},
    PauseRow: {"user_id": _ONE_USER},
    ConsentRow: {"user_id": _ONE_USER, "id": _ORDER},
    SafetyRow: {"user_id": _ONE_USER, "id": _ORDER},
    KeyRow: dict.fromkeys(("id", "user_id", "wrapped", "created_at", "is_current"), _SECRET),
}
"""What no document has, and why."""

_USER = select(UserRow).where(UserRow.pseudonym == bindparam("who"))
_PAUSES = select(PauseRow.mean, PauseRow.count).where(PauseRow.user_id == bindparam("user"))


def export(connection: Connection, who: str, user: str, now: datetime) -> Iterator[str]:
    """The document of a person, in pieces.

    Args:
        connection: An open transaction, until the last piece was taken.
        who: Their pseudonym.
        user: The host's own id of them.
        now: The present moment.

    Raises:
        StoreError: words cannot be read, since they or their key were changed.
        UnknownUserError: nothing is kept of them.
    """
    row = find(connection, who)
    person = {"id": storable(user), "created_at": row.created_at, "last_seen_at": row.last_seen_at}
    pauses = connection.execute(_PAUSES, {"user": row.id}).one_or_none()
    yield f'{{"format": "{FORMAT}", "version": {VERSION},\n'
    yield f'"exported_at": {json.dumps(now.isoformat())},\n'
    yield f'"user": {_json(person)},\n'
    ids: _Ids = {
        table: Numbers(connection, table, row.id) for table in (SessionRow, TurnRow, FactRow)
    }
    yield from _section("sessions", _sessions(connection, ids))
    yield from _section("turns", _turns(connection, ids, row.id))
    yield from _section("facts", _facts(connection, ids, row.id))
    yield f'"pauses": {json.dumps(pauses and dict(pauses._mapping))},\n'
    yield from _section("consents", _consents(connection, row.id))
    yield from _section("safety_events", _safety(connection, ids, row.id), end="\n]}\n")


def find(connection: Connection, who: str) -> Row[Any]:
    """The row in `users` of a person.

    Raises:
        UnknownUserError: there is none.
    """
    row = connection.execute(_USER, {"who": who}).one_or_none()
    if row is None:
        raise UnknownUserError("no user with this id is known here")
    return row


class Numbers:
    """The rows of a person in one table, numbered from 1 in order; eight bytes each.

    Args:
        connection: An open transaction.
        table: The table.
        user_id: The person.
    """

    def __init__(self, connection: Connection, table: type[Base], user_id: int) -> None:
        columns = table.__table__.c
        found = select(columns.id).where(columns.user_id == user_id).order_by(columns.id)
        self._ids = array("q", connection.execute(found).scalars())

    def pages(self) -> Iterator[Sequence[int]]:
        """The ids of the rows, some at a time."""
        for start in range(0, len(self._ids), PAGE):
            yield self._ids[start : start + PAGE].tolist()

    def of(self, row_id: int | None) -> int | None:
        """The number of a row; None where there is no such row."""
        place = len(self._ids) if row_id is None else bisect_left(self._ids, row_id)
        return place + 1 if place < len(self._ids) and self._ids[place] == row_id else None


_Ids = Mapping[type[Base], Numbers]


def _section(name: str, entries: Iterator[Entry], *, end: str = "\n],\n") -> Iterator[str]:
    """A list of entries, one a line."""
    yield f'"{name}": ['
    before = "\n"
    for entry in entries:
        yield before + _json(entry)
        before = ",\n"
    yield end


def _json(entry: Entry) -> str:
    # Past the models of `document`, which a test holds this to: whatever a row holds is exported,
    # in our vocabularies or not, and in half the time.
    return to_json(entry).decode()


def _sessions(connection: Connection, ids: _Ids) -> Iterator[Entry]:
    for page in ids[SessionRow].pages():
        for row in read(connection, SessionRow, "id", page):
            yield {"id": ids[SessionRow].of(row.id), **_columns(row, SessionRow, "sessions")}


def _turns(connection: Connection, ids: _Ids, user_id: int) -> Iterator[Entry]:
    for page in ids[TurnRow].pages():
        emotions, cues = (_by_turn(connection, table, page) for table in (EmotionRow, CueRow))
        chosen = {row.turn_id: row for row in read(connection, PlanRow, "turn_id", page)}
        for row in read(connection, TurnRow, "id", page):
            plan = chosen.get(row.id)
            yield {
                "id": ids[TurnRow].of(row.id),
                "session": ids[SessionRow].of(row.session_id),
                **_columns(row, TurnRow, "turns"),
                **sealing.words(connection, TurnRow, row.id, user_id, row._mapping),
                "emotions": [
                    _columns(each, EmotionRow, "turns.emotions") for each in emotions[row.id]
                ],
                "cues": [_columns(each, CueRow, "turns.cues") for each in cues[row.id]],
                "plan": None if plan is None else _plan(connection, ids, plan, user_id),
            }


def _plan(connection: Connection, ids: _Ids, row: Row[Any], user_id: int) -> Entry:
    words = sealing.words(connection, PlanRow, row.turn_id, user_id, row._mapping)
    remembered = None
    if words["remembered"]:
        given = plans.read(words["remembered"])
        remembered = {
            # What was erased since has no number.
            "facts": list(filter(None, map(ids[FactRow].of, given.facts))),
            "episodes": list(filter(None, map(ids[TurnRow].of, given.episodes))),
            "turns": given.turns,
            "mood": given.mood,
            "helped": given.helped,
        }
    return {"strategy": row.strategy, "remembered": remembered}


def _facts(connection: Connection, ids: _Ids, user_id: int) -> Iterator[Entry]:
    for page in ids[FactRow].pages():
        for row in read(connection, FactRow, "id", page):
            yield {
                "id": ids[FactRow].of(row.id),
                "turn": ids[TurnRow].of(row.turn_id),
                **_columns(row, FactRow, "facts"),
                **sealing.words(connection, FactRow, row.id, user_id, row._mapping),
                "superseded_by": ids[FactRow].of(row.superseded_by),
            }


def _consents(connection: Connection, user_id: int) -> Iterator[Entry]:
    for page in Numbers(connection, ConsentRow, user_id).pages():
        for row in read(connection, ConsentRow, "id", page):
            yield _columns(row, ConsentRow, "consents")


def _safety(connection: Connection, ids: _Ids, user_id: int) -> Iterator[Entry]:
    for page in Numbers(connection, SafetyRow, user_id).pages():
        for row in read(connection, SafetyRow, "id", page):
            yield {
                "turn": ids[TurnRow].of(row.turn_id),
                **_columns(row, SafetyRow, "safety_events"),
            }


def read(
    connection: Connection, table: type[Base], column: str, page: Sequence[int]
) -> Sequence[Row[Any]]:
    """The rows whose `column` is in a page, in order."""
    columns = table.__table__.c
    where = columns[column].in_(bindparam("page", expanding=True))
    # A person's one turn may have several rows: those in the order in which they were written.
    order = [columns[column]] + ([columns.id] if "id" in columns else [])
    return connection.execute(select(table).where(where).order_by(*order), {"page": page}).all()


def _by_turn(
    connection: Connection, table: type[Base], page: Sequence[int]
) -> defaultdict[int, list[Row[Any]]]:
    found: defaultdict[int, list[Row[Any]]] = defaultdict(list)
    for row in read(connection, table, "turn_id", page):
        found[row.turn_id].append(row)
    return found


def _columns(row: Row[Any], table: type[Base], section: str) -> Entry:
    """The columns that have the same name in the document, in this section of it."""
    names, values = _same(table, section)
    return dict(zip(names, values(row), strict=True))


@cache
def _same(table: type[Base], section: str) -> tuple[list[str], Callable[[Row[Any]], Any]]:
    """The names of those columns, and what takes their values out of a row of the table."""
    at = {name: place for place, name in enumerate(table.__table__.c.keys())}
    names = [
        column
        for column, path in COLUMNS[table].items()
        if path == f"{section}.{column}" and column != "id"
    ]
    return names, itemgetter(*(at[name] for name in names))
