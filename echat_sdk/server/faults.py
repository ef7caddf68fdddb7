"""What goes wrong becomes an answer and a line in the log, never a traceback."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.utils import ClientDisconnected

from echat_sdk.errors import (
    AudioFormatError,
    ConfigError,
    ConsentError,
    DocumentError,
    EChatError,
    UnsupportedError,
)
from echat_sdk.server.logs import where
from echat_sdk.server.refusals import refuse, response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send

    from echat_sdk.server.observer import Observer

log = logging.getLogger(__name__)

_CALLERS_OWN = (AudioFormatError, ConfigError, ConsentError, DocumentError, UnsupportedError)
_GONE = (ClientDisconnect, ClientDisconnected, WebSocketDisconnect)
_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    413: "too_large",
}


def status_of(error: EChatError) -> int:
    """400 where the caller can do something about it; else 503, for that may pass."""
    return 400 if isinstance(error, _CALLERS_OWN) else 503


def handlers(observer: Observer) -> Mapping[type[Exception], ExceptionHandler]:
    """How Starlette answers what an endpoint raises.

    Args:
        observer: Told of errors of ours.
    """

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        status = error.status_code
        code = _CODES.get(status, "refused")
        return response(status, code, str(error.detail), headers=error.headers)

    async def ours(_: Request, error: Exception) -> Response:
        assert isinstance(error, EChatError)
        status = status_of(error)
        observer.error(type(error).__name__)
        if status == 400:
            return response(status, "invalid_value", str(error))
        # Its message is for who runs the server: it names files.
        log.error("a request failed: %s: %s", type(error).__name__, error)
        return response(status, type(error).__name__, "the server cannot do that just now")

    return {HTTPException: refused, EChatError: ours}


class Guard:
    """ASGI middleware: a bug ends one request or one session, and tells nothing of what was said.

    `ECHAT_DEBUG=1` lets it through, to whoever looks for it.
    """

    def __init__(self, app: ASGIApp, observer: Observer) -> None:
        """Stand before an app.

        Args:
            app: What may fail.
            observer: Told of it.
        """
        self._app, self._observer = app, observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def noted(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except _GONE:
            return  # there is nobody to tell
        except Exception as error:
            self._observer.error(type(error).__name__)
            log.error("a bug: %s", where(error))
            if os.environ.get("ECHAT_DEBUG"):
                raise
            await _end(scope, receive, send, has_begun=has_begun)


async def _end(scope: Scope, receive: Receive, send: Send, *, has_begun: bool) -> None:
    if not has_begun:
        await refuse(
            scope, receive, send, 500, "internal_error", "a bug in the server; please report"
        )
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1011, "reason": "internal error"})
    else:
        # Half a response: only a broken connection tells that it is not the whole.
        raise ConnectionAbortedError("a response was cut short") from None
