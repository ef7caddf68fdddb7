"""Deleting what a scope names of a user, with all that came of it. Inside a transaction.

What is left is what would be, had what is deleted never been: facts, sessions, when the user was
seen. Only how they pause is one mean of all that they said; it goes with their last turn.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, select, update

from echat_memory import consents, plans, sealing, taking_back
from echat_memory.forgetting import forget_refused, forget_turns, forget_user
from echat_memory.plans import Remembered
from echat_memory.remembering import SESSION_GAP, row_of
from echat_memory.schema import (
    ConsentRow,
    FactRow,
    PauseRow,
    PlanRow,
    SafetyRow,
    SessionRow,
    TurnRow,
    UserRow,
)
from echat_memory.scope import Scope
from echat_memory.taking_back import Heard, concerns, take_back
from echat_sdk.consent import Consents, Purpose

_USER = select(UserRow.id)
_CHUNK = 500
"""Ids in one statement; databases have a limit."""

_Turn = Row[int, int, int, datetime]


@dataclass(frozen=True, slots=True)
class Gone:
    """What was deleted.

    Attributes:
        counts: Rows of each table, those that were.
        turns: The ids of the turns; None where all of the user went.
    """

    counts: dict[str, int]
    turns: tuple[int, ...] | None


def newest_turn(connection: Connection) -> int:
    """The id of the last turn of all; what comes later was not meant by who asks now."""
    return connection.execute(select(func.max(TurnRow.id))).scalar_one() or 0


def read_ahead(
    opened: Callable[[], AbstractContextManager[Connection]], who: str, scope: Scope, through: int
) -> Heard:
    """What is found out before `erase`, whose transaction others wait for."""
    with opened() as connection:
        user_id = connection.execute(_USER.where(UserRow.pseudonym == who)).scalar_one_or_none()
        if user_id is None:
            return {}
        ids = _meant(connection, user_id, scope, through)
        if not concerns(connection, user_id, ids, since=scope.since):
            return {}
    return taking_back.read_ahead(opened, user_id)


def erase(
    connection: Connection,
    who: str,
    scope: Scope,
    *,
    through: int,
    now: datetime,
    heard: Heard | None = None,
) -> Gone:
    """Delete what a scope names; may be repeated.

    Args:
        connection: An open transaction that writes.
        who: The user's pseudonym.
        scope: What is to go.
        through: The newest turn there was when it was asked for.
        now: The present moment.
        heard: What `read_ahead` found.
    """
    if scope.is_everything:
        return Gone(_counted(forget_user(connection, who)), None)
    mine = _USER.where(UserRow.pseudonym == who).with_for_update()
    user_id = connection.execute(mine).scalar_one_or_none()
    if user_id is None:
        return Gone({}, ())
    before = _turns(connection, user_id)
    ids = _meant(connection, user_id, scope, through)
    facts, moved = take_back(connection, user_id, ids, since=scope.since, heard=heard)
    counts = Counter({FactRow.__tablename__: facts})
    if scope.purpose is None:
        counts += _forget_said(connection, user_id, ids, scope.since)
    else:
        refused = Consents(consents.read(connection, who)).refused(now) | {scope.purpose}
        counts += forget_refused(connection, user_id, refused)
    after = _turns(connection, user_id)
    left = {turn.id for turn in after}
    gone = tuple(turn.id for turn in before if turn.id not in left)
    counts += _forget_given(connection, user_id, [turn.id for turn in before], set(gone), moved)
    counts += _tidy(connection, user_id, before, after, set(gone))
    if not left and not _is_known(connection, user_id):
        counts += Counter(forget_user(connection, who))
    return Gone(_counted(counts), gone)


def _counted(counts: Mapping[str, int]) -> dict[str, int]:
    return {table: count for table, count in counts.items() if count}


def _turns(connection: Connection, user_id: int) -> list[_Turn]:
    found = select(TurnRow.id, TurnRow.session_id, TurnRow.seq, TurnRow.created_at)
    mine = found.where(TurnRow.user_id == user_id).order_by(TurnRow.id)
    return list(connection.execute(mine).all())


def _meant(connection: Connection, user_id: int, scope: Scope, through: int) -> set[int]:
    """The turns that go whole, with the facts that were told in them."""
    mine = select(TurnRow.id).where(TurnRow.user_id == user_id)
    if scope.turn is not None:
        mine = mine.where(TurnRow.id == row_of(scope.turn))
    elif scope.since is not None:
        mine = mine.where(TurnRow.created_at >= scope.since, TurnRow.id <= through)
    elif scope.purpose == Purpose.PROCESS_VOICE:
        mine = mine.where(TurnRow.seconds > 0)
    else:
        return set()
    return set(connection.scalars(mine))


def _forget_said(
    connection: Connection, user_id: int, ids: Collection[int], since: datetime | None
) -> Counter[str]:
    """Delete turns, whose facts are taken back already."""
    counts: Counter[str] = Counter()
    safety: list[ColumnElement[bool]] = [SafetyRow.turn_id.in_(chunk) for chunk in _chunks(ids)]
    if since is not None:
        safety.append(and_(SafetyRow.turn_id.is_(None), SafetyRow.at >= since))
    for which in safety:
        dropped = connection.execute(delete(SafetyRow).where(SafetyRow.user_id == user_id, which))
        counts[SafetyRow.__tablename__] += dropped.rowcount
    for chunk in _chunks(ids):
        counts += forget_turns(connection, TurnRow.id.in_(chunk))
    return counts


def _forget_given(
    connection: Connection,
    user_id: int,
    known: list[int],
    gone: Collection[int],
    moved: Mapping[int, int | None],
) -> Counter[str]:
    """Take out of the plans of other turns what these and their facts had given them."""
    counts: Counter[str] = Counter()
    if not gone and not moved:
        return counts
    place = {turn: number for number, turn in enumerate(known)}
    holds = select(PlanRow.turn_id, PlanRow.strategy, PlanRow.remembered).where(
        PlanRow.user_id == user_id
    )
    for row in connection.execute(holds).all():
        if row.turn_id in gone:
            continue
        text = sealing.words(connection, PlanRow, row.turn_id, user_id, row._mapping)["remembered"]
        was = plans.read(text)
        at = place.get(row.turn_id, 0)
        last = known[max(0, at - was.turns) : at]
        new = [moved.get(fact, fact) for fact in was.facts]
        left = replace(
            was,
            facts=tuple(fact for fact in new if fact is not None),
            episodes=tuple(turn for turn in was.episodes if turn not in gone),
            turns=was.turns - sum(turn in gone for turn in last),
        )
        if left == was:
            continue
        if left == Remembered() and not row.strategy:
            dropped = connection.execute(delete(PlanRow).where(PlanRow.turn_id == row.turn_id))
            counts[PlanRow.__tablename__] += dropped.rowcount
            continue
        columns = {"remembered": json.dumps(asdict(left))}
        sealed = sealing.seal(connection, PlanRow, row.turn_id, user_id, columns)
        sealing.replace(connection, PlanRow, row.turn_id, sealed)
    return counts


def _tidy(
    connection: Connection,
    user_id: int,
    before: list[_Turn],
    after: list[_Turn],
    gone: Collection[int],
) -> Counter[str]:
    """Make sessions, times and pauses what they would be without the turns that went."""
    counts: Counter[str] = Counter()
    if not gone:
        return counts
    left = _by_session(after)
    for session_id, was in _by_session(before).items():
        if session_id in left and any(turn.id in gone for turn in was):
            _sit_again(connection, user_id, was, left[session_id])
    if not after:
        pauses = connection.execute(delete(PauseRow).where(PauseRow.user_id == user_id))
        counts[PauseRow.__tablename__] = pauses.rowcount
    _see_again(connection, user_id, before, after)
    return counts


def _by_session(turns: list[_Turn]) -> dict[int, list[_Turn]]:
    found: dict[int, list[_Turn]] = {}
    for turn in turns:
        found.setdefault(turn.session_id, []).append(turn)
    return found


def _sit_again(connection: Connection, user_id: int, was: list[_Turn], left: list[_Turn]) -> None:
    """Give a session the bounds and numbers that the turns left in it would have."""
    this = SessionRow.id == was[0].session_id
    session = connection.execute(select(SessionRow.started_at, SessionRow.ended_at).where(this))
    started, ended = session.one()
    parts: list[list[_Turn]] = [[left[0]]]
    for turn in left[1:]:
        if abs(turn.created_at - parts[-1][-1].created_at) > SESSION_GAP:
            parts.append([])
        parts[-1].append(turn)
    for part in parts:
        bounds = {
            # An older turn may have been swept, and a younger one written again.
            "started_at": started if part[0].id == was[0].id else part[0].created_at,
            "ended_at": ended if part[-1].id == was[-1].id else part[-1].created_at,
        }
        target, first = was[0].session_id, was[0].seq
        if part is parts[0]:
            connection.execute(update(SessionRow).where(this).values(bounds))
        else:
            new = insert(SessionRow).returning(SessionRow.id).values(user_id=user_id, **bounds)
            target, first = connection.execute(new).scalar_one(), 1
        for seq, turn in enumerate(part, first):  # upwards: who had this number has a lower one
            if (turn.session_id, turn.seq) != (target, seq):
                place = update(TurnRow).where(TurnRow.id == turn.id)
                connection.execute(place.values(session_id=target, seq=seq))


def _see_again(
    connection: Connection, user_id: int, before: list[_Turn], after: list[_Turn]
) -> None:
    """When the user was first and last seen, as far as what is left tells."""
    this = UserRow.id == user_id
    user = connection.execute(select(UserRow.created_at, UserRow.last_seen_at).where(this)).one()
    asked = select(func.min(ConsentRow.at), func.max(ConsentRow.at))
    first_asked, _ = connection.execute(asked.where(ConsentRow.user_id == user_id)).one()
    created, seen = user.created_at, user.last_seen_at
    starts = [moment for moment in (first_asked, after[0].created_at if after else None) if moment]
    if created == before[0].created_at and starts:
        created = min(starts)
    if not after or after[-1].id != before[-1].id:
        ended = select(SessionRow.ended_at).where(SessionRow.user_id == user_id)
        last = connection.scalars(ended.order_by(SessionRow.ended_at.desc()).limit(1)).first()
        told = select(func.max(FactRow.valid_from)).where(FactRow.user_id == user_id)
        seen = last or connection.execute(told).scalar_one() or created
    connection.execute(update(UserRow).where(this).values(created_at=created, last_seen_at=seen))


def _is_known(connection: Connection, user_id: int) -> bool:
    """Whether anything is left of a user who has no turns."""
    return any(
        connection.execute(select(table.user_id).where(table.user_id == user_id).limit(1)).first()
        for table in (FactRow, ConsentRow, SafetyRow)
    )


def _chunks(ids: Collection[int]) -> list[list[int]]:
    ordered = sorted(ids)
    return [ordered[at : at + _CHUNK] for at in range(0, len(ordered), _CHUNK)]
