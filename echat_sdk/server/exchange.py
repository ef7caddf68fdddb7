"""Where client secrets are made: by a host with its key, and by a page with the one-time link."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse
from starlette.routing import Route

from echat_sdk.server.caller import Caller, Scope
from echat_sdk.server.realtime import wire
from echat_sdk.server.realtime.config import SessionConfig
from echat_sdk.server.realtime.faults import Fault
from echat_sdk.server.refusals import first_of, response

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from echat_sdk.server.allowance import Allowances
    from echat_sdk.server.tickets import ClientSecrets, Tickets

_SECRETS, _TICKET = "/v1/realtime/client_secrets", "/ticket"

BODIES = {_SECRETS: 64 * 1024, _TICKET: 1024}
"""Bytes that are taken at each; instructions and tools are in the first."""


class _Expiry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(default=600, ge=10, le=7200)


class _Whom(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    user: str | None = Field(default=None, min_length=1, max_length=200)


class _Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid")

    expires_after: _Expiry = _Expiry()
    session: dict[str, Any] = Field(default_factory=dict)
    echat: _Whom = _Whom()


class _Shown(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    ticket: str = Field(max_length=200)


def client_secrets(held: ClientSecrets, voices: tuple[str, ...] = ()) -> list[Route]:
    """`POST /v1/realtime/client_secrets`, as OpenAI's; `echat.user` names whom it speaks for.

    Args:
        held: Where they are made.
        voices: Names that a session may ask for.
    """

    async def make(request: Request) -> JSONResponse:
        caller: Caller = request.state.caller
        try:
            wanted = _Wanted.model_validate_json(await request.body() or b"{}")
        except ValidationError as error:
            return _wrong(error)
        kind = wanted.session.setdefault("type", "realtime")
        if kind not in ("realtime", "transcription"):
            return response(400, "invalid_value", "session.type is realtime or transcription")
        try:
            SessionConfig().updated(wire.begun(wanted.session), voices)
        except Fault as fault:
            return response(400, fault.code, fault.message, param=fault.param)
        user = wanted.echat.user or caller.user
        if caller.user is not None and user != caller.user:
            return response(403, "wrong_user", "this key speaks for one user, and no other")
        if Scope.REALTIME not in caller.scopes:  # nobody gives what they have not
            return response(403, "missing_scope", f"this key lacks {Scope.REALTIME}")
        client = Caller(caller.key, frozenset({Scope.REALTIME}), user, wanted.session)
        issued = held.issue(client, wanted.expires_after.seconds)
        if issued is None:
            return response(429, "too_many_secrets", "as many as there may be; some expire soon")
        session = {
            **wanted.session,
            "id": f"sess_{secrets.token_hex(12)}",
            "object": f"realtime.{'' if kind == 'realtime' else 'transcription_'}session",
        }
        told = {"value": issued.words, "expires_at": int(issued.expires), "session": session}
        return JSONResponse(told, headers=_UNKEPT)

    return [Route(_SECRETS, make, methods=["POST"])]


def ticket(tickets: Tickets, failures: Allowances, refused: Callable[[str], None]) -> list[Route]:
    """`POST /ticket`: the one-time link's ticket for a page's own secret. It is public."""

    async def redeem(request: Request) -> JSONResponse:
        try:
            shown = _Shown.model_validate_json(await request.body())
        except ValidationError as error:
            return _wrong(error)
        found = tickets.redeem(shown.ticket)
        if found is None:
            refused("invalid_ticket")
            if not failures.take("ticket"):
                return response(429, "too_many_failures", "too many wrong tickets; wait")
            return response(401, "invalid_ticket", "a link opens one page, once; take the newest")
        issued, caller = found
        told = {
            "value": issued.words,
            "expires_at": int(issued.expires),
            "user": caller.user is not None,
        }
        return JSONResponse(told, headers=_UNKEPT)

    return [Route(_TICKET, redeem, methods=["POST"])]


_UNKEPT = {"cache-control": "no-store"}


def _wrong(error: ValidationError) -> JSONResponse:
    told, param = first_of(error)
    return response(400, "invalid_value", told, param=param)
