"""An event loop whose clock jumps: an hour of conversation in a second, and always the same.

When nothing is ready and no thread is at work, the clock goes to the next timer at once. Work in a
thread takes no time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

from echat_sdk.audio import Seconds

T = TypeVar("T")

_PATIENCE: Seconds = 10.0  # real time that a thread may take before we say that it hangs


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop for tests: `loop.time()` and every sleep and deadline are virtual.

    Threads that `run_in_executor` starts are waited for in real time, with the clock standing.

    Raises:
        RuntimeError: nothing is left that could ever happen, or a thread hangs.
    """

    def __init__(self) -> None:
        self._at: Seconds = 0.0
        self._in_threads = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> Seconds:
        """Virtual seconds since the loop was made."""
        return self._at

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """As asyncio's; the clock stands until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._in_threads += 1
        future.add_done_callback(self._came_back)
        return future

    def _came_back(self, _: object) -> None:
        self._in_threads -= 1


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: Seconds | None = None) -> Any:
        loop = self._loop
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if loop._in_threads:
            ready = super().select(_PATIENCE)
            if not ready:
                raise RuntimeError(f"a thread has not come back for {_PATIENCE:.0f} s")
            return ready
        if timeout is None:
            raise RuntimeError("every task waits, and nothing is left that could wake one")
        loop._at += timeout
        return []


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
