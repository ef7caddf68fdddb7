"""What a reply is given of a user, made ready when they begin to speak."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, bindparam, select

from echat_memory import consents, recall
from echat_memory.episodes import Held
from echat_memory.plans import Remembered
from echat_memory.portable import PortableStore
from echat_memory.recall import MAX_FACTS, Basis
from echat_memory.schema import UserRow
from echat_sdk.consent import Consents, Purpose, in_session, recallable
from echat_sdk.turn import Recollection

MAX_RECALLED = 1_000
"""Users of whom is known what their last reply was given, until its turn is kept."""

WORDS = frozenset({Purpose.STORE_TRANSCRIPT, Purpose.LONG_TERM_MEMORY})
"""What it takes to search what somebody said."""

PLANS = WORDS | {Purpose.STORE_EMOTION, Purpose.INFER_EMOTION}
"""What it takes to keep why somebody was answered so; as `forgetting` has it."""

_LOCK_USER = select(UserRow.id).where(UserRow.pseudonym == bindparam("who")).with_for_update()


class RecallingStore(PortableStore):
    """A store that recalls; its arguments and attributes are told in `SQLMemory`."""

    def recall(self, user: str, *, query: str = "") -> Recollection:
        """What a reply to this user should know: turns, mood, facts, episodes; see `Memory.recall`.

        Raises:
            StoreError: the store cannot be read.
        """
        who, now = self.pseudonym(user), self._clock()
        with self._at_hand() as is_so:
            # What `prefetch` has read is there still, nearly always.
            found = self._recollect(None, who, query, now) if is_so else None
        if found is None:
            with self._open(write=False) as connection:
                found = self._recollect(connection, who, query, now)
        assert found is not None
        return self._with_held(user, *found)

    def at_hand(self, user: str, *, query: str = "") -> Recollection | None:
        """What `recall` gives, where nothing has to be read or waited for; see `AtHand`.

        Raises:
            StoreError: the store is closed.
        """
        who, now = self.pseudonym(user), self._clock()
        if not self._holding.acquire(blocking=False):
            return None
        try:
            self._must_be_open()
            is_so = self._ready.is_of(self._database.stamp())
            found = self._recollect(None, who, query, now) if is_so else None
        finally:
            self._holding.release()
        return None if found is None else self._with_held(user, *found)

    def _with_held(self, user: str, given: Recollection, allowed: frozenset[str]) -> Recollection:
        """What is given, and what is held of this user's session in RAM alone."""
        # What is held was said before consent was given, or is of a user whose words are not kept.
        said, told = self._guests.session(user)
        facts = dict.fromkeys((*given.facts, *told))
        if not said and len(facts) == len(given.facts) <= MAX_FACTS:
            return given
        turns = (*(in_session(turn, allowed) for turn in said), *given.turns)
        return replace(
            given, turns=turns[max(0, len(turns) - self._turns) :], facts=tuple(facts)[:MAX_FACTS]
        )

    def _recollect(
        self, connection: Connection | None, who: str, query: str, now: datetime
    ) -> tuple[Recollection, frozenset[str]] | None:
        """What a reply is given, and what is allowed; without a connection None where rows tell."""
        said, known = self._ready.consents(who), self._ready.known(who, now)
        if connection is not None:
            said = said or self._consents(connection, who)
            known = known or self._read(connection, who, now)
        if said is None or known is None:
            return None
        allowed = said.allowed(now)
        is_searched = allowed >= WORDS
        if not is_searched and who in self._episodes:
            if connection is None:
                return None
            with self._holding:
                self._episodes.forget(who)
        recalled = recall.recollect(
            known,
            self._episodes if is_searched else None,
            who,
            query,
            now=now,
            budget=self._budget,
            connection=connection,
        )
        if recalled is None:
            return None
        with nullcontext() if connection is None else self._holding:
            self._note(who, query, recalled.remembered if allowed >= PLANS else None)
        return recallable(recalled.recollection, allowed), allowed

    def _read(self, connection: Connection, who: str, now: datetime) -> Basis:
        known = recall.read(connection, who, turns=self._turns, now=now)
        with self._holding:
            self._ready.hold(who, known)
        return known

    def _note(self, who: str, query: str, remembered: Remembered | None) -> None:
        """Hold what a reply was given until its turn is kept; under the lock of what is held."""
        self._recalled.pop(who, None)
        if remembered is not None:
            self._recalled[who] = query, remembered
        if len(self._recalled) > MAX_RECALLED:
            self._recalled.popitem(last=False)

    def prefetch(self, user: str) -> None:
        """Make ready what `recall` of this user searches; see `Memory.prefetch`.

        Raises:
            StoreError: the store cannot be read.
        """
        who, now = self.pseudonym(user), self._clock()
        with self._open(write=False) as connection:
            draft = self._prefetch(connection, who, now)
        if draft is None:
            return
        is_at_end = False
        while not is_at_end:  # in pieces, for others wait behind each
            with self._open(write=False) as connection:
                piece = draft.read(connection)
            draft.take_slowly(piece)
            is_at_end = not piece
        with self._open(write=False) as connection:
            self._prefetch(connection, who, now, draft)

    def _prefetch(
        self, connection: Connection, who: str, now: datetime, draft: Held | None = None
    ) -> Held | None:
        """See `Episodes.prefetch`."""
        if self._consents(connection, who).allowed(now) >= WORDS:
            draft = self._episodes.prefetch(connection, who, now, draft)
            if draft is not None:
                return draft
        else:
            with self._holding:
                self._episodes.forget(who)
        if self._database.stamp() is not None:  # else it would be read again
            self._read(connection, who, now)
        return None

    def _consents(self, connection: Connection, who: str, *, lock: bool = False) -> Consents:
        """What a user said; with `lock`, nobody else can add to it in this transaction."""
        if (held := self._ready.consents(who)) is not None:
            return held
        if lock:
            connection.execute(_LOCK_USER, {"who": who})
        said = Consents(consents.read(connection, who), self._unasked, self._barred)
        with self._holding:
            self._ready.hold(who, said)
        return said

    def _said(self, who: str) -> Consents:
        """What a user said, read only where it is not at hand."""
        with self._at_hand() as is_so:
            held = self._ready.consents(who) if is_so else None
        if held is not None:
            return held
        with self._open(write=False) as connection:
            return self._consents(connection, who)
