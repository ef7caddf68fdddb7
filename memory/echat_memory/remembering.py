"""Writing a turn: its session, its row, its cues, and the facts told in it."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from echat_memory import rows, sealing
from echat_memory.learning import learn, unlearn
from echat_memory.schema import Base, CueRow, EmotionRow, SafetyRow, SessionRow, TurnRow, UserRow
from echat_sdk.consent import permitted
from echat_sdk.errors import StoreError
from echat_sdk.turn import Turn

if TYPE_CHECKING:
    from sqlalchemy.sql.dml import ReturningInsert

SESSION_GAP = timedelta(minutes=30)
"""A longer silence than this begins a new session."""

_TURN_ID = re.compile("[1-9][0-9]{0,8}")  # what fits every database's integers

# The first statement of all that is written for somebody: with the row in `users` it holds a lock,
# so that where several may write at once (PostgreSQL) one user's writes still come one by one.
_SEEN = (
    update(UserRow)
    .where(UserRow.pseudonym == bindparam("who"))
    .values(last_seen_at=bindparam("now"))
    .returning(UserRow.id)
)
_CONTINUE = (
    update(SessionRow)
    .where(SessionRow.id == bindparam("session"))
    .values(ended_at=bindparam("now"))
)
_FIND_TURN = select(TurnRow.session_id, TurnRow.transcript).where(
    TurnRow.id == bindparam("turn"), TurnRow.user_id == bindparam("user")
)
_REPLACE = update(TurnRow).where(TurnRow.id == bindparam("turn"))
_FORGET_SEEN = (
    delete(EmotionRow).where(
        EmotionRow.turn_id == bindparam("turn"), EmotionRow.source == rows.MODEL
    ),
    delete(CueRow).where(CueRow.turn_id == bindparam("turn")),
    delete(SafetyRow).where(SafetyRow.turn_id == bindparam("turn")),
)
_LAST_TURN = (
    select(TurnRow.session_id, TurnRow.seq, TurnRow.created_at)
    .where(TurnRow.user_id == bindparam("user"))
    .order_by(TurnRow.id.desc())
    .limit(1)
)

_INSERTS: dict[type[Base], ReturningInsert[int]] = {
    table: insert(table).returning(table.id)
    for table in (UserRow, SessionRow, TurnRow, EmotionRow, CueRow, SafetyRow)
}


def remember(
    connection: Connection,
    who: str,
    turn: Turn,
    *,
    turn_id: str | None,
    now: datetime,
    allowed: Collection[str],
) -> int | None:
    """Write what may be kept of a turn, new or in the place of `turn_id`.

    Args:
        connection: An open transaction; what is written is kept when it ends well.
        who: The user's pseudonym.
        turn: The turn.
        turn_id: The turn of this user that it replaces.
        now: The present moment.
        allowed: The purposes that the user may be used for.

    Returns:
        The id of its row; None where nothing may be kept, so that nothing was written.

    Raises:
        StoreError: the user has no turn `turn_id`.
    """
    kept = permitted(turn, allowed)
    if kept is None:
        return None
    turn = kept
    user_id = connection.execute(_SEEN, {"who": who, "now": now}).scalar_one_or_none()
    if turn_id is not None:
        return _replace(connection, user_id, turn_id, turn, now)
    if user_id is None:
        user_id = _insert(connection, UserRow, pseudonym=who, created_at=now, last_seen_at=now)
    return _add(connection, user_id, turn, now)


def row_of(turn_id: str) -> int:
    """The row's id that a turn's id names; 0, which no turn has, where it is none."""
    return int(turn_id) if _TURN_ID.fullmatch(turn_id) else 0


def _add(connection: Connection, user_id: int, turn: Turn, now: datetime) -> int:
    """Write a new turn; returns its id."""
    session_id, seq = _place(connection, user_id, now)
    turn_id = _insert(
        connection,
        TurnRow,
        session_id=session_id,
        user_id=user_id,
        seq=seq,
        created_at=now,
        **rows.turn_columns(turn),
    )
    _insert_seen(connection, turn, user_id=user_id, turn_id=turn_id, now=now)
    learn(connection, turn, user_id=user_id, turn_id=turn_id, now=now)
    return turn_id


def _replace(
    connection: Connection, user_id: int | None, turn_id: str, turn: Turn, now: datetime
) -> int:
    """Write a turn in the place of one that is there; returns its id."""
    row = row_of(turn_id)
    old = connection.execute(_FIND_TURN, {"user": user_id, "turn": row}).one_or_none()
    if user_id is None or old is None:
        raise StoreError("this user has no turn with this id, so none was replaced")
    was = sealing.words(connection, TurnRow, row, user_id, old._mapping)
    columns = sealing.seal(connection, TurnRow, row, user_id, rows.turn_columns(turn))
    connection.execute(_REPLACE, {"turn": row, **columns})
    connection.execute(_CONTINUE, {"session": old.session_id, "now": now})
    for forget in _FORGET_SEEN:
        connection.execute(forget, {"turn": row})
    _insert_seen(connection, turn, user_id=user_id, turn_id=row, now=now)
    if was["transcript"] != rows.storable(turn.transcript):
        unlearn(connection, row)
        learn(connection, turn, user_id=user_id, turn_id=row, now=now)
    return row


def _place(connection: Connection, user_id: int, now: datetime) -> tuple[int, int]:
    """The session that a new turn belongs to, and its number there."""
    last = connection.execute(_LAST_TURN, {"user": user_id}).one_or_none()
    # A clock that was set back makes a gap like any other, so the distance counts.
    if last is not None and abs(now - last.created_at) <= SESSION_GAP:
        connection.execute(_CONTINUE, {"session": last.session_id, "now": now})
        return last.session_id, last.seq + 1
    session_id = _insert(connection, SessionRow, user_id=user_id, started_at=now, ended_at=now)
    return session_id, 1


def _insert_seen(
    connection: Connection, turn: Turn, *, user_id: int, turn_id: int, now: datetime
) -> None:
    """Write what was seen in a turn beside its words: its cues, and a danger."""
    for table, columns in rows.cue_columns(turn.cues):
        _insert(connection, table, turn_id=turn_id, user_id=user_id, **columns)
    if turn.safety is not None:
        event = rows.safety_columns(turn.safety)
        _insert(connection, SafetyRow, turn_id=turn_id, user_id=user_id, at=now, **event)


def _insert(connection: Connection, table: type[Base], **columns: object) -> int:
    """Write one row and return its id."""
    return sealing.insert(connection, _INSERTS[table], table, columns)
