"""`POST /v1/realtime/calls` and its `hangup`, as OpenAI's clients ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from echat_sdk.server.realtime.faults import Fault
from echat_sdk.server.refusals import response
from echat_sdk.server.seats import IN_WORDS, Refusal
from echat_sdk.server.webrtc import offer

if TYPE_CHECKING:
    from starlette.requests import Request

    from echat_sdk.server.caller import Caller
    from echat_sdk.server.webrtc.calls import Calls

PATH = "/v1/realtime/calls"
"""Where calls are offered."""

MISSING = 'calls need another package; run: pip install "echat-sdk[webrtc]"'
"""Why a server takes no calls that lacks what they are made with."""

NOT_TAKEN = "this server takes no calls; sessions are at WS /v1/realtime"
"""Why a server takes none that was put together without."""


def routes(calls: Calls) -> list[Route]:
    """The endpoints of calls."""
    from echat_sdk.server.webrtc.calls import NoSeat

    async def create(request: Request) -> Response:
        caller: Caller = request.state.caller
        model = request.query_params.get("model", "")[:200]
        try:
            offered = await offer.read(request, calls.service.voices)
            model = model or str(offered.session.get("model") or "")[:200]
            call_id, sdp = await calls.take(caller, model, offered, _address(request))
        except Fault as fault:
            return _wrong(fault)
        except NoSeat as full:
            status = 429 if full.why is Refusal.KEY_FULL else 503
            return response(status, full.why, IN_WORDS[full.why], headers={"retry-after": "5"})
        headers = {"location": f"{PATH}/{call_id}"}
        return Response(sdp, 201, headers, media_type="application/sdp")

    async def hang_up(request: Request) -> Response:
        if calls.hang_up(request.state.caller, request.path_params["call_id"]):
            return Response(status_code=200)
        return response(404, "call_not_found", "no such call, or it has ended")

    return [
        Route(PATH, create, methods=["POST"]),
        Route(f"{PATH}/{{call_id}}/hangup", hang_up, methods=["POST"]),
    ]


def not_taken(why: str) -> list[Route]:
    """The endpoint of a server that takes no calls: it says why."""

    async def create(request: Request) -> JSONResponse:
        return response(501, "calls_not_taken", why)

    return [Route(PATH, create, methods=["POST"])]


def _wrong(fault: Fault) -> JSONResponse:
    status = 500 if fault.kind == "server_error" else 400
    return response(status, fault.code, fault.message, param=fault.param)


def _address(request: Request) -> str:
    """Of this machine, as the caller reached it."""
    server = request.scope.get("server")
    return str(server[0]) if server else "127.0.0.1"
