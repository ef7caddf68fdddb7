"""Messages for one device that must arrive: in order, sent again until the broker has them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from echat_sdk.audio import Seconds

Send = Callable[[str, bytes], Awaitable[bool]]
"""Sends to a topic with QoS 1; whether the broker has it."""

_AGAIN: Seconds = 0.25


class Sending:
    """A queue of one receiver's; of more than `most`, the oldest are dropped.

    Args:
        send: How.
        most: Messages that may wait.

    Attributes:
        dropped: How many never went.
    """

    def __init__(self, send: Send, most: int) -> None:
        self._send = send
        self._most = most
        self._waiting: deque[tuple[str, bytes, Seconds]] = deque()  # bounded by `most`
        self._has_some = asyncio.Event()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self.dropped = 0

    def put(self, topic: str, payload: bytes, *, within: Seconds) -> None:
        """Send it, unless that is not possible until then."""
        if len(self._waiting) >= self._most:
            self._waiting.popleft()
            self.dropped += 1
        until = asyncio.get_running_loop().time() + within
        self._waiting.append((topic, payload, until))
        self._is_empty.clear()
        self._has_some.set()

    async def emptied(self) -> None:
        """Wait until nothing waits."""
        await self._is_empty.wait()

    async def run(self) -> None:
        """Send what there is, for ever."""
        now = asyncio.get_running_loop().time
        while True:
            while self._waiting:
                topic, payload, until = entry = self._waiting[0]
                if now() > until:
                    self.dropped += 1
                elif not await self._send(topic, payload):
                    await asyncio.sleep(_AGAIN)
                    continue
                if self._waiting and self._waiting[0] is entry:
                    self._waiting.popleft()
            self._is_empty.set()
            self._has_some.clear()
            await self._has_some.wait()
