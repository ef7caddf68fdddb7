"""Room: a session or a request gets a seat before anything is opened for it, and gives it back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from echat_sdk.server.refusals import refuse
from echat_sdk.server.seats import IN_WORDS, Refusal

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from echat_sdk.server.caller import Caller
    from echat_sdk.server.observer import Observer
    from echat_sdk.server.seats import Seats

_BUSY = ("/v1/audio/", "/v1/chat/")  # what the model works for
_TRY_AGAIN = 1013
_RETRY_AFTER = {"retry-after": "5"}


class Admission:
    """ASGI middleware behind the door. What is quickly answered needs no seat."""

    def __init__(self, app: ASGIApp, sessions: Seats, requests: Seats, observer: Observer) -> None:
        """Stand between the door and what it leads to.

        Args:
            app: What it leads to.
            sessions: Seats of WebSockets.
            requests: Seats of other requests, where the model works for them.
            observer: Told of sessions, and of who found no seat.
        """
        self._app, self._sessions, self._requests = app, sessions, requests
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give a seat, or tell that there is none."""
        caller: Caller | None = scope.get("state", {}).get("caller")
        is_session = scope["type"] == "websocket"
        if caller is None or not (is_session or scope["path"].startswith(_BUSY)):
            await self._app(scope, receive, send)
            return
        seats = self._sessions if is_session else self._requests
        if (why := seats.take(caller.key)) is not None:
            self._observer.refused(why)
            await _tell(scope, receive, send, why)
            return
        try:
            if is_session:
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
