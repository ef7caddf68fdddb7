"""Completes turns behind the conversation; what a store refuses is held in RAM and tried again."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from echat_sdk.agent.consenting import allowed_of
from echat_sdk.agent.exchange import Answer
from echat_sdk.bridge import Worker
from echat_sdk.consent import Purpose, in_session, permitted
from echat_sdk.errors import StoreError
from echat_sdk.protocols import AtHand, Memory
from echat_sdk.turn import Recollection, Turn

log = logging.getLogger(__name__)

MOST_UNKEPT = 100
"""Answers that wait for the store; beyond that the oldest is lost."""

_TRIES = 2  # refusals after which the rest waits for the next turn: each takes its time


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True, eq=False)
class _Waiting:
    """A turn that is not written yet."""

    turn: Turn
    turn_id: str
    number: int  # in the order of the conversation
    at: datetime
    allowed: frozenset[str] | None = None  # all the while, as far as is known; None: nothing is


class Keeper:
    """Writes finished answers in the memory's thread, each in the place of its open turn.

    While the store fails, a conversation goes on: its turns wait here, the next answer is given
    them with what was recalled, and they are written when the store can be written again. Whenever
    it is known what their user agrees to, no more of them is held than that allows, and what was
    refused at any time since they were said is never written.

    Args:
        memory: Keeps.
        store: The memory's thread.
        user: Whose turns they are.
        now: Gives the present moment, with its zone.
    """

    def __init__(
        self, memory: Memory, store: Worker, user: str, now: Callable[[], datetime] = _now
    ) -> None:
        self._memory = memory
        self._quick = memory if isinstance(memory, AtHand) else None
        self._store = store
        self._user = user
        self._now = now
        self._number = 0
        self.told: tuple[Turn, ...] = ()  # that the host knows of and the memory does not
        # The memory's thread's alone.
        self._unkept: deque[_Waiting] = deque(maxlen=MOST_UNKEPT)

    def keep(self, answer: Answer, turn_id: Callable[[], str]) -> None:
        """Complete a turn whose words are kept already. Does not wait.

        Args:
            answer: The exchange as it ended.
            turn_id: Gives the id under which its words were kept; asked in the memory's thread,
                behind whatever writes them there now.
        """
        at = self._now()
        self._store.submit(lambda: self._take(answer.turn, turn_id(), at))

    def allowed(self) -> frozenset[str] | None:
        """What the user may be used for; the turns that wait are reduced to it.

        Called in the memory's thread.

        Returns:
            The purposes; None where the memory does not ask people.

        Raises:
            StoreError: the store cannot be read; the turns stay as they are.
        """
        allowed = allowed_of(self._memory, self._user)
        if allowed is not None and self._unkept:
            self._reduce(allowed)
        return allowed

    def recall(self, query: str) -> Recollection:
        """What memory gives, and the turns that it has not; called in the memory's thread.

        Raises:
            StoreError: the store cannot be read; the turns that wait are in `held`.
        """
        return self._with_told(self._memory.recall(self._user, query=query))

    def at_hand(self, query: str) -> Recollection | None:
        """As `recall`, on the event loop: what can be given at once; None where `recall` must be.

        A thread takes its time to wake, longer than a memory that has all in RAM. But what is to be
        written, or waits there, comes first: it may be the turn before this one.

        Raises:
            StoreError: as `recall`.
        """
        if self._quick is None or self._unkept or not self._store.is_idle:
            return None
        found = self._quick.at_hand(self._user, query=query)
        return None if found is None else self._with_told(found)

    def _with_told(self, found: Recollection) -> Recollection:
        if not (self.told or self._unkept):
            return found
        return replace(found, turns=(*self.told, *found.turns, *self.held()))

    def held(self) -> tuple[Turn, ...]:
        """The turns of which the store has nothing yet, oldest first; in the memory's thread."""
        waiting = sorted(self._unkept, key=lambda each: each.number)
        return tuple(each.turn for each in waiting if not each.turn_id)

    def forget(self, *, since: datetime | None = None) -> int:
        """Forget the turns that wait, or those since a moment; in the memory's thread.

        Returns:
            How many of which the store has nothing.
        """
        gone = [each for each in self._unkept if since is None or each.at >= since]
        for each in gone:
            self._unkept.remove(each)
        return sum(not each.turn_id for each in gone)

    def forget_last(self) -> bool:
        """Forget the last turn if it waits; whether the store has nothing of it."""
        last = next((each for each in self._unkept if each.number == self._number), None)
        if last is None:
            return False
        self._unkept.remove(last)
        return not last.turn_id

    def close(self) -> None:
        """Try what could not be kept once more."""
        self._store.submit(self._write)

    def _take(self, turn: Turn, turn_id: str, at: datetime) -> None:
        self._number += 1
        self._write(_Waiting(turn, turn_id, self._number, at))

    def _reduce(self, allowed: frozenset[str]) -> None:
        may_listen = Purpose.PROCESS_VOICE in allowed
        for each in [*self._unkept]:
            if each.turn.seconds > 0 and not may_listen:
                self._unkept.remove(each)
                continue
            each.turn = in_session(each.turn, allowed)
            each.allowed = allowed if each.allowed is None else each.allowed & allowed

    def _write(self, newest: _Waiting | None = None) -> None:
        """Write what waits, oldest first, and the newest."""
        if self._unkept:
            with contextlib.suppress(StoreError):  # then nothing can be written either
                self.allowed()  # they may have taken it back since
        if newest is not None:
            self._unkept.append(newest)
        refused = 0
        for _ in range(len(self._unkept)):
            waiting = self._unkept.popleft()
            turn = waiting.turn
            if waiting.allowed is not None:
                kept = permitted(turn, waiting.allowed)
                if kept is None:  # said under no consent that lasted: it is never written
                    continue
                turn = kept
            try:
                self._memory.remember(self._user, turn, turn_id=waiting.turn_id or None)
            except StoreError:
                # To the end: one that is refused for ever, its user erased, stands in nobody's way.
                self._unkept.append(waiting)
                refused += 1
                if refused == _TRIES:
                    break
        if self._unkept:
            log.error("%d answers could not be kept yet", len(self._unkept))
