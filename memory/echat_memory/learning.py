"""Keeping facts: a newer one takes the place of an older one, a denial takes one back."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from echat_memory import sealing
from echat_memory.extraction import extract
from echat_memory.facts import Fact, is_passing
from echat_memory.schema import FactRow
from echat_sdk.turn import Turn

_HELD = select(FactRow.id, FactRow.subject, FactRow.value).where(
    FactRow.user_id == bindparam("user"),
    FactRow.valid_to.is_(None),
    FactRow.kind == bindparam("kind"),
)
_INSERT = insert(FactRow).returning(FactRow.id)


def learn(connection: Connection, turn: Turn, *, user_id: int, turn_id: int, now: datetime) -> None:
    """Keep what a user told in a turn."""
    for fact in extract(turn.transcript, turn.lang):
        _learn(connection, fact, user_id=user_id, turn_id=turn_id, now=now)


def unlearn(connection: Connection, turn_id: int) -> None:
    """Drop the facts that came from a turn; what they had replaced holds again."""
    mine = select(FactRow.id).where(FactRow.turn_id == turn_id)
    connection.execute(
        update(FactRow)
        .where(FactRow.superseded_by.in_(mine))
        .values(valid_to=None, superseded_by=None)
    )
    connection.execute(delete(FactRow).where(FactRow.turn_id == turn_id))


def _learn(
    connection: Connection, fact: Fact, *, user_id: int, turn_id: int, now: datetime
) -> None:
    of_kind = [  # compared here, for in an encrypted store SQL cannot
        (row.id, sealing.words(connection, FactRow, row.id, user_id, row._mapping))
        for row in connection.execute(_HELD, {"user": user_id, "kind": fact.kind.value})
    ]
    held = {row_id: words["value"] for row_id, words in of_kind if words["subject"] == fact.subject}
    same = [row_id for row_id, value in held.items() if value.casefold() == fact.value.casefold()]
    if fact.denied:
        _close(connection, same, now=now, by=None)
        return
    if same and not is_passing(fact.kind):
        return
    columns = {
        "user_id": user_id,
        "turn_id": turn_id,
        "kind": fact.kind.value,
        "subject": fact.subject,
        "value": fact.value,
        "valid_from": now,
    }
    new_id = sealing.insert(connection, _INSERT, FactRow, columns)
    _close(connection, list(held), now=now, by=new_id)


def _close(connection: Connection, ids: list[int], *, now: datetime, by: int | None) -> None:
    if ids:
        connection.execute(
            update(FactRow).where(FactRow.id.in_(ids)).values(valid_to=now, superseded_by=by)
        )
