"""The one door between a worker thread and the event loop.

Why one thread a worker: what runs in it never meets itself, so a model's decoding and a store's
connection need no locks, and what was abandoned is always released before the next thing starts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

from echat_sdk.errors import EChatError

log = logging.getLogger(__name__)

T = TypeVar("T")

_END: Any = object()


class Worker:
    """A named thread that does blocking work for the event loop, one thing at a time.

    There is no queue to overflow: the thread makes the next item only when it is asked for, so a
    slow consumer slows the producer.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

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
            if isinstance(iterator, Generator):
                self.submit(iterator.close)

    def close(self) -> None:
        """Finish what is running, drop what waits, and end the thread."""
        self._executor.shutdown(wait=True, cancel_futures=False)
