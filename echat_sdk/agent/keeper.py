"""Completes turns behind the conversation; what a store refuses is held in RAM and tried again."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from echat_sdk.agent.exchange import Answer
from echat_sdk.bridge import Worker
from echat_sdk.errors import StoreError
from echat_sdk.protocols import Memory
from echat_sdk.turn import Recollection, Turn

log = logging.getLogger(__name__)

MOST_UNKEPT = 100
"""Answers that wait for the store; beyond that the oldest is lost."""

_TRIES = 2  # refusals after which the rest waits for the next turn: each takes its time


class Keeper:
    """Writes finished answers in the memory's thread, each in the place of its open turn.

    While the store fails, a conversation goes on: its turns wait here, the next answer is given
    them with what was recalled, and they are written when the store can be written again.

    Args:
        memory: Keeps.
        store: The memory's thread.
        user: Whose turns they are.
    """

    def __init__(self, memory: Memory, store: Worker, user: str) -> None:
        self._memory = memory
        self._store = store
        self._user = user
        self._unkept: deque[Answer] = deque(maxlen=MOST_UNKEPT)  # the memory's thread's alone

    def keep(self, answer: Answer, turn_id: Callable[[], str]) -> None:
        """Complete a turn whose words are kept already. Does not wait.

        Args:
            answer: The exchange as it ended.
            turn_id: Gives the id under which its words were kept; asked in the memory's thread,
                behind whatever writes them there now.
        """
        self._store.submit(lambda: self._write(replace(answer, turn_id=turn_id())))

    def recall(self, query: str) -> Recollection:
        """What memory gives, and the turns that wait for it; called in the memory's thread.

        Raises:
            StoreError: the store cannot be read; the turns that wait are in `held`.
        """
        found = self._memory.recall(self._user, query=query)
        return replace(found, turns=(*found.turns, *self.held())) if self._unkept else found

    def held(self) -> tuple[Turn, ...]:
        """The turns of which the store has nothing yet, oldest first; in the memory's thread."""
        return tuple(each.turn for each in self._unkept if not each.turn_id)

    def close(self) -> None:
        """Try what could not be kept once more."""
        self._store.submit(self._write, None)

    def _write(self, answer: Answer | None) -> None:
        if answer is not None:
            self._unkept.append(answer)
        refused = 0
        for _ in range(len(self._unkept)):
            waiting = self._unkept.popleft()
            try:
                self._memory.remember(self._user, waiting.turn, turn_id=waiting.turn_id or None)
            except StoreError:
                # To the end: one that is refused for ever, its user erased, stands in nobody's way.
                self._unkept.append(waiting)
                refused += 1
                if refused == _TRIES:
                    break
        if self._unkept:
            log.error("%d answers could not be kept yet", len(self._unkept))
