"""Room: a session or a request gets a seat before anything is opened for it, and gives it back."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from echat_sdk.server.refusals import refuse
from echat_sdk.server.seats import IN_WORDS, Refusal

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from echat_sdk.server.caller import Caller
    from echat_sdk.server.limits import Limits
    from echat_sdk.server.observer import Observer
    from echat_sdk.server.seats import Seats

_TRY_AGAIN = 1013
_RETRY_AFTER = {"retry-after": "5"}


class Admission:
    """ASGI middleware behind the door. Who is public, and has no caller, needs no seat."""

    def __init__(
        self, app: ASGIApp, sessions: Seats, requests: Seats, limits: Limits, observer: Observer
    ) -> None:
        """Stand between the door and what it leads to.

        Args:
            app: What it leads to.
            sessions: Seats of WebSockets.
            requests: Seats of everything else.
            limits: For how long a body may come.
            observer: Told of sessions, and of who found no seat.
        """
        self._app, self._sessions, self._requests = app, sessions, requests
        self._limits, self._observer = limits, observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give a seat, or tell that there is none."""
        if scope["type"] == "http":
            receive = _in_time(receive, self._limits.upload_seconds)
        caller: Caller | None = scope.get("state", {}).get("caller")
        if caller is None or scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        seats = self._sessions if scope["type"] == "websocket" else self._requests
        if (why := seats.take(caller.key)) is not None:
            self._observer.refused(why)
            await _tell(scope, receive, send, why)
            return
        try:
            if scope["type"] == "websocket":
                await self._sit(scope, receive, send)
            else:
                await self._app(scope, receive, send)
        finally:
            seats.leave(caller.key)

    async def _sit(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        self._observer.session_began()
        try:
            await self._app(scope, receive, send)
        finally:
            self._observer.session_ended(time.monotonic() - began)


async def _tell(scope: Scope, receive: Receive, send: Send, why: Refusal) -> None:
    # A page is not told why its WebSocket was not opened; so it is opened, and closed with a word.
    if scope["type"] == "websocket" and any(name == b"origin" for name, _ in scope["headers"]):
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": _TRY_AGAIN, "reason": IN_WORDS[why]})
        return
    # More from this key alone is 429; 503 is the server's own state.
    status = 429 if why is Refusal.KEY_FULL and scope["type"] == "http" else 503
    await refuse(scope, receive, send, status, why, IN_WORDS[why], headers=_RETRY_AFTER)


def _in_time(receive: Receive, seconds: float) -> Receive:
    """The body of a request, as long as it comes in time: who trickles holds no seat."""
    deadline = asyncio.get_running_loop().time() + seconds
    is_whole = False

    async def next_part() -> Message:
        nonlocal is_whole
        if is_whole:  # what is waited for now is that the caller hangs up
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, "the body did not come in time") from None
        is_whole = not message.get("more_body", False)
        return message

    return next_part
