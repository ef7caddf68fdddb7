"""`/healthz`: the process answers. `/readyz`: it would take a session now, and could keep it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse
from starlette.routing import Route

from echat_sdk.bridge import Worker
from echat_sdk.errors import EChatError
from echat_sdk.protocols import Consenting

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from echat_sdk.audio import Seconds
    from echat_sdk.protocols import Memory
    from echat_sdk.server.seats import Seats

_FRESH: Seconds = 2.0  # how long an answer counts, so that asking often costs nothing
_PATIENCE: Seconds = 2.0  # with the store
_NOBODY = "echat readyz"


class Health:
    """Tells whether a server lives, and whether it is ready."""

    def __init__(
        self, memory: Memory, sessions: Seats, now: Callable[[], Seconds] = time.monotonic
    ) -> None:
        """Watch a server.

        Args:
            memory: Must be readable.
            sessions: Are given no more while it drains.
            now: A clock that never goes back.
        """
        self._memory, self._sessions, self._now = memory, sessions, now
        self._worker: Worker | None = None
        self._looking: asyncio.Lock = asyncio.Lock()
        self._found = ""
        self._at = float("-inf")

    async def problem(self) -> str:
        """What is wrong, in one word: `draining` or `store`; empty where it is ready."""
        if self._sessions.is_draining:
            return "draining"
        async with self._looking:
            if self._now() - self._at >= _FRESH:
                self._found = await self._look()
                self._at = self._now()
        return self._found

    def routes(self) -> list[Route]:
        """`/healthz` and `/readyz`; both are public."""

        async def healthz(_: Request) -> JSONResponse:
            return JSONResponse({"status": "ok"})

        async def readyz(_: Request) -> JSONResponse:
            problem = await self.problem()
            return JSONResponse({"status": problem or "ready"}, 503 if problem else 200)

        return [
            Route("/healthz", healthz, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
        ]

    def close(self) -> None:
        """End the thread, and do not wait for a store that hangs."""
        if self._worker is not None:
            self._worker.abandon()

    async def _look(self) -> str:
        if self._worker is None:
            self._worker = Worker("readyz")
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._worker.call(_read, self._memory)
        except TimeoutError:
            # What hangs in the thread may hang for ever; the next look gets one of its own.
            self._worker.abandon()
            self._worker = None
            return "store"
        except EChatError:
            return "store"
        return ""


def _read(memory: Memory) -> None:
    if isinstance(memory, Consenting):
        memory.allowed(_NOBODY)
    else:
        memory.pauses(_NOBODY)
