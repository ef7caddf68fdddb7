"""How much of a request's body is taken, and for how long it may come."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from echat_sdk.server.refusals import refuse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from echat_sdk.server.limits import Limits


class Bodies:
    """ASGI middleware: a body that says it is too long is not read, another is cut off."""

    def __init__(self, app: ASGIApp, limits: Limits, paths: Mapping[str, int]) -> None:
        """Stand before what reads bodies.

        Args:
            app: What reads them.
            limits: What holds for all.
            paths: Bytes at most, of paths that take less.
        """
        self._app, self._limits, self._paths = app, limits, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._paths.get(scope["path"], self._limits.upload_bytes)
        said = Headers(scope=scope).get("content-length", "0")
        if said.isdecimal() and int(said[:20]) > most:
            await refuse(scope, receive, send, 413, "too_large", _too_large(most))
            return
        await self._app(scope, _within(receive, most, self._limits.upload_seconds), send)


def _too_large(most: int) -> str:
    return f"the body is too large; at most {most:,} bytes are taken here"


def _within(receive: Receive, most: int, seconds: float) -> Receive:
    deadline = asyncio.get_running_loop().time() + seconds
    taken, is_whole = 0, False

    async def next_part() -> Message:
        nonlocal taken, is_whole
        if is_whole:  # what is waited for now is that the caller hangs up
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, "the body did not come in time") from None
        taken += len(message.get("body", b""))
        if taken > most:
            raise HTTPException(413, _too_large(most))
        is_whole = not message.get("more_body", False)
        return message

    return next_part
