"""Frames as they were sent, out of frames as they came. Pure: its caller tells the time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from echat_sdk.audio import Seconds

T = TypeVar("T")

MOST_CONCEALED = 10
"""Of a longer run of lost frames no more than these are made up for."""


class JitterBuffer(Generic[T]):
    """Puts frames in order, each once, and tells which are lost.

    A frame that is next is given at once. Where one is missing, those after it wait for it, up to
    `hold`, then it is lost. What is older than what was given, or was there already, is dropped; so
    is what lies `reach` or more ahead, which no sender of ours sends.

    Args:
        hold: How long is waited for a frame that is missing.
        most: Frames that may wait. One more, and what is missing is lost at once.
        reach: As said above.

    Attributes:
        dropped: Frames that came and were not taken.
        lost: Frames that never came in time.
    """

    def __init__(self, hold: Seconds, *, most: int = 25, reach: int = 3000) -> None:
        self._hold = hold
        self._most = most
        self._reach = reach
        self._next = 0
        self._waiting: dict[int, tuple[Seconds, T]] = {}  # bounded by `most`
        self.dropped = 0
        self.lost = 0

    def push(self, sequence: int, frame: T, now: Seconds) -> bool:
        """Take a frame; whether it was taken."""
        is_late = sequence < self._next or sequence >= self._next + self._reach
        if is_late or sequence in self._waiting:
            self.dropped += 1
            return False
        self._waiting[sequence] = (now, frame)
        return True

    def ready(self, now: Seconds) -> Iterator[T | None]:
        """What is to be heard now, in order; None for a frame that is lost."""
        while self._waiting:
            if self._next in self._waiting:
                yield self._waiting.pop(self._next)[1]
                self._next += 1
                continue
            if len(self._waiting) <= self._most and now < self._gives_up():
                return
            first = min(self._waiting)
            missing, self._next = first - self._next, first
            self.lost += missing
            for _ in range(min(missing, MOST_CONCEALED)):
                yield None

    def due(self) -> Seconds | None:
        """When more is ready even if nothing comes; None where nothing waits."""
        return self._gives_up() if self._waiting else None

    def _gives_up(self) -> Seconds:
        return min(at for at, _ in self._waiting.values()) + self._hold
