"""Deleting what is kept of a user: all, turns, or what was refused. Inside a transaction.

`forget_refused` is `echat_sdk.consent.permitted`, told to rows that are there already: what is left
is what would have been written had the answer been known at the time. A law in the tests holds them
together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, and_, delete, select, update

from echat_memory import sealing
from echat_memory.schema import (
    PERSONAL,
    CueRow,
    EmotionRow,
    FactRow,
    PauseRow,
    PlanRow,
    SafetyRow,
    SessionRow,
    TurnRow,
    UserRow,
)
from echat_sdk.consent import REMEMBERED, RUN, Purpose
from echat_sdk.cues import ReplyEmotion

_Where = ColumnElement[bool]
_CUES = {
    Purpose.INFER_AGE: ("age",),
    Purpose.INFER_GENDER: ("gender",),
    Purpose.INFER_EMOTION: ("events", "style"),
}


def forget_refused(
    connection: Connection,
    user_id: int,
    refused: Collection[str],
    *,
    among: Collection[int] | None = None,
) -> Counter[str]:
    """Delete what a user's refusals no longer allow; may be repeated.

    Args:
        connection: An open transaction.
        user_id: The user's row.
        refused: All purposes that they refuse, not only the newest one.
        among: Only what came of these turns; None for all.

    Returns:
        Rows deleted from each table, and rows of `turns` whose words were emptied.
    """
    allowed = REMEMBERED - set(refused)
    words, sound = Purpose.STORE_TRANSCRIPT in allowed, Purpose.STORE_EMOTION in allowed
    feels = sound and Purpose.INFER_EMOTION in allowed
    counts: Counter[str] = Counter()
    mine = TurnRow.user_id == user_id
    if among is not None:
        mine &= TurnRow.id.in_(among)

    def drop(
        table: type[FactRow | PlanRow | EmotionRow | CueRow | PauseRow | SafetyRow], *which: _Where
    ) -> None:
        these = [table.user_id == user_id, *which]
        if among is not None and not issubclass(table, PauseRow):
            these.append(table.turn_id.in_(among))
        counts[table.__tablename__] += connection.execute(delete(table).where(*these)).rowcount

    if among is None and not {Purpose.PROCESS_VOICE, Purpose.LONG_TERM_MEMORY} <= allowed:
        drop(PauseRow)
    if among is None and not (words and Purpose.LONG_TERM_MEMORY in allowed):
        drop(FactRow)
        drop(SafetyRow)
    if Purpose.LONG_TERM_MEMORY not in allowed or not (words or sound):
        return +counts + forget_turns(connection, mine)
    if Purpose.PROCESS_VOICE not in allowed:
        counts += forget_turns(connection, and_(mine, TurnRow.seconds > 0))
        if among is None:  # a fact whose turn was swept may have been spoken
            orphans = and_(FactRow.user_id == user_id, FactRow.turn_id.is_(None))
            counts[FactRow.__tablename__] += forget_facts(connection, orphans)
            drop(SafetyRow, SafetyRow.turn_id.is_(None))
    if not words:
        emptied = sealing.empty(connection, TurnRow, mine, ("transcript", "reply"))
        counts[TurnRow.__tablename__] += emptied
    if not (words and feels):
        drop(PlanRow)
    if not words:
        drop(SafetyRow)
    if not feels:
        drop(EmotionRow)
        neutral = ReplyEmotion.NEUTRAL.word
        answered = update(TurnRow).where(mine, TurnRow.reply_emotion != neutral)
        connection.execute(answered.values(reply_emotion=neutral))
    for need, kinds in _CUES.items():
        if not (sound and need in allowed):
            drop(CueRow, CueRow.kind.in_(kinds))
    if not (words and sound and RUN - {Purpose.PROCESS_VOICE} <= allowed):
        sealing.empty(connection, TurnRow, mine, ("think",))
    return +counts


def forget_user(connection: Connection, who: str) -> dict[str, int]:
    """Delete the user with this pseudonym, if there is one.

    In an encrypted store no copy of it opens for them from then on.

    Returns:
        Rows deleted from each table.
    """
    counts = dict.fromkeys([*(table.__tablename__ for table in PERSONAL), UserRow.__tablename__], 0)
    mine = select(UserRow.id).where(UserRow.pseudonym == who).with_for_update()
    user_id = connection.execute(mine).scalar_one_or_none()
    if user_id is None:
        return counts
    if (cipher := sealing.cipher_of(connection)) is not None:
        cipher.forget(user_id)  # first, for this alone reaches backups
    for table in PERSONAL:
        these = table.__table__.c.user_id == user_id
        counts[table.__tablename__] = connection.execute(delete(table).where(these)).rowcount
    connection.execute(delete(UserRow).where(UserRow.id == user_id))
    counts[UserRow.__tablename__] = 1
    return counts


def forget_turns(
    connection: Connection, which: _Where, *, keep_facts: bool = False
) -> Counter[str]:
    """Delete turns and all that came of them.

    Args:
        connection: An open transaction.
        which: A condition on `TurnRow`.
        keep_facts: Let facts, and safety events, outlive the turns in which they were told: the
            turns have had their time, these have their own.

    Returns:
        Rows deleted from each table.
    """
    turns = select(TurnRow.id).where(which)
    told = FactRow.turn_id.in_(turns)
    counts: Counter[str] = Counter()
    seen = SafetyRow.turn_id.in_(turns)
    if keep_facts:
        connection.execute(update(FactRow).where(told).values(turn_id=None))
        connection.execute(update(SafetyRow).where(seen).values(turn_id=None))
    else:
        counts[FactRow.__tablename__] = forget_facts(connection, told)
        found = connection.execute(delete(SafetyRow).where(seen))
        counts[SafetyRow.__tablename__] = found.rowcount
    for table in (PlanRow, CueRow, EmotionRow):
        found = connection.execute(delete(table).where(table.turn_id.in_(turns)))
        counts[table.__tablename__] = found.rowcount
    sessions = list(connection.scalars(select(TurnRow.session_id).where(which).distinct()))
    counts[TurnRow.__tablename__] = connection.execute(delete(TurnRow).where(which)).rowcount
    still = select(TurnRow.id).where(TurnRow.session_id == SessionRow.id).exists()
    for session_id in sessions:
        empty = delete(SessionRow).where(SessionRow.id == session_id, ~still)
        counts[SessionRow.__tablename__] += connection.execute(empty).rowcount
    return +counts


def forget_facts(connection: Connection, which: _Where) -> int:
    """Delete facts; what one had replaced holds again, if that one was the last word on it.

    Args:
        connection: An open transaction.
        which: A condition on `FactRow`.

    Returns:
        How many were deleted.
    """
    facts = select(FactRow.id).where(which)
    replaced_by_last = FactRow.superseded_by.in_(facts.where(FactRow.valid_to.is_(None)))
    for these, values in (
        (replaced_by_last, {"valid_to": None, "superseded_by": None}),
        (FactRow.superseded_by.in_(facts), {"superseded_by": None}),
    ):
        connection.execute(update(FactRow).where(these).values(values))
    return connection.execute(delete(FactRow).where(which)).rowcount
