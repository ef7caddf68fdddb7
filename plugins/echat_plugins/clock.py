"""The time of day, and timers that ring: a plugin of tools that also speaks of its own accord."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from threading import Lock, Timer

from echat_sdk.hooks import Session
from echat_sdk.tools import Tool, tool

ECHAT_PLUGIN = {"needs": ["tool:clock", "tool:set_timer", "tool:stop_timers"]}

_MOST = 20
"""Timers at once; who asks for more is told so."""

_LONGEST = 24 * 60
"""Minutes."""


class Clock:
    """Tools are offered once for all conversations; a timer rings in those that are open then.

    Args:
        now: Gives the time of day.
    """

    def __init__(self, now: Callable[[], datetime] = datetime.now) -> None:
        self._now = now
        self._lock = Lock()  # a timer rings in a thread of its own
        self._say: dict[str, Callable[[str], None]] = {}
        self._timers: set[Timer] = set()

    def on_start(self, session: Session, say: Callable[[str], None] | None) -> None:
        """Remember how to speak in this conversation."""
        if say is not None:
            self._say[session.key] = say

    def on_end(self, session: Session) -> None:
        """Nobody is there to hear it."""
        self._say.pop(session.key, None)
        if not self._say:
            self._stop()

    def tools(self) -> Sequence[Tool]:
        """A clock that may be read at any time, and timers that are set once somebody has asked."""

        @tool(
            examples={"What time is it?": {}, "Tell me the time, please.": {}, "现在几点了？": {}},
            looks_only=True,
        )
        def clock() -> str:
            """The time of day now."""
            return f"It is {self._now():%H:%M}."

        @tool(
            examples={
                "Set a timer for ten minutes.": {"minutes": 10},
                "Wake me in an hour.": {"minutes": 60},
                "五分钟以后叫我。": {"minutes": 5},
            }
        )
        def set_timer(minutes: float) -> str:
            """Set a timer that rings after some minutes."""
            return self._set(minutes)

        @tool(examples={"Stop the timer.": {}, "Cancel all timers.": {}, "把计时器关掉。": {}})
        def stop_timers() -> str:
            """Stop all timers."""
            return "No timer was set." if not self._stop() else "The timer is off."

        return clock, set_timer, stop_timers

    def _set(self, minutes: float) -> str:
        if not 0 < minutes <= _LONGEST:
            return "A timer takes up to a day."
        with self._lock:
            if len(self._timers) >= _MOST:
                return f"There are {_MOST} timers already."
            timer = Timer(minutes * 60, self._ring, (minutes,))
            timer.daemon = True
            self._timers.add(timer)
            timer.start()
        return f"Your timer is set for {_spoken(minutes)}."

    def _ring(self, minutes: float) -> None:
        with self._lock:
            self._timers = {timer for timer in self._timers if not timer.finished.is_set()}
        for say in [*self._say.values()]:
            say(f"Your timer of {_spoken(minutes)} is up.")

    def _stop(self) -> bool:
        with self._lock:
            timers, self._timers = self._timers, set()
        for timer in timers:
            timer.cancel()
        return bool(timers)


def _spoken(minutes: float) -> str:
    if minutes < 1:
        return f"{round(60 * minutes)} seconds"
    return "one minute" if minutes == 1 else f"{minutes:g} minutes"
