"""One HTTP request from its first byte to its last: under caps, cancelled with its client."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Send
from starlette.types import Scope as Connection

from echat_sdk.server.caller import Caller, Scope
from echat_sdk.server.rest.bodies import body_of
from echat_sdk.server.rest.limits import RestLimits
from echat_sdk.server.rest.places import Places
from echat_sdk.server.rest.refusal import Refusal, refusal_of
from echat_sdk.server.rest.sse import event


@dataclass(frozen=True, slots=True)
class Call:
    """A request as an endpoint sees it.

    Attributes:
        caller: Who asks.
        body: All of it.
        content_type: What the body claims to be.
        path: What stands in the place of the route's parameters.
    """

    caller: Caller
    body: bytes
    content_type: str
    path: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that is sent as it is made.

    Attributes:
        pieces: What is sent; nothing has been sent before the first, so that an error until then
            has a status of its own.
        media_type: Of the whole.
        is_events: Whether an error can be told as one more event; else the connection is cut.
    """

    pieces: AsyncGenerator[bytes]
    media_type: str
    is_events: bool = False


Answers = Callable[[Call], Awaitable[Response | Stream]]
"""Makes the answer to one kind of request."""


class Endpoint:
    """An ASGI app that answers one kind of request.

    Args:
        answer: Makes the answer. Cancelled when the client goes away.
        limits: Bounds of body and time.
        method: The one that is allowed; `GET` brings `HEAD`.
        scope: What a caller's key must be for; None for any key.
        places: Where requests wait; None for one that needs no model.
        most: Bytes of the longest body.
    """

    def __init__(
        self,
        answer: Answers,
        limits: RestLimits,
        *,
        method: str = "POST",
        scope: Scope | None = None,
        places: Places | None = None,
        most: int = 0,
    ) -> None:
        self._answer = answer
        self._limits = limits
        self._methods = ("GET", "HEAD") if method == "GET" else (method,)
        self._scope = scope
        self._places = places
        self._most = most

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Answer; whatever happens, in the form that clients know, or not at all."""
        out = _Out(send, self._limits.send_seconds)
        try:
            async with asyncio.timeout(self._limits.answer_seconds):
                await self._serve(Request(scope, receive), out)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - the edge: nothing else would answer
            await self._refuse(scope, receive, out, refusal_of(error))

    async def _serve(self, request: Request, out: _Out) -> None:
        caller = self._let_in(request)
        with ExitStack() as stack:
            if self._places is not None:
                stack.enter_context(self._places.place(caller.key))
            body = await body_of(request, self._most, self._limits.body_seconds)
            content_type = request.headers.get("content-type", "")
            call = Call(caller, body, content_type, request.path_params)
            failed: list[Exception] = []

            async def work() -> None:
                try:
                    await self._respond(call, request, out)
                except Exception as error:  # noqa: BLE001 - raised again outside of the group
                    failed.append(error)

            async with asyncio.TaskGroup() as group:
                working = group.create_task(work(), name="echat-rest")
                watch = group.create_task(_until_gone(request, working), name="echat-rest-gone")
                working.add_done_callback(lambda _: watch.cancel())
            if failed:
                raise failed[0]

    def _let_in(self, request: Request) -> Caller:
        if request.method not in self._methods:
            raise Refusal(
                405,
                f"{request.method} is not allowed here; {self._methods[0]} is",
                code="method_not_allowed",
                headers={"Allow": ", ".join(self._methods)},
            )
        caller = getattr(request.state, "caller", None)
        if not isinstance(caller, Caller):
            raise Refusal(401, "nobody has looked at your key; send one", code="invalid_api_key")
        if self._scope is not None and self._scope not in caller.scopes:
            raise Refusal(
                403,
                f"this key is not for {self._scope}; ask for one with that scope",
                code="insufficient_permissions",
            )
        return caller

    async def _respond(self, call: Call, request: Request, out: _Out) -> None:
        answer = await self._answer(call)
        if isinstance(answer, Response):
            await answer(request.scope, request.receive, out.send)
            return
        out.is_events = answer.is_events
        async with aclosing(answer.pieces) as pieces:
            async for piece in pieces:
                await out.piece(piece, answer.media_type)
        await out.end()

    async def _refuse(
        self, scope: Connection, receive: Receive, out: _Out, refusal: Refusal
    ) -> None:
        try:
            if not out.is_begun:
                await refusal.response()(scope, receive, out.send)
            elif out.is_events:
                await out.piece(event(refusal.body()), "")
                await out.end()
            # Else the server cuts the connection of what was not ended, so that nobody takes half
            # an answer for a whole one.
        except ClientDisconnect:
            return


class _Out:
    """What goes to the client; a client that takes nothing for too long has gone."""

    def __init__(self, send: Send, within: float) -> None:
        self._send = send
        self._within = within
        self.is_begun = False
        self.is_events = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_begun = True
            number = f"req_{secrets.token_hex(12)}".encode()
            headers = [(b"x-request-id", number), (b"cache-control", b"no-store")]
            message = {**message, "headers": [*message["headers"], *headers]}
        try:
            async with asyncio.timeout(self._within):
                await self._send(message)
        except (TimeoutError, OSError) as error:
            raise ClientDisconnect from error

    async def piece(self, piece: bytes, media_type: str) -> None:
        if not self.is_begun:
            headers = [(b"content-type", media_type.encode()), (b"x-accel-buffering", b"no")]
            await self.send({"type": "http.response.start", "status": 200, "headers": headers})
        await self.send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self) -> None:
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(request: Request, working: asyncio.Task[None]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    working.cancel()
