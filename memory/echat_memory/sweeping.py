"""Deleting what has been kept for long enough, a little at a time.

What is due is found by reading, which waits for nobody; it is deleted in transactions so short that
a conversation beside it does not notice, with a rest after each. Each may be the last: what was not
reached is due the next time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select
from sqlalchemy.orm import InstrumentedAttribute, aliased
from sqlalchemy.sql.elements import SQLCoreOperations

from echat_memory import audit, consents, sealing
from echat_memory.facts import FactKind
from echat_memory.forgetting import forget_facts, forget_refused, forget_turns, forget_user
from echat_memory.schema import (
    AuditRow,
    ConsentRow,
    CueRow,
    EmotionRow,
    ErasureRow,
    FactRow,
    PauseRow,
    PlanRow,
    SafetyRow,
    TurnRow,
    UserRow,
)
from echat_sdk.audio import Seconds
from echat_sdk.consent import Consent, Consents, ConsentState
from echat_sdk.errors import ConfigError
from echat_sdk.retention import Retention

DAILY = timedelta(days=1)

_PAGE = 1000
"""Rows that are looked at in one go."""
_FIRST, _MOST = 20, 500
"""Rows that are deleted in one go, at first and at most."""
_AIM: Seconds = 0.01
"""How long one go should take; 50 ms is too long."""

_LOCK = select(UserRow.id).order_by(UserRow.id).with_for_update()

_Where = ColumnElement[bool]
Open = Callable[[bool], AbstractContextManager[Connection]]


@dataclass(frozen=True, slots=True)
class _Kind:
    """Rows of one kind that are due.

    Attributes:
        name: As it is told.
        id: Their table's id, in the order of which they are walked.
        due: What makes a row due.
        delete: Deletes those with these ids.
        owner: The user of a row, who is locked before it is looked at again and deleted, as
            whoever else writes for them does; None for rows of nobody.
        is_young: Where ids rise with time: what makes a row too young, so that after a page of
            such rows alone nothing is looked for any more.
        scope: The rows that are walked; None for all.
        is_whole: A page goes in one go, however long that takes: they are few, and each go leaves
            a record.
    """

    name: str
    id: InstrumentedAttribute[int]
    due: _Where
    delete: Callable[[Connection, list[int]], object]
    owner: SQLCoreOperations[int] | None = None
    is_young: _Where | None = None
    scope: _Where | None = None
    is_whole: bool = False


class Sweep:
    """One pass over a store.

    Args:
        opened: Opens a transaction, one that writes if told so.
        retention: How long things stay.
        now: The present moment.
        rest: Called with how long a go took, so that others get their turn.
        within: After how long it stops, done or not; None for never.
        clock: Seconds, rising.
    """

    def __init__(
        self,
        opened: Open,
        retention: Retention,
        now: datetime,
        *,
        rest: Callable[[Seconds], object] = time.sleep,
        within: Seconds | None = None,
        clock: Callable[[], Seconds] = time.perf_counter,
    ) -> None:
        self._opened = opened
        self._retention = retention
        self._now = now
        self._rest = rest
        self._clock = clock
        self._until = None if within is None else clock() + within
        self._size = _FIRST

    def due(self) -> dict[str, int]:
        """How many rows of each kind are due; nothing is deleted."""
        counts = Counter({kind.name: sum(map(len, self._walk(kind))) for kind in self._kinds()})
        counts["expired consents"] = len(self._expired())
        return dict(+counts)

    def run(self) -> dict[str, int]:
        """Delete what is due, and write a receipt unless time ran out.

        Returns:
            How many rows of each kind went.
        """
        counts: Counter[str] = Counter()
        for user_id, given in self._expired().items():
            self._expire(user_id, given)
            counts["expired consents"] += 1
        for kind in self._kinds():
            for page in self._walk(kind):
                counts[kind.name] += self._delete(kind, page)
        if not self._is_over:
            self._write_receipt(+counts)
        elif +counts:
            with self._opened(True) as connection:
                self._tell(connection, +counts)
        return dict(+counts)

    @property
    def _is_over(self) -> bool:
        return self._until is not None and self._clock() >= self._until

    def _walk(self, kind: _Kind) -> Iterator[list[int]]:
        """The ids of what is due, page by page."""
        after = 0
        young = kind.is_young if kind.is_young is not None else kind.id.is_(None)
        looked = select(kind.id, kind.due, young).order_by(kind.id).limit(_PAGE)
        if kind.scope is not None:
            looked = looked.where(kind.scope)
        while not self._is_over:
            with self._opened(False) as connection:
                page = connection.execute(looked.where(kind.id > after)).all()
            if due := [row[0] for row in page if row[1]]:
                yield due
            if len(page) < _PAGE or all(row[2] for row in page):
                return
            after = page[-1][0]

    def _delete(self, kind: _Kind, ids: list[int]) -> int:
        done, gone = 0, 0
        while done < len(ids) and not self._is_over:
            batch = ids if kind.is_whole else ids[done : done + self._size]
            with self._opened(True) as connection:
                began = self._clock()
                _lock_owners(connection, kind, batch)
                still = select(kind.id).where(kind.id.in_(batch), kind.due)  # who came back stays
                if found := list(connection.scalars(still)):
                    kind.delete(connection, found)
            took = self._clock() - began
            done, gone = done + len(batch), gone + len(found)
            wanted = self._size * min(2.0, _AIM / max(took, 1e-6))
            self._size = min(max(int(wanted), 1), _MOST)
            self._rest(took)
        return gone

    # --- what is due ------------------------------------------------------------------------------

    def _before(self, days: float) -> datetime:
        return self._now - timedelta(days=days)

    def _kinds(self) -> Iterator[_Kind]:
        keep = self._retention
        turns = self._before(keep.turns_days)
        yield self._of_turns("turns", keep.turns_days, TurnRow.id.is_not(None), _drop_turns)
        lives = TurnRow.created_at >= turns
        if keep.emotions_days < keep.turns_days:
            sounded = or_(
                *(
                    select(table.turn_id).where(table.turn_id == TurnRow.id).exists()
                    for table in (EmotionRow, CueRow)
                )
            )
            yield self._of_turns("emotions", keep.emotions_days, and_(lives, sounded), _drop_sound)
        if keep.think_days < keep.turns_days:
            with self._opened(False) as connection:
                thought = and_(lives, sealing.has_words(connection, TurnRow.think))
            yield self._of_turns("thoughts", keep.think_days, thought, _drop_thoughts)
        passing = keep.facts_by_kind_days
        unseen = UserRow.last_seen_at < self._before(keep.facts_days)
        # A fact that held for years went unheard for as long as its user.
        lasting = and_(
            FactRow.kind.not_in(passing),
            FactRow.user_id.in_(select(UserRow.id).where(unseen)),
        )
        old = [
            and_(FactRow.kind == kind, FactRow.valid_from < self._before(days))
            for kind, days in passing.items()
        ]
        closed = FactRow.valid_to < turns
        yield _Kind("facts", FactRow.id, or_(closed, lasting, *old), _drop_facts, FactRow.user_id)
        absent = UserRow.last_seen_at < turns
        pauses = select(PauseRow.user_id).where(PauseRow.user_id == UserRow.id).exists()
        yield _Kind("pauses", UserRow.id, and_(absent, pauses), _drop_pauses, UserRow.id)
        safety = SafetyRow.at < self._before(keep.safety_days)
        yield _Kind("safety events", SafetyRow.id, safety, _drop(SafetyRow), SafetyRow.user_id)
        yield from self._records()

    def _of_turns(
        self,
        name: str,
        days: float,
        which: _Where,
        act: Callable[[Connection, list[int]], object],
    ) -> _Kind:
        until = self._before(days)
        return _Kind(
            name, TurnRow.id, and_(TurnRow.created_at < until, which), act,
            TurnRow.user_id, TurnRow.created_at >= until,
        )  # fmt: skip

    def _records(self) -> Iterator[_Kind]:
        until = self._before(self._retention.records_days)
        newer = aliased(ConsentRow)
        replaced = (
            select(newer.id)
            .where(
                newer.user_id == ConsentRow.user_id,
                newer.purpose == ConsentRow.purpose,
                newer.id > ConsentRow.id,
            )
            .exists()
        )
        answers = and_(ConsentRow.at < until, replaced)
        yield _Kind("old answers", ConsentRow.id, answers, _drop(ConsentRow), ConsentRow.user_id)
        gone = and_(
            UserRow.last_seen_at < until,
            ~select(TurnRow.id).where(TurnRow.user_id == UserRow.id).exists(),
            ~select(ConsentRow.id)
            .where(ConsentRow.user_id == UserRow.id, ConsentRow.at >= until)
            .exists(),
        )
        yield _Kind("users", UserRow.id, gone, _drop_users, UserRow.id)
        # Of a chain only the beginning may go.
        entry = aliased(AuditRow)
        first = select(func.min(entry.id)).where(entry.at >= until).scalar_subquery()
        vouches = AuditRow.action == audit.SWEPT  # of nothing but that older ones are gone
        newest = select(func.max(entry.id)).scalar_subquery()
        old = and_(or_(AuditRow.id < first, first.is_(None)), ~and_(vouches, AuditRow.id == newest))
        young = AuditRow.at >= until
        yield _Kind("audit", AuditRow.id, old, self._drop_audit, is_young=young, is_whole=True)
        receipts = ErasureRow.completed_at < until
        yield _Kind("receipts", ErasureRow.id, receipts, _drop(ErasureRow))

    def _drop_audit(self, connection: Connection, ids: list[int]) -> None:
        audit.sweep(connection, ids, self._now)

    # --- consents that have ended -----------------------------------------------------------------

    def _expired(self) -> dict[int, str]:
        """Users of whom a consent has ended and not been renewed: their rows and pseudonyms."""
        ended = (
            select(UserRow.id, UserRow.pseudonym)
            .join(ConsentRow, ConsentRow.user_id == UserRow.id)
            .where(ConsentRow.expires_at <= self._now)
            .distinct()
        )
        with self._opened(False) as connection:
            found = connection.execute(ended).all()
            return {
                row.id: row.pseudonym
                for row in found
                if self._ended(consents.read(connection, row.pseudonym))
            }

    def _ended(self, given: Mapping[str, Consent]) -> dict[str, Consent]:
        """The answers among these that ended by themselves, and of which that is not written."""
        return {
            purpose: said
            for purpose, said in given.items()
            if said.state is ConsentState.GRANTED and said.at(self._now) is ConsentState.EXPIRED
        }

    def _expire(self, user_id: int, who: str) -> None:
        """Delete what an ended consent allowed, turn by turn; at last write down that it ended."""

        def forget(connection: Connection, ids: list[int] | None) -> None:
            refused = Consents(consents.read(connection, who)).refused(self._now)
            forget_refused(connection, user_id, refused, among=ids)

        mine = TurnRow.user_id == user_id
        every = _Kind("", TurnRow.id, TurnRow.id.is_not(None), forget, TurnRow.user_id, scope=mine)
        for page in self._walk(every):
            self._delete(every, page)
        if self._is_over:
            return
        with self._opened(True) as connection:
            connection.execute(_LOCK.where(UserRow.id == user_id))
            ended = self._ended(consents.read(connection, who))  # if not renewed just now
            for purpose, said in ended.items():
                ended[purpose] = replace(said, state=ConsentState.EXPIRED, expires_at=None)
            consents.write(connection, who, ended, now=self._now)
            forget(connection, None)

    def _write_receipt(self, counts: Counter[str]) -> None:
        scope = {"sweep": self._retention.model_dump(mode="json")}
        with self._opened(True) as connection:
            _write_receipt(connection, self._now, scope, counts)
            if counts:
                self._tell(connection, counts)

    def _tell(self, connection: Connection, counts: Counter[str]) -> None:
        told = {"who": "", "actor": audit.STORE, "action": "swept"}
        audit.append(connection, **told, detail=dict(counts), at=self._now)


def begin_sweeping(connection: Connection, now: datetime) -> None:
    """Write down that a store will be swept from now on: first in a day."""
    _write_receipt(connection, now, {"sweep": "begins"}, {})


def _write_receipt(
    connection: Connection, now: datetime, scope: dict[str, Any], counts: Mapping[str, int]
) -> None:
    times = {"requested_at": now, "completed_at": now}
    receipt = {"who": "", "scope": scope, "counts": dict(counts), **times}
    connection.execute(insert(ErasureRow), receipt)


def check_kinds(retention: Retention) -> Retention:
    """The retention, whose kinds of fact are ours.

    Raises:
        ConfigError: one is not; names all.
    """
    if wrong := sorted(set(retention.facts_by_kind_days) - set(FactKind)):
        raise ConfigError(
            f"retention.facts_by_kind_days: no kind {wrong[0][:40]!r} of fact; "
            f"one of {', '.join(FactKind)}"
        )
    return retention


def last_sweep(connection: Connection) -> datetime | None:
    """When the store was last swept to its end; None for never."""
    newest = (
        select(ErasureRow.completed_at)
        .where(ErasureRow.who == "")
        .order_by(ErasureRow.id.desc())
        .limit(1)
    )
    return connection.execute(newest).scalar_one_or_none()


def _lock_owners(connection: Connection, kind: _Kind, ids: list[int]) -> None:
    """Wait for who is writing for these users; the others wait for us."""
    if kind.owner is not None:
        mine = UserRow.id.in_(select(kind.owner).where(kind.id.in_(ids)))
        connection.execute(_LOCK.where(mine)).all()


def _drop(table: type[Any]) -> Callable[[Connection, list[int]], object]:
    return lambda connection, ids: connection.execute(delete(table).where(table.id.in_(ids)))


def _drop_turns(connection: Connection, ids: list[int]) -> None:
    forget_turns(connection, TurnRow.id.in_(ids), keep_facts=True)


def _drop_sound(connection: Connection, ids: list[int]) -> None:
    for table in (EmotionRow, CueRow, PlanRow):  # a plan tells the mood that a reply was given
        connection.execute(delete(table).where(table.turn_id.in_(ids)))


def _drop_thoughts(connection: Connection, ids: list[int]) -> None:
    sealing.empty(connection, TurnRow, TurnRow.id.in_(ids), ("think",))


def _drop_facts(connection: Connection, ids: list[int]) -> None:
    forget_facts(connection, FactRow.id.in_(ids))


def _drop_pauses(connection: Connection, ids: list[int]) -> None:
    connection.execute(delete(PauseRow).where(PauseRow.user_id.in_(ids)))


def _drop_users(connection: Connection, ids: list[int]) -> None:
    for who in connection.scalars(select(UserRow.pseudonym).where(UserRow.id.in_(ids))).all():
        forget_user(connection, who)
