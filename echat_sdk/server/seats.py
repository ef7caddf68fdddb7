"""How many are served at once: seats are taken before anything is opened, and given back."""

from __future__ import annotations

import asyncio
from collections import Counter
from enum import StrEnum


class Refusal(StrEnum):
    """Why there is no seat."""

    DRAINING = "draining"
    FULL = "full"
    KEY_FULL = "key_full"


IN_WORDS = {
    Refusal.DRAINING: "the server is ending; try again in a moment, or elsewhere",
    Refusal.FULL: "the server is full; try again in a moment",
    Refusal.KEY_FULL: "this key has as many open as it may; end one first",
}
"""What a refused caller is told."""


class Seats:
    """So many for all, so many for one key. Used from the event loop's thread."""

    def __init__(self, most: int, most_per_key: int) -> None:
        """Make free seats.

        Args:
            most: Of all.
            most_per_key: That one key may take of them.
        """
        self._most, self._most_per_key = most, most_per_key
        self._taken: Counter[str] = Counter()
        self._is_draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def taken(self) -> int:
        """How many there are taken."""
        return self._taken.total()

    @property
    def is_draining(self) -> bool:
        """Whether no more are given."""
        return self._is_draining

    def take(self, key: str) -> Refusal | None:
        """Take one for a key; or why there is none. Who got one must `leave`."""
        if self._is_draining:
            return Refusal.DRAINING
        if self._taken[key] >= self._most_per_key:
            return Refusal.KEY_FULL
        if self.taken >= self._most:
            return Refusal.FULL
        self._taken[key] += 1
        self._empty.clear()
        return None

    def leave(self, key: str) -> None:
        """Give back one that `take` gave."""
        self._taken[key] -= 1
        if self._taken[key] <= 0:
            del self._taken[key]
        if not self._taken:
            self._empty.set()

    def drain(self) -> None:
        """Give no more; who sits stays."""
        self._is_draining = True

    async def emptied(self) -> None:
        """Wait until nobody sits."""
        await self._empty.wait()
