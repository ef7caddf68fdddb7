"""One plugin behind a thread of its own: a bounded queue, a deadline for each call, a breaker."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from echat_sdk.audio import Seconds
from echat_sdk.bridge import Worker
from echat_sdk.errors import PluginError, PluginGoneError
from echat_sdk.hooks.isolation.isolated import Isolated
from echat_sdk.hooks.spec import ASKED_WITHIN, TOLD_WITHIN

log = logging.getLogger(__name__)

MOST_WAITING = 256
"""Calls of one plugin that wait; beyond that the oldest are dropped."""

FAILURES = 3
WITHIN: Seconds = 60.0
"""So many failures in so long, and a plugin rests for as long."""

_GRACE: Seconds = 0.5  # an `async` hook is cancelled at its deadline, and has so long to heed it

Values = Mapping[str, Any]


class Condition(StrEnum):
    """How a plugin is."""

    WORKS = "works"
    RESTS = "rests"
    OUT = "out"


@dataclass(frozen=True, slots=True)
class Health:
    """How a plugin has done.

    Attributes:
        condition: Whether it is called.
        failures: Calls that raised or were late, so far.
        dropped: Calls that it was too slow for.
        why: What went wrong last: a type and a hook, and no words of anybody.
    """

    condition: Condition = Condition.WORKS
    failures: int = 0
    dropped: int = 0
    why: str = ""


class Contained:
    """A plugin's hooks, called one at a time in its thread. Used from any thread.

    What does not come back within its time is broken off where it runs Python, left behind where it
    hangs in native code, and called no more: that is all that can be done in one process.

    Args:
        name: The plugin's.
        clock: Seconds, rising.
        process: It, if it is in a process of its own; ended with it.
    """

    def __init__(
        self,
        name: str,
        clock: Callable[[], Seconds] = time.monotonic,
        process: Isolated | None = None,
    ) -> None:
        self.name = name
        self._clock = clock
        self._process = process
        self._worker = Worker(f"echat-plugin-{name}")
        self._loop: asyncio.Runner | None = None  # of its `async` hooks, in its thread
        self._waiting: deque[tuple[Callable[..., Any], str, Values]] = deque()
        self._began: Seconds | None = None  # the call that runs now
        self._failed: deque[Seconds] = deque(maxlen=FAILURES)
        self._rests_until: Seconds = 0.0
        self._failures = self._dropped = 0
        self._why = ""
        self._is_out = self._is_closed = False

    @property
    def health(self) -> Health:
        """How it has done."""
        return Health(self._condition(), self._failures, self._dropped, self._why)

    def tell(self, function: Callable[..., Any], hook: str, values: Values) -> None:
        """Call a hook when its turn comes, and do not wait for it."""
        if self._condition() is not Condition.WORKS or self._is_closed:
            return
        self._waiting.append((function, hook, values))
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            self._dropped += 1
        else:
            self._worker.submit(self._next)

    async def ask(self, function: Callable[..., Any], hook: str, values: Values) -> Any:
        """What a hook says; None where it fails, is late, or is not to be asked now."""
        if self._condition() is not Condition.WORKS or self._is_closed or self.takes_long:
            return None
        try:
            async with asyncio.timeout(ASKED_WITHIN):
                return await self._worker.call(self._call, function, hook, values, ASKED_WITHIN)
        except TimeoutError:
            self._fail(hook, "it was late")
        except PluginError:
            pass  # was counted
        return None

    def close(self) -> None:
        """Call it no more, once it was told what waits; see `ended`."""
        if not self._is_out and not self._is_closed:
            self._is_closed = True
            self._worker.submit(self._end)
            self._worker.let_go()

    async def ended(self, within: Seconds) -> None:
        """Wait at most so long until it was told all; then for the end of its process."""
        if not self._is_out:
            await self._worker.closed(within)
        if self._process is not None:
            await self._process.closed()

    # --- in its thread ----------------------------------------------------------------------------

    def _next(self) -> None:
        try:
            function, hook, values = self._waiting.popleft()
        except IndexError:
            return
        with suppress(PluginError):  # it was counted
            self._call(function, hook, values, TOLD_WITHIN)

    def _call(
        self, function: Callable[..., Any], hook: str, values: Values, within: Seconds
    ) -> Any:
        """Call it now.

        Raises:
            PluginError: it failed.
        """
        self._began = self._clock()
        try:
            if inspect.iscoroutinefunction(function):
                self._loop = self._loop or asyncio.Runner()
                return self._loop.run(_in_time(function, values, within))
            return function(**values)
        except (Exception, SystemExit) as error:
            # Its message may hold what somebody said.
            if isinstance(error, PluginGoneError):
                self._leave("its process has ended for good")
            else:
                self._fail(hook, "it was late" if _is_late(error) else type(error).__name__)
            raise PluginError(f"the plugin {self.name} failed in {hook}") from error
        finally:
            self._began = None

    def _end(self) -> None:
        if self._loop is not None:
            self._loop.close()
        if self._process is not None:
            self._process.close()

    # --- how it does ------------------------------------------------------------------------------

    @property
    def takes_long(self) -> bool:
        """Whether a call has run for longer than one that is waited for may."""
        began = self._began
        return began is not None and self._clock() - began > ASKED_WITHIN and not self._is_out

    def look(self) -> None:
        """See whether a call does not come back."""
        began = self._began
        if not self._is_out and began is not None and self._clock() - began > TOLD_WITHIN + _GRACE:
            self._shut_out()

    def _condition(self) -> Condition:
        if self._is_out:
            return Condition.OUT
        return Condition.RESTS if self._clock() < self._rests_until else Condition.WORKS

    def _fail(self, hook: str, why: str) -> None:
        now = self._clock()
        self._failures += 1
        self._why = f"{hook}: {why}"
        self._failed.append(now)
        log.warning("the plugin %s failed in %s: %s", self.name, hook, why)
        if len(self._failed) == FAILURES and now - self._failed[0] <= WITHIN:
            self._failed.clear()
            self._rests_until = now + WITHIN
            self._waiting.clear()
            log.error("the plugin %s rests for %.0f s: it failed too often", self.name, WITHIN)

    def _shut_out(self) -> None:
        self._leave("it does not come back")
        self._worker.break_off()
        log.error("the plugin %s does not come back and is called no more", self.name)

    def _leave(self, why: str) -> None:
        self._is_out = True
        self._why = why
        self._waiting.clear()
        self._worker.abandon()
        if self._process is not None:
            self._process.close()


async def _in_time(function: Callable[..., Any], values: Values, within: Seconds) -> Any:
    async with asyncio.timeout(within):
        return await function(**values)


def _is_late(error: BaseException) -> bool:
    return isinstance(error, TimeoutError)
