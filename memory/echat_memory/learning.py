"""Keeping facts: a newer one takes the place of an older one, a denial takes one back.

A second name takes nobody's place (`conflicts.py`): both are kept until one is told again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from echat_memory import conflicts, sealing
from echat_memory.extraction import extract
from echat_memory.facts import Fact, FactKind, is_passing
from echat_memory.schema import FactRow
from echat_sdk.turn import Turn

_HELD = (
    select(FactRow.id, FactRow.subject, FactRow.value)
    .where(
        FactRow.user_id == bindparam("user"),
        FactRow.valid_to.is_(None),
        FactRow.kind == bindparam("kind"),
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


@dataclass(frozen=True, slots=True)
class Change:
    """What telling a fact does to those that hold.

    Attributes:
        is_new: Whether it is kept as one of its own, which then takes the place of `closed`.
        closed: Ids of facts that hold no more.
        by: The id of what holds already, told again; None where it is new or a denial.
    """

    is_new: bool
    closed: tuple[int, ...]
    by: int | None = None


def change(fact: Fact, held: Callable[[FactKind], Mapping[int, str]]) -> Change:
    """What telling a fact does. Pure; whoever erases a turn asks it again of all that is left.

    Args:
        fact: What is told.
        held: Gives the values that hold of the fact's subject, of one kind, by their ids, oldest
            first.
    """
    holding = held(fact.kind)
    same = [row for row, value in holding.items() if value.casefold() == fact.value.casefold()]
    if fact.denied:
        return Change(is_new=False, closed=tuple(same))
    if same and not is_passing(fact.kind):
        others = tuple(row for row in holding if row not in same)
        return Change(is_new=False, closed=others, by=same[0])
    over = list(holding)
    if fact.kind is FactKind.LOSS:  # who died is ill no more
        over += held(FactKind.STATE)
    if fact.kind in conflicts.KEPT and not held(FactKind.LOSS):
        over = over[: len(over) - conflicts.MOST + 1]
    return Change(is_new=True, closed=tuple(over))


def _learn(
    connection: Connection, fact: Fact, *, user_id: int, turn_id: int, now: datetime
) -> None:
    told = change(fact, lambda kind: _held(connection, user_id, kind, fact.subject))
    by = told.by
    if told.is_new:
        columns = {
            "user_id": user_id,
            "turn_id": turn_id,
            "kind": fact.kind.value,
            "subject": fact.subject,
            "value": fact.value,
            "valid_from": now,
        }
        by = sealing.insert(connection, _INSERT, FactRow, columns)
    _close(connection, list(told.closed), now=now, by=by)


def _held(connection: Connection, user_id: int, kind: FactKind, subject: str) -> dict[int, str]:
    """The values that hold of a subject, by their ids, oldest first."""
    of_kind = [  # compared here, for in an encrypted store SQL cannot
        (row.id, sealing.words(connection, FactRow, row.id, user_id, row._mapping))
        for row in connection.execute(_HELD, {"user": user_id, "kind": kind.value})
    ]
    return {row_id: words["value"] for row_id, words in of_kind if words["subject"] == subject}


def _close(connection: Connection, ids: list[int], *, now: datetime, by: int | None) -> None:
    if ids:
        connection.execute(
            update(FactRow).where(FactRow.id.in_(ids)).values(valid_to=now, superseded_by=by)
        )
