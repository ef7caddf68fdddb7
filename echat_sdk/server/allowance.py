"""So much at once, and so much a second from then on: the token bucket."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from echat_sdk.audio import Seconds


class Allowance:
    """What one party may still use of something."""

    def __init__(
        self, rate: float, burst: float, now: Callable[[], Seconds] = time.monotonic
    ) -> None:
        """Make a full one.

        Args:
            rate: How much comes back a second.
            burst: How much there is at most.
            now: A clock that never goes back.
        """
        self._rate, self._burst, self._now = rate, burst, now
        self._left, self._at = burst, now()

    def take(self, amount: float = 1.0) -> bool:
        """Use some; False, and nothing is used, where there is not enough."""
        now = self._now()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if amount > self._left:
            return False
        self._left -= amount
        return True


class Allowances:
    """One `Allowance` for each of many parties; of too many, who came longest ago starts anew."""

    def __init__(
        self, rate: float, burst: float, most: int, now: Callable[[], Seconds] = time.monotonic
    ) -> None:
        """Make a table.

        Args:
            rate: As of `Allowance`.
            burst: As of `Allowance`.
            most: Parties that are kept.
            now: As of `Allowance`.
        """
        self._rate, self._burst, self._most, self._now = rate, burst, most, now
        self._of: OrderedDict[str, Allowance] = OrderedDict()

    def __len__(self) -> int:
        return len(self._of)

    def take(self, party: str, amount: float = 1.0) -> bool:
        """As `Allowance.take`, of one party."""
        found = self._of.get(party)
        if found is None:
            found = self._of[party] = Allowance(self._rate, self._burst, self._now)
            if len(self._of) > self._most:
                self._of.popitem(last=False)
        self._of.move_to_end(party)
        return found.take(amount)
