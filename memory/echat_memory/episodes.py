"""Earlier turns of a user that fit the words just heard.

What is searched is held in RAM and made from the rows, for each user who is here: the part of each
turn that tells of something, cut short, and an index of its terms. A turn that is found is looked
up in the rows again, by user, wherever others may have written since it was read: what was erased
cannot come back, whoever erased it.

Who has many turns is made ready in pieces, as a draft that nobody else sees. Whatever happens to
what is held happens to drafts as well: one that was begun before something was erased is not used.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from weakref import WeakSet

from sqlalchemy import Connection, Row, bindparam, func, select

from echat_memory import comfort, earlier
from echat_memory.comfort import READ_TURNS, Step
from echat_memory.earlier import Earlier, Said, episode
from echat_memory.schema import TurnRow, UserRow
from echat_memory.search import Index
from echat_sdk.audio import Seconds
from echat_sdk.turn import Episode, Lang

MAX_EPISODES = 5
"""Episodes that a reply is given."""
MAX_TURNS = 20_000
"""Turns of one user that are searched, the newest; and some more that came since they were read."""
MAX_ALL_TURNS = 100_000
"""Turns of all users that are held; then whoever was silent longest is dropped."""
SILENCE = timedelta(minutes=30)
"""Who has been silent for longer is dropped."""
PIECE = 50
"""Turns that are read at a time, where there are more."""

_MORE = 1_000
_SLICE = 10  # turns, about a millisecond of work
_REST: Seconds = 1e-4  # not 0: whoever waits for the interpreter has to wake up first

_COUNT = (
    select(TurnRow.user_id, func.count())
    .join(UserRow, UserRow.id == TurnRow.user_id)
    .where(UserRow.pseudonym == bindparam("who"))
    .group_by(TurnRow.user_id)
)
_BEFORE = (
    select(TurnRow.id)
    .where(TurnRow.user_id == bindparam("user"))
    .order_by(TurnRow.id.desc())
    .offset(bindparam("turns"))
    .limit(1)
)


@dataclass(slots=True, eq=False, weakref_slot=True)
class Held:
    """What is held of one user, or a draft of it."""

    who: str
    user_id: int
    used_at: datetime
    after: int = 0  # the newest turn that was read, or that is too old to be searched
    left_out: int = 0  # turns that are too old
    index: Index = field(default_factory=Index)
    said: dict[int, Said] = field(default_factory=dict)
    steps: dict[int, Step] = field(default_factory=dict)  # of the newest turns, oldest first
    changed: set[int] = field(default_factory=set)
    helped: str = ""
    is_sure: bool = True  # that rows are as they were read
    is_over: bool = False  # a draft of what was erased meanwhile

    def read(self, connection: Connection) -> list[Earlier]:
        """The next piece of a draft; empty at its end."""
        return earlier.read(connection, self.user_id, after=self.after, most=PIECE)

    def take_slowly(self, turns: Iterable[Earlier]) -> None:
        """Take turns into a draft; with rests, for a whole piece would hold up other threads."""
        left = iter(turns)
        while some := list(islice(left, _SLICE)):
            self.take(some)
            time.sleep(_REST)

    def take(self, turns: Iterable[Earlier]) -> None:
        """Take in turns, new or changed, oldest first."""
        for turn in turns:
            self.said[turn.id], known_by = turn.told()
            self.index.add(turn.id, turn.source, known_by)
            if turn.id > self.after or turn.id in self.steps:
                self.steps[turn.id] = turn.step
            self.after = max(self.after, turn.id)
        while len(self.steps) > READ_TURNS:
            del self.steps[next(iter(self.steps))]

    def told(self, ids: Sequence[int], now: datetime, lang: Lang) -> list[tuple[int, Episode]]:
        """The turns with these ids as episodes."""
        today = now.date()
        return [(i, episode(self.said[i], today, lang)) for i in ids]


class Episodes:
    """What is searched, for every user who is here.

    Changed by whoever has the lock of the database and that of what is held, read by whoever has
    one of them.

    Args:
        lock: That of what is held. Only methods that are given a connection take it, and only while
            they change something.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._drafts: WeakSet[Held] = WeakSet()

    def __len__(self) -> int:
        return sum(len(held.index) for held in self._held.values())

    def __contains__(self, who: str) -> bool:
        return who in self._held

    def prefetch(
        self, connection: Connection, who: str, now: datetime, draft: Held | None = None
    ) -> Held | None:
        """Make a user's turns ready to be searched; cheap where they are already.

        Args:
            connection: An open transaction.
            who: The user's pseudonym.
            now: The present moment.
            draft: What an earlier call returned, read to its end.

        Returns:
            None where they are ready; a draft that is to be read where there are many.
        """
        with self._lock:
            for silent in [w for w, h in self._held.items() if abs(now - h.used_at) > SILENCE]:
                del self._held[silent]
        held = self._held.get(who)
        if held is not None and held.is_sure and len(held.index) <= MAX_TURNS + _MORE:
            self._hold(connection, held, now)
            return None
        found = connection.execute(_COUNT, {"who": who}).one_or_none()
        if found is None:
            with self._lock:
                self.forget(who)
            return None
        user_id, count = found
        if draft is not None and not draft.is_over:
            held = draft
        if held is not None and held.user_id == user_id:
            self._catch_up(connection, held)
            if _is_whole(held, count):
                self._hold(connection, held, now)
                return None
        if draft is None and count > PIECE:
            return self._begin(connection, who, user_id, count, now)
        self._build(connection, who, user_id, now)
        return None

    def find(
        self,
        connection: Connection | None,
        who: str,
        query: str,
        *,
        newest: Sequence[Row[Any]],
        without: Sequence[int],
        now: datetime,
        lang: Lang,
    ) -> tuple[list[tuple[int, Episode]], str] | None:
        """The ids and words of the turns that fit best, best first; and what helped before.

        Args:
            connection: An open transaction; without one nothing is read, and nothing changed.
            who: The user's pseudonym.
            query: The words just heard.
            newest: The rows of their newest turns, newest first; at least one.
            without: Ids of turns that the reply is given anyway.
            now: The present moment.
            lang: Language in which is told when it was.

        Returns:
            None where rows must be read and there is no connection.
        """
        held = self._held.get(who)
        if held is not None and held.user_id != newest[0].user_id:
            held = None
        if connection is None:
            if held is None or held.changed or held.after < newest[0].id or not held.is_sure:
                return None
            held.used_at = now
            ids = held.index.find(query, MAX_EPISODES, without=without)
            return held.told(ids, now, lang), held.helped
        if held is None:
            held = self._build(connection, who, newest[0].user_id, now)
        else:
            new = {row.id for row in newest if not held.index.knows(row.id, row.transcript)}
            if new or held.changed:
                self._catch_up(connection, held, new)
        ids = held.index.find(query, MAX_EPISODES, without=without)
        if ids and not held.is_sure:
            ids = self._look_up(connection, held, ids)
        return held.told(ids, now, lang), held.helped

    def doubt(self, who: str | None) -> None:
        """A user's rows, or all for None, may have been changed: what is found is looked up now."""
        for held in self._of(who):
            held.is_sure = False

    def change(self, who: str, turn_id: int) -> None:
        """A turn of a user was replaced; its rows are read again when they are needed."""
        for held in self._of(who):
            held.changed.add(turn_id)

    def forget(self, who: str | None) -> None:
        """Drop what is held of a user, or of all for None."""
        for held in self._of(who):
            held.is_over = True
        if who is None:
            self._held.clear()
        else:
            self._held.pop(who, None)

    def _of(self, who: str | None) -> list[Held]:
        return [h for h in (*self._held.values(), *self._drafts) if who in (None, h.who)]

    def _begin(
        self, connection: Connection, who: str, user_id: int, count: int, now: datetime
    ) -> Held:
        draft = Held(who, user_id, now)
        if count > MAX_TURNS:
            before = {"user": user_id, "turns": MAX_TURNS}
            draft.after = connection.execute(_BEFORE, before).scalar_one()
            draft.left_out = count - MAX_TURNS
        with self._lock:
            self._drafts.add(draft)
        return draft

    def _build(self, connection: Connection, who: str, user_id: int, now: datetime) -> Held:
        """Make a user's turns ready in one go."""
        found = connection.execute(_COUNT, {"who": who}).one_or_none()
        held = self._begin(connection, who, user_id, found[1] if found else 0, now)
        while piece := held.read(connection):
            held.take(piece)
        self._hold(connection, held, now)
        return held

    def _hold(self, connection: Connection, held: Held, now: datetime) -> None:
        """Hold what was read to its end."""
        self._catch_up(connection, held)
        if held.is_sure:
            helped = comfort.best(list(held.steps.values()))
        else:
            helped = comfort.what_helped(connection, held.user_id)
        with self._lock:
            self._drafts.discard(held)
            held.helped = helped
            held.used_at = now
            self._held[held.who] = held
            self._held.move_to_end(held.who)
            while len(self._held) > 1 and len(self) > MAX_ALL_TURNS:
                self._held.popitem(last=False)

    def _catch_up(
        self, connection: Connection, held: Held, changed: Collection[int] = frozenset()
    ) -> None:
        changed = held.changed.union(changed)
        news = earlier.read(
            connection, held.user_id, after=held.after, changed=changed, most=MAX_TURNS
        )
        with self._lock:
            held.take(news)
            held.changed.clear()

    def _look_up(self, connection: Connection, held: Held, ids: Sequence[int]) -> list[int]:
        """Those of these turns that are still there, and are held as they are there."""
        there = earlier.these(connection, held.user_id, ids)
        if stale := {i for i, row in there.items() if not held.index.knows(i, row.transcript)}:
            self._catch_up(connection, held, stale)  # another process changed or emptied them
        with self._lock:
            for i, row in there.items():
                held.said[i] = held.said[i]._replace(label=row.label)
        return [i for i in ids if i in there]


def _is_whole(held: Held, count: int) -> bool:
    """Whether no turn that is held was erased, and not many came since it was begun."""
    return len(held.index) == count - held.left_out and len(held.index) <= MAX_TURNS + _MORE
