"""The whole server as one ASGI app: headers, door, seats, then what was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, WebSocketRoute

from echat_sdk.bridge import Worker
from echat_sdk.server import exchange, webrtc
from echat_sdk.server.admission import Admission
from echat_sdk.server.allowance import Allowances
from echat_sdk.server.bodies import Bodies
from echat_sdk.server.caller import Caller
from echat_sdk.server.door import LINK, Access, Door
from echat_sdk.server.faults import Guard, handlers
from echat_sdk.server.headers import SecurityHeaders
from echat_sdk.server.health import Health
from echat_sdk.server.limits import Limits
from echat_sdk.server.logs import keep_secrets
from echat_sdk.server.metrics import Metrics
from echat_sdk.server.seats import Seats
from echat_sdk.server.tickets import Tickets

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from echat_sdk.agent.service import Service
    from echat_sdk.audio import Seconds
    from echat_sdk.server.keys import Keys
    from echat_sdk.server.webrtc.calls import Calls

_LOOK: Seconds = 1.0  # from when a key is revoked until it opens nothing more, at most


class Shown:
    """Where the one-time link goes: to one person, at the terminal where the server was started."""

    def __init__(self, user: str | None, show: Callable[[str], None]) -> None:
        """Make it.

        Args:
            user: Whom a page that came by it speaks for; None for a guest.
            show: Tells a ticket to that person; called once at the start, and after each use.
        """
        self.user, self.show = user, show


def build(
    service: Service,
    *,
    access: Access,
    limits: Limits | None = None,
    metrics: Metrics | None = None,
    realtime: ASGIApp | None = None,
    calls: Calls | str = webrtc.NOT_TAKEN,
    routes: Sequence[BaseRoute] = (),
    pages: Sequence[BaseRoute] = (),
    link: Shown | None = None,
) -> Starlette:
    """Put a server together. `app.state` has its `sessions`, `requests`, `limits` and `metrics`.

    Args:
        service: What it serves.
        access: Who is let in.
        limits: Caps.
        metrics: What counts; the same that `realtime` tells of its turns.
        realtime: Endpoint of sessions, at `/v1/realtime`. It finds who calls in
            `scope["state"]["caller"]`, and whether they speak the beta in `["is_beta"]`.
        calls: The same over WebRTC, at `/v1/realtime/calls`; or why none are taken.
        routes: Endpoints that need a caller, who is in `request.state.caller`.
        pages: Pages and files that need none.
        link: Where the one-time link is shown; None for no link.
    """
    limits, metrics = limits or Limits(), metrics or Metrics()
    sessions = Seats(limits.sessions, limits.sessions_per_key)
    requests = Seats(limits.requests, limits.requests_per_key)
    failures = Allowances(
        limits.failures_per_minute / 60, limits.failures_per_minute, limits.addresses
    )
    health = Health(service.memory, sessions)
    public = [*health.routes(), *pages]
    tickets = None
    if link is not None:
        tickets = Tickets(access.secrets, Caller(LINK, user=link.user), link.show)
        public += exchange.ticket(tickets, failures, metrics.refused)
    guarded: list[BaseRoute] = [
        *exchange.client_secrets(access.secrets, service.voices),
        *metrics.routes(),
        *routes,
    ]
    if realtime is not None:
        guarded.append(_websocket("/v1/realtime", realtime))
    guarded += webrtc.not_taken(calls) if isinstance(calls, str) else webrtc.routes(calls)

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        if tickets is not None:
            tickets.offer()
        async with _refreshed(access.keys), _taking(calls, sessions):
            yield
        health.close()

    keep_secrets()
    app = Starlette(
        routes=[*public, *guarded],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(Guard, metrics),
            *_cors(access.origins.allowed),
            Middleware(Door, access, public, failures, metrics.refused),
            Middleware(Admission, sessions, requests, metrics),
            Middleware(Bodies, limits, {**exchange.BODIES, webrtc.PATH: webrtc.BODY}),
        ],
        exception_handlers=handlers(metrics),
        lifespan=life,
    )
    app.state.sessions, app.state.requests = sessions, requests
    app.state.limits, app.state.metrics = limits, metrics
    return app


def _websocket(path: str, endpoint: ASGIApp) -> BaseRoute:
    route = WebSocketRoute(path, _unused)
    route.app = endpoint  # an endpoint that is a class or a function of its own is wrapped else
    return route


async def _unused(_: object) -> None:
    raise AssertionError


def _cors(origins: frozenset[str]) -> list[Middleware]:
    """Lets pages elsewhere read our answers, where they were allowed to call."""
    if not origins:
        return []
    names = sorted(origins)
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=names,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["location"],
        )
    ]


@asynccontextmanager
async def _taking(calls: Calls | str, sessions: Seats) -> AsyncIterator[None]:
    """Take calls meanwhile, if any are taken."""
    if isinstance(calls, str):
        yield
        return
    async with calls.open(sessions):
        yield


@asynccontextmanager
async def _refreshed(keys: Keys | None) -> AsyncIterator[None]:
    """Heed what `echat keys` does to the file meanwhile."""
    if keys is None:
        yield
        return
    worker = Worker("server-keys")

    async def refresh() -> None:
        while True:
            await asyncio.sleep(_LOOK)
            await worker.call(keys.refresh)

    async with asyncio.TaskGroup() as tasks:
        refreshing = tasks.create_task(refresh(), name="server keys")
        try:
            yield
        finally:
            refreshing.cancel()
            worker.submit(keys.refresh)
            worker.let_go()
