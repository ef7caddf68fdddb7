"""A plugin in a process of its own, as `Plugins` takes it: it has the hooks that the other has."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

from echat_sdk.audio import Seconds
from echat_sdk.errors import PluginError, PluginGoneError
from echat_sdk.hooks.isolation import values
from echat_sdk.hooks.isolation.confinement import MEMORY
from echat_sdk.hooks.isolation.described import Described, Hook, described, tools
from echat_sdk.hooks.isolation.process import END_WITHIN, START_WITHIN, Process, What
from echat_sdk.hooks.spec import TOLD_WITHIN, Hooks, hookimpl
from echat_sdk.tools import Tool

log = logging.getLogger(__name__)

RESTARTS = 3
WITHIN: Seconds = 60.0
"""So often in so long is a process started again; then it is left."""

_TOLD: Seconds = TOLD_WITHIN - 0.1  # before its thread would be given up
_ASKED: Seconds = 1.0
"""Who is asked has no say after `spec.ASKED_WITHIN`, and is killed only after this."""

_LOOK: Seconds = 0.01


class Isolated:
    """A plugin in a child process; given to an agent, or to `Plugins`, like any other.

    Its hooks are called in its thread, and block there on the pipe, each for a time: who does not
    answer within 2 s (1 s where an answer waits for it) is killed. The process is started again at
    once, three times within a minute at most. Meanwhile what it is told waits for it, and it has no
    say. What it may read is taken out of values before they are written to the pipe.

    Makes a process, and blocks until that has its plugin: 5 s at most. Only on Linux.

    Args:
        name: The plugin's.
        module: By which name it is imported, or its file.
        attribute: What it is in the module: an object, or a class that is called with the options.
        options: What it is made with: JSON.
        path: Where the process finds modules; where this one finds them, if None.
        memory: Bytes of address space that it may have.
        network: Whether it may reach the Internet.

    Raises:
        PluginError: its process, its module or its constructor failed, or it is no plugin.
    """

    def __init__(
        self,
        name: str,
        module: str | Path,
        attribute: str,
        *,
        options: Mapping[str, Any] | None = None,
        path: Sequence[str] | None = None,
        memory: int = MEMORY,
        network: bool = False,
    ) -> None:
        if sys.platform != "linux":
            raise PluginError(f"plugin {name} runs in a process of its own, which needs Linux")
        self.name = name
        self._what = What(
            name,
            module.stem if isinstance(module, Path) else module,
            attribute,
            module if isinstance(module, Path) else None,
            options or {},
            tuple(each or os.getcwd() for each in (sys.path if path is None else path)),
            memory,
            network,
        )
        self._changed = threading.Condition()
        self._process: Process | None = None
        self._is_ready = self._is_closed = self._is_out = False
        self._described: Described | None = None
        self._trouble: PluginError | None = None
        self._ended: deque[Seconds] = deque(maxlen=RESTARTS + 1)
        self._printed: tuple[str, ...] = ()
        self._thread = threading.Thread(
            target=self._supervise, name=f"echat-isolated-{name}", daemon=True
        )
        self._thread.start()
        try:
            found = self._first()
            self._tools = tools(name, found, self._run)
        except PluginError:
            self.close()
            raise
        self.confined = found.confined
        """What keeps it in; see `confinement`."""
        for hook, how in found.hooks.items():
            setattr(self, hook, self._function(hook, how))

    def tools(self) -> Sequence[Tool]:
        """The functions that it offers, run in its process."""
        return self._tools

    @property
    def printed(self) -> tuple[str, ...]:
        """The last lines that it printed; they may hold what somebody said: never for a log."""
        with self._changed:
            return self._process.printed if self._process is not None else self._printed

    @property
    def is_over(self) -> bool:
        """Whether there is no process of it, and will be none."""
        return not self._thread.is_alive()

    def close(self) -> None:
        """Have its process end for good, within a second; does not wait for that."""
        with self._changed:
            self._is_closed = self._is_out = True
            self._is_ready = False
            process = self._process
            self._changed.notify_all()
        if process is not None:
            process.end()

    async def closed(self) -> None:
        """As `close`; waits for it."""
        self.close()
        by = time.monotonic() + 2 * END_WITHIN  # of the process, which knows no virtual time
        while not self.is_over:
            if time.monotonic() > by:
                log.error("the process of plugin %s cannot be ended", self.name)
                return
            await asyncio.sleep(_LOOK)

    # --- called -----------------------------------------------------------------------------------

    def _function(self, hook: str, how: Hook) -> Callable[..., Any]:
        # It takes all that there is, as the hook is specified, and tells of it what is taken there.
        @wraps(getattr(Hooks, hook))
        def function(**given: Any) -> Any:
            is_told = hook.startswith("on_")
            told = {name: values.rendered(given[name]) for name in how.takes}
            within = _TOLD if is_told else _ASKED
            by = time.monotonic() + within
            if (process := self._living(by, waits=is_told)) is None:
                return None
            left = max(0.0, by - time.monotonic())
            asked = {"hook": hook, "values": told, "within": left}
            said = process.call("hooks", asked, left)
            try:
                return values.answer(hook, said)
            except ValueError as error:
                raise PluginError(f"plugin {self.name} answers {hook} with what is none") from error

        return hookimpl(tryfirst=how.tryfirst, trylast=how.trylast)(function)

    def _run(self, tool: str, arguments: Mapping[str, object], within: Seconds) -> object:
        by = time.monotonic() + within
        process = self._living(by, waits=True)
        assert process is not None
        left = max(0.0, by - time.monotonic())
        asked = {"tool": tool, "arguments": dict(arguments), "within": left}
        return process.call("tools", asked, left)

    def _first(self) -> Described:
        """What the first process of it says.

        Raises:
            PluginError: there was none.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_ready or self._is_out, 2 * START_WITHIN)
            if self._described is None:
                raise self._trouble or PluginError(f"plugin {self.name} does not start")
            return self._described

    def _living(self, by: Seconds, *, waits: bool) -> Process | None:
        """Its process; None if there is none just now, and nobody waits for it.

        Raises:
            PluginGoneError: there will be none.
            TimeoutError: it did not come.
        """
        with self._changed:
            if waits:
                left = max(0.0, by - time.monotonic())
                if not self._changed.wait_for(lambda: self._called() or self._is_out, left):
                    raise TimeoutError(f"plugin {self.name} is starting")
            if self._is_out:
                raise PluginGoneError(f"the process of plugin {self.name} has ended for good")
            return self._called()

    def _called(self) -> Process | None:
        """The process that may be called; None where it is starting, or was killed just now."""
        process = self._process if self._is_ready else None
        return None if process is None or process.is_dying else process

    # --- in its own thread, with which the process would end --------------------------------------

    def _supervise(self) -> None:
        try:
            while self._lives_once():
                pass
        finally:
            with self._changed:
                self._is_out = True
                self._is_ready = False
                self._changed.notify_all()

    def _lives_once(self) -> bool:
        """Start it and wait for its end; whether it is to be started again."""
        try:
            process = Process(self._what)
        except OSError as error:
            self._trouble = PluginError(f"plugin {self.name} cannot be started: {error}")
            return self._may_start_again("it cannot be started")
        with self._changed:
            self._process = process
            is_closed = self._is_closed
        if is_closed:
            process.end()
        try:
            said = process.call("hooks", self._what.first_line(), START_WITHIN)
            found = described(self.name, said)
        except TimeoutError:
            why = f"it did not start within {START_WITHIN:g} s"
            self._trouble = PluginError(f"plugin {self.name}: {why}")
            process.kill(why)
        except PluginError as error:
            self._trouble = error
            process.kill("it did not start")
        else:
            with self._changed:
                self._described = self._described or found
                self._is_ready = not self._is_closed
                self._changed.notify_all()
        how = process.wait()
        with self._changed:
            self._is_ready = False
            self._process = None
            self._printed = process.printed
        return self._may_start_again(how)

    def _may_start_again(self, how: str) -> bool:
        with self._changed:
            if self._is_closed or self._described is None:
                return False
        now = time.monotonic()
        self._ended.append(now)
        if len(self._ended) > RESTARTS and now - self._ended[0] <= WITHIN:
            log.error("the process of plugin %s ended too often and is left: %s", self.name, how)
            return False
        log.warning("the process of plugin %s has ended and is started again: %s", self.name, how)
        return True
