"""A few threads for the model, which requests wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from echat_sdk.bridge import Worker


class Threads:
    """So many requests at once; the others wait, as many as there are connections.

    Args:
        most: How many.
    """

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)
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

    def close(self) -> None:
        """Leave the threads to themselves."""
        for worker in self._all:
            worker.let_go()

    def _new(self) -> Worker:
        worker = Worker(f"echat-wyoming-{len(self._all) + 1}")
        self._all.append(worker)
        return worker

    def _back(self, worker: Worker) -> None:
        self._idle.append(worker)
        self._free.release()
