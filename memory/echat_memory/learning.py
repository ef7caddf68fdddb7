"""Keeping facts: a newer one takes the place of an older one, a denial takes one back.

A second name takes nobody's place (`conflicts.py`): both are kept until one is told again.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from echat_memory import conflicts
from echat_memory.extraction import extract
from echat_memory.facts import Fact, FactKind, is_passing
from echat_memory.schema import FactRow
from echat_sdk.turn import Turn

_HELD = (
    select(FactRow.id, FactRow.value)
    .where(
        FactRow.user_id == bindparam("user"),
        FactRow.valid_to.is_(None),
        FactRow.kind == bindparam("kind"),
        FactRow.subject == bindparam("subject"),
    )
    .order_by(FactRow.id)
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
    held = connection.execute(
        _HELD, {"user": user_id, "kind": fact.kind.value, "subject": fact.subject}
    ).all()
    same = [row.id for row in held if row.value.casefold() == fact.value.casefold()]
    if fact.denied:
        _close(connection, same, now=now, by=None)
        return
    if same and not is_passing(fact.kind):
        _close(connection, [row.id for row in held if row.id not in same], now=now, by=same[0])
        return
    columns = {
        "user_id": user_id,
        "turn_id": turn_id,
        "kind": fact.kind.value,
        "subject": fact.subject,
        "value": fact.value,
        "valid_from": now,
    }
    new_id = connection.execute(_INSERT, columns).scalar_one()
    if fact.kind is FactKind.LOSS:  # who died is ill no more
        given = {"user": user_id, "kind": FactKind.STATE.value, "subject": fact.subject}
        held = [*held, *connection.execute(_HELD, given).all()]
    over = [row.id for row in held]
    if fact.kind in conflicts.KEPT and not _is_lost(connection, user_id, fact.subject):
        over = over[: len(over) - conflicts.MOST + 1]
    _close(connection, over, now=now, by=new_id)


def _is_lost(connection: Connection, user_id: int, subject: str) -> bool:
    given = {"user": user_id, "kind": FactKind.LOSS.value, "subject": subject}
    return connection.execute(_HELD, given).first() is not None


def _close(connection: Connection, ids: list[int], *, now: datetime, by: int | None) -> None:
    if ids:
        connection.execute(
            update(FactRow).where(FactRow.id.in_(ids)).values(valid_to=now, superseded_by=by)
        )
