"""Deleting part of what is kept of a user: turns, and what was refused. Inside a transaction.

`forget_refused` is `echat_sdk.consent.permitted`, told to rows that are there already: what is left
is what would have been written had the answer been known at the time. A law in the tests holds them
together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, and_, delete, select, update
from sqlalchemy.sql.dml import Delete, Update

from echat_memory.schema import (
    CueRow,
    EmotionRow,
    FactRow,
    PauseRow,
    PlanRow,
    SafetyRow,
    SessionRow,
    TurnRow,
)
from echat_sdk.consent import REMEMBERED, RUN, Purpose
from echat_sdk.cues import ReplyEmotion

_CUES = {
    Purpose.INFER_AGE: ("age",),
    Purpose.INFER_GENDER: ("gender",),
    Purpose.INFER_EMOTION: ("events", "style"),
}


def forget_refused(connection: Connection, user_id: int, refused: Collection[str]) -> Counter[str]:
    """Delete what a user's refusals no longer allow; may be repeated.

    Args:
        connection: An open transaction.
        user_id: The user's row.
        refused: All purposes that they refuse, not only the newest one.

    Returns:
        Rows deleted from each table, and rows of `turns` whose words were emptied.
    """
    allowed = REMEMBERED - set(refused)
    words, sound = Purpose.STORE_TRANSCRIPT in allowed, Purpose.STORE_EMOTION in allowed
    feels = sound and Purpose.INFER_EMOTION in allowed
    counts: Counter[str] = Counter()
    mine = TurnRow.user_id == user_id

    def do(statement: Delete | Update) -> None:
        counts[statement.table.name] += connection.execute(statement).rowcount  # type: ignore[union-attr]

    if Purpose.PROCESS_VOICE not in allowed or Purpose.LONG_TERM_MEMORY not in allowed:
        do(delete(PauseRow).where(PauseRow.user_id == user_id))
    if Purpose.LONG_TERM_MEMORY not in allowed or not (words or sound):
        do(delete(FactRow).where(FactRow.user_id == user_id))
        return counts + forget_turns(connection, mine)
    if Purpose.PROCESS_VOICE not in allowed:
        counts += forget_turns(connection, and_(mine, TurnRow.seconds > 0))
    if not words:
        do(delete(FactRow).where(FactRow.user_id == user_id))
        is_told = (TurnRow.transcript != "") | (TurnRow.reply != "")
        do(update(TurnRow).where(mine, is_told).values(transcript="", reply=""))
    if not (words and feels):
        do(delete(PlanRow).where(PlanRow.user_id == user_id))
    if not feels:
        do(delete(EmotionRow).where(EmotionRow.user_id == user_id))
        neutral = ReplyEmotion.NEUTRAL.word
        answered = update(TurnRow).where(mine, TurnRow.reply_emotion != neutral)
        connection.execute(answered.values(reply_emotion=neutral))
    for need, kinds in _CUES.items():
        if not (sound and need in allowed):
            do(delete(CueRow).where(CueRow.user_id == user_id, CueRow.kind.in_(kinds)))
    if not (words and sound and RUN - {Purpose.PROCESS_VOICE} <= allowed):
        connection.execute(update(TurnRow).where(mine, TurnRow.think != "").values(think=""))
    return +counts


def forget_turns(connection: Connection, which: ColumnElement[bool]) -> Counter[str]:
    """Delete turns and all that came of them, their facts too.

    What a deleted fact had replaced holds again, if that fact was the last word on it. A safety
    event stays, for it has no words and its own time; it forgets its turn.

    Args:
        connection: An open transaction.
        which: A condition on `TurnRow`.

    Returns:
        Rows deleted from each table.
    """
    turns = select(TurnRow.id).where(which)
    facts = select(FactRow.id).where(FactRow.turn_id.in_(turns))
    last = facts.where(FactRow.valid_to.is_(None))
    connection.execute(
        update(FactRow)
        .where(FactRow.superseded_by.in_(last))
        .values(valid_to=None, superseded_by=None)
    )
    connection.execute(
        update(FactRow).where(FactRow.superseded_by.in_(facts)).values(superseded_by=None)
    )
    connection.execute(update(SafetyRow).where(SafetyRow.turn_id.in_(turns)).values(turn_id=None))
    counts: Counter[str] = Counter()
    for table in (FactRow, PlanRow, CueRow, EmotionRow):
        found = connection.execute(delete(table).where(table.turn_id.in_(turns)))
        counts[table.__tablename__] = found.rowcount
    sessions = list(connection.scalars(select(TurnRow.session_id).where(which).distinct()))
    counts[TurnRow.__tablename__] = connection.execute(delete(TurnRow).where(which)).rowcount
    still = select(TurnRow.id).where(TurnRow.session_id == SessionRow.id).exists()
    for session_id in sessions:
        empty = delete(SessionRow).where(SessionRow.id == session_id, ~still)
        counts[SessionRow.__tablename__] += connection.execute(empty).rowcount
    return +counts
