"""What people ask of their own memory: what it knows of them. In a transaction."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select

from echat_memory import recall
from echat_memory.remembering import SESSION_GAP
from echat_memory.schema import FactRow, TurnRow, UserRow
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


def is_known(connection: Connection, who: str) -> bool:
    """Whether anything is kept of the user with this pseudonym."""
    return connection.execute(_USER, {"who": who}).one_or_none() is not None


def last_turn(connection: Connection, who: str, now: datetime) -> tuple[datetime, str] | None:
    """When the last turn of this sitting began to be kept, and its id; None where there is none."""
    user_id = connection.execute(_USER, {"who": who}).scalar_one_or_none()
    last = connection.execute(_LAST_TURN, {"user": user_id}).one_or_none()
    if last is None or abs(now - last.created_at) > SESSION_GAP:
        return None
    return last.created_at, str(last.id)
