"""The one door between a worker thread and the event loop.

Why one thread a worker: what runs in it never meets itself, so a model's decoding and a store's
connection need no locks, and what was abandoned is always released before the next thing starts.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import logging
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast
from weakref import WeakSet

from echat_sdk.audio import Seconds
from echat_sdk.errors import EChatError

log = logging.getLogger(__name__)

T = TypeVar("T")

_END: Any = object()
_LOOK: Seconds = 0.005
_LAST: Seconds = 1.0  # what the interpreter waits for threads that were left behind


def settled(within: Seconds) -> bool:
    """Wait until no worker's thread is busy, at most so long; whether that came.

    To be asked before the interpreter ends: a thread that comes back from native code meanwhile
    takes the whole process down with it ("terminate called without an active exception").
    """
    deadline = time.monotonic() + within
    while any(thread.is_busy for thread in _threads):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK)
    return True


class Worker:
    """A named thread that does blocking work for the event loop, one thing at a time.

    There is no queue to overflow: the thread makes the next item only when it is asked for, so a
    slow consumer slows the producer.
    """

    def __init__(self, name: str) -> None:
        self._executor = _OneThread(name)
        self._is_abandoned = False

    @property
    def is_idle(self) -> bool:
        """Whether the thread does nothing, and nothing waits for it."""
        return not self._executor.is_busy

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Run `function` in the thread and await what it returns or raises."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)

    def submit(self, function: Callable[..., object], *args: Any) -> None:
        """Run `function` in the thread after what is there already, and do not wait for it."""

        def run() -> None:
            try:
                function(*args)
            except EChatError as error:
                log.error("work that nobody waits for failed: %s", type(error).__name__)

        self._executor.submit(run)

    async def iterate(self, make: Callable[[], Iterator[T]]) -> AsyncGenerator[T]:
        """Run an iterator in the thread. Closing this generator closes it there.

        Use it inside `contextlib.aclosing`: to interrupt is to stop iterating.
        """
        iterator = await self.call(make)
        try:
            while (item := await self.call(next, iterator, _END)) is not _END:
                yield cast("T", item)
        finally:
            # Not awaited: a cancelled task only releases. The thread comes to it after the item
            # that it is busy with, and before anything asked of it later.
            if isinstance(iterator, Generator) and not self._is_abandoned:
                self.submit(iterator.close)

    def close(self, within: Seconds | None = None) -> None:
        """Finish what is running and what waits, and end the thread. Blocks until then.

        Args:
            within: How long is waited at most; then the thread is abandoned.
        """
        self._executor.shutdown(wait=False)
        if not self._executor.ended(within):
            self._leave_behind()

    async def closed(self, within: Seconds) -> bool:
        """As `close`, without holding up the event loop; whether the thread has ended."""
        self._executor.shutdown(wait=False)
        deadline = time.monotonic() + within  # of the thread, which knows no virtual time
        while not self._executor.ended(0):
            if time.monotonic() > deadline:
                self._leave_behind()
                return False
            await asyncio.sleep(_LOOK)
        return True

    def let_go(self) -> None:
        """End the thread once it has done what waits in it, and do not wait for that."""
        self._executor.shutdown(wait=False)

    def _leave_behind(self) -> None:
        log.error("the worker %s hangs and is left behind", self._executor.name)
        self.abandon()

    async def keep(self, function: Callable[..., T], *args: Any) -> T:
        """As `call`, for what must be done: who is cancelled meanwhile does not take it back."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, function, *args)
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # it was seen
        await asyncio.wait([future])
        return future.result()

    def abandon(self) -> None:
        """Leave the thread to itself: what hangs in it can hold up neither us nor our end."""
        self._is_abandoned = True
        self._executor.shutdown(wait=False, cancel_futures=True)

    def break_off(self) -> None:
        """Raise `SystemExit` in what is running, as soon as it runs Python; for who was abandoned.

        Native code is not reached, and code that catches everything is not stopped.
        """
        self._executor.break_off()


class Workers:
    """So many threads, each for one piece of work at a time. Used from the event loop.

    Args:
        most: How many.
        name: Begins their names.
    """

    def __init__(self, most: int, name: str) -> None:
        self._free = asyncio.Semaphore(most)
        self._name = name
        self._idle: list[Worker] = []
        self._all: list[Worker] = []

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Worker]:
        """A thread to work in, once one is free."""
        await self._free.acquire()
        worker = self._idle.pop() if self._idle else self._new()
        back = asyncio.get_running_loop().call_soon_threadsafe
        try:
            yield worker
        finally:
            # Who is cancelled leaves at once. The thread is free when native code has come back.
            worker.submit(back, self._back, worker)

    def let_go(self) -> None:
        """End the threads once they have done what waits in them, and do not wait for that."""
        for worker in self._all:
            worker.let_go()

    def _new(self) -> Worker:
        worker = Worker(f"{self._name}-{len(self._all) + 1}")
        self._all.append(worker)
        return worker

    def _back(self, worker: Worker) -> None:
        self._idle.append(worker)
        self._free.release()


class _OneThread(Executor):
    """One thread that does not keep the process alive, unlike those of a `ThreadPoolExecutor`."""

    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._is_shut = False
        self.is_busy = False
        _threads.add(self)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        with self._lock:
            if self._is_shut:
                raise RuntimeError(f"the worker {self._thread.name} is closed")
            self.is_busy = True
            self._work.put((future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            if cancel_futures:
                with suppress(Empty):
                    while True:
                        if (waiting := self._work.get_nowait()) is not None:
                            waiting[0].cancel()
            # Once more where it was shut already: the mark may have been among what waited.
            if not self._is_shut or cancel_futures:
                self._is_shut = True
                self._work.put(None)
        if wait:
            self._thread.join()

    @property
    def name(self) -> str:
        """Of the thread."""
        return self._thread.name

    def ended(self, within: Seconds | None) -> bool:
        """Wait for the thread's end, at most so long; whether it came."""
        self._thread.join(within)
        return not self._thread.is_alive()

    def break_off(self) -> None:
        if self.is_busy and self._thread.ident is not None:
            ident = ctypes.c_ulong(self._thread.ident)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(SystemExit))

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            future, function = work
            if future.set_running_or_notify_cancel():
                try:
                    result = function()
                except BaseException as error:  # noqa: BLE001 - who waits for the future gets it
                    future.set_exception(error)
                else:
                    future.set_result(result)
                    del result
            del work, future, function
            with self._lock:
                self.is_busy = not self._work.empty()
        self.is_busy = False


_threads: WeakSet[_OneThread] = WeakSet()
atexit.register(settled, _LAST)
