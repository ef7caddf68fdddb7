"""What people ask of their own memory: what it knows, and to forget it. In a transaction."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, func, select, update

from echat_memory import recall
from echat_memory.forgetting import forget_turns
from echat_memory.remembering import SESSION_GAP
from echat_memory.schema import FactRow, PauseRow, SessionRow, TurnRow, UserRow
from echat_sdk.turn import Known, Lang

_USER = select(UserRow.id).where(UserRow.pseudonym == bindparam("who"))
_TURNS = select(func.count(TurnRow.id), func.min(TurnRow.created_at)).where(
    TurnRow.user_id == bindparam("user")
)
_OLDEST_FACT = select(func.min(FactRow.valid_from)).where(
    FactRow.user_id == bindparam("user"), FactRow.valid_to.is_(None)
)
_LAST_TURN = (
    select(TurnRow.id, TurnRow.created_at)
    .where(TurnRow.user_id == bindparam("user"))
    .order_by(TurnRow.id.desc())
    .limit(1)
)


def known(connection: Connection, who: str, now: datetime, lang: Lang) -> Known:
    """All that is kept of the user with this pseudonym, whatever their consents say."""
    user_id = connection.execute(_USER, {"who": who}).scalar_one_or_none()
    if user_id is None:
        return Known()
    turns, first = connection.execute(_TURNS, {"user": user_id}).one()
    told = connection.execute(_OLDEST_FACT, {"user": user_id}).scalar_one()
    newest = recall.newest(connection, who, recall.MOOD_TURNS)
    return Known(
        turns=turns,
        since=min((at for at in (first, told) if at is not None), default=None),
        facts=recall.fact_lines(connection, user_id, now, lang),
        mood=recall.mood_of(newest, now, lang),
    )


def last_turn(connection: Connection, who: str, now: datetime) -> tuple[datetime, str] | None:
    """When the last turn of this sitting began to be kept, and its id; None where there is none."""
    user_id = connection.execute(_USER, {"who": who}).scalar_one_or_none()
    last = connection.execute(_LAST_TURN, {"user": user_id}).one_or_none()
    if last is None or abs(now - last.created_at) > SESSION_GAP:
        return None
    return last.created_at, str(last.id)


def forget(
    connection: Connection, who: str, *, turn: int | None = None, since: datetime | None = None
) -> list[int]:
    """Delete one turn, or those since a moment, and all that came of them.

    No trace stays of when they were said: a sitting ends with what is left of it, and its user was
    seen last when that was said. With their last turn goes how they pause.

    Args:
        connection: An open transaction.
        who: The user's pseudonym.
        turn: The row's id.
        since: With its zone.

    Returns:
        The ids of the turns that were deleted.
    """
    user_id = connection.execute(_USER.with_for_update(), {"who": who}).scalar_one_or_none()
    mine = TurnRow.user_id == user_id
    which = mine & (TurnRow.id == turn if turn is not None else TurnRow.created_at >= since)
    found = connection.execute(select(TurnRow.id, TurnRow.session_id).where(which)).all()
    if user_id is None or not found:
        return []
    ids = [row.id for row in found]
    forget_turns(connection, TurnRow.id.in_(ids))
    said = func.max(TurnRow.created_at)
    for session_id in {row.session_id for row in found}:
        last = select(said).where(TurnRow.session_id == session_id).scalar_subquery()
        ended = update(SessionRow).where(SessionRow.id == session_id)
        connection.execute(ended.values(ended_at=last))
    last = select(said).where(mine).scalar_subquery()
    seen = func.coalesce(last, UserRow.created_at)
    connection.execute(update(UserRow).where(UserRow.id == user_id).values(last_seen_at=seen))
    left = select(TurnRow.id).where(mine).exists()
    connection.execute(delete(PauseRow).where(PauseRow.user_id == user_id, ~left))
    return ids
