"""Room for requests: some are worked on, some wait, the rest are told to come again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager

from echat_sdk.bridge import Worker, Workers
from echat_sdk.server.rest.limits import RestLimits
from echat_sdk.server.rest.refusal import Refusal


class Places:
    """A bounded queue before a few threads. Used from the event loop.

    Args:
        limits: How many.
    """

    def __init__(self, limits: RestLimits) -> None:
        self._limits = limits
        self._taken: Counter[str] = Counter()  # places, by key
        self._threads = Workers(limits.threads, "echat-rest")

    @contextmanager
    def place(self, key: str) -> Iterator[None]:
        """A place for one request of a key, from before its body is read until it is answered.

        Raises:
            Refusal: there is none.
        """
        if self._taken[key] >= self._limits.per_key:
            raise Refusal(
                429,
                f"this key has {self._limits.per_key} requests on their way; wait for one of them",
                code="rate_limit_exceeded",
            )
        if self._taken.total() >= self._limits.threads + self._limits.waiting:
            raise Refusal(503, "the server is busy; try again in a moment", code="overloaded")
        self._taken[key] += 1
        try:
            yield
        finally:
            self._taken[key] -= 1
            self._taken += Counter()  # drops keys without a place

    def thread(self) -> AbstractAsyncContextManager[Worker]:
        """A thread to work in, once one is free."""
        return self._threads.one()
