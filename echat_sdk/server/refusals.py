"""How a caller is told no: the shape that OpenAI's clients read, and nothing about our insides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import ValidationError
    from starlette.types import Receive, Scope, Send

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def body(
    status: int, code: str | None, message: str, *, param: str | None = None
) -> dict[str, Any]:
    """An error as an object.

    Args:
        status: Of HTTP; it tells the type.
        code: One word for a program; None for none.
        message: A sentence for a person.
        param: The field that it is about.
    """
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "code": code, "param": param}}


def response(
    status: int,
    code: str | None,
    message: str,
    *,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An error as a response; headers are added to it."""
    return JSONResponse(body(status, code, message, param=param), status, headers)


def first_of(error: ValidationError) -> tuple[str, str | None]:
    """What is wrong first with what was sent, and where; None where all of it is."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    param = ".".join(map(str, first["loc"])) or None
    return f"{param}: {message}" if param else message, param


async def refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    status: int,
    code: str,
    message: str,
    *,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Answer a request, or a WebSocket that was not accepted, with an error."""
    if scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
        await response(status, code, message, headers=headers)(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": code})
