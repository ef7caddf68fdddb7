"""All calls of a server: each has a seat, belongs to who made it, and ends with the server."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from echat_sdk.bridge import Worker
from echat_sdk.server.limits import Limits
from echat_sdk.server.logs import where
from echat_sdk.server.observer import Observer, Silence
from echat_sdk.server.seats import Refusal, Seats
from echat_sdk.server.webrtc.call import Call

if TYPE_CHECKING:
    from echat_sdk.agent.service import Service
    from echat_sdk.server.caller import Caller
    from echat_sdk.server.webrtc.offer import Offer

log = logging.getLogger(__name__)


class NoSeat(Exception):
    """There is no room for a call.

    Attributes:
        why: Why not.
    """

    def __init__(self, why: Refusal) -> None:
        super().__init__(why)
        self.why = why


class Calls:
    """Takes calls while it is open.

    Args:
        service: What is served.
        limits: Caps.
        observer: Told of calls, as of other sessions.
        address: Of this machine, where calls are taken; empty for the one that a caller reached.
    """

    def __init__(
        self,
        service: Service,
        limits: Limits | None = None,
        observer: Observer | None = None,
        address: str = "",
    ) -> None:
        self.service = service
        self.address = address
        self._limits = limits or Limits()
        self._observer = observer or Silence()
        self._opening = Worker("echat-opening")
        self._calls: dict[str, Call] = {}
        self._group: asyncio.TaskGroup | None = None
        self._seats = Seats(self._limits.sessions, self._limits.sessions_per_key)

    @asynccontextmanager
    async def open(self, seats: Seats) -> AsyncIterator[None]:
        """Take calls until the end; those that are left then are hung up.

        Args:
            seats: Of sessions, however they are held.
        """
        self._seats = seats
        async with asyncio.TaskGroup() as self._group:
            try:
                yield
            finally:
                self._group, calls = None, list(self._calls.values())
                for call in calls:
                    call.end()

    async def take(self, caller: Caller, model: str, offer: Offer, address: str) -> tuple[str, str]:
        """Answer an offer; the id of the call, and our SDP.

        Args:
            caller: Who calls.
            model: As they called it.
            offer: Theirs.
            address: That they reached.

        Raises:
            NoSeat: there is no room for it.
            Fault: the offer cannot be taken.
        """
        if self._group is None:
            raise NoSeat(Refusal.DRAINING)
        if (why := self._seats.take(caller.key)) is not None:
            self._observer.refused(why)
            raise NoSeat(why)
        call = Call(self.service, caller, model, self._limits, self._observer, self._opening)
        is_taken = False
        try:
            sdp = await call.answer(offer, self.address or address)
            if self._group is None:
                raise NoSeat(Refusal.DRAINING)
            self._calls[call.id] = call
            self._group.create_task(self._run(call), name="echat-call")
            is_taken = True
        finally:
            if not is_taken:
                self._seats.leave(caller.key)
                await call.close()
        return call.id, sdp

    def hang_up(self, caller: Caller, call_id: str) -> bool:
        """End a call; whether there is one of this caller's by that id."""
        call = self._calls.get(call_id)
        if call is None or (call.caller.key, call.caller.user) != (caller.key, caller.user):
            return False
        call.end()
        return True

    async def _run(self, call: Call) -> None:
        began = time.monotonic()
        self._observer.session_began()
        try:
            await call.run()
        except Exception as error:  # noqa: BLE001 - one call's end is not that of the others
            self._observer.error(type(error).__name__)
            log.error("a call failed: %s", where(error))
        finally:
            del self._calls[call.id]
            self._seats.leave(call.caller.key)
            self._observer.session_ended(time.monotonic() - began)
