"""A server in this process, and what tests put behind its door."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from echat_sdk.agent.service import Service
from echat_sdk.server import app
from echat_sdk.server.caller import EVERYTHING, Caller
from echat_sdk.server.caller import Scope as Right
from echat_sdk.server.door import Access
from echat_sdk.server.keys import Keys
from echat_sdk.server.limits import Limits
from echat_sdk.server.metrics import Metrics
from echat_sdk.server.origins import Origins
from echat_sdk.server.tickets import ClientSecrets
from echat_sdk.testing import FakeModel, RAMMemory
from echat_sdk.testing.audio import ScriptedVAD

REALTIME = "ws://localhost:8080/v1/realtime?model=echat"


@dataclass
class Clock:
    """A clock that a test moves; of days and of seconds."""

    at: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def seconds(self) -> float:
        return self.at.timestamp()

    def pass_(self, **span: float) -> None:
        self.at += timedelta(**span)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """A session that says who it is with, and then says everything again."""
    socket = WebSocket(scope, receive, send)
    await socket.accept()
    await socket.send_json(told(scope))
    async for text in socket.iter_text():
        if text == "bug":
            raise RuntimeError("my grandmother's secret recipe")
        await socket.send_text(text)


async def who(request: Request) -> JSONResponse:
    await request.body()
    return JSONResponse(told(request.scope))


def told(scope: Scope) -> dict[str, Any]:
    caller: Caller = scope["state"]["caller"]
    return {
        "user": caller.user,
        "key": caller.key,
        "session": dict(caller.session),
        "scopes": sorted(caller.scopes),
        "is_beta": scope["state"]["is_beta"],
        "headers": [value.decode() for _, value in scope["headers"]],
        "subprotocols": list(scope.get("subprotocols", ())),
    }


async def fails(_: Request) -> JSONResponse:
    raise RuntimeError("my grandmother's secret recipe")


async def page(_: Request) -> JSONResponse:
    return JSONResponse("the page")


ROUTES: list[BaseRoute] = [
    Route("/v1/models", who),
    Route("/v1/audio/speech", who, methods=["POST"]),
    Route("/v1/chat/completions", who, methods=["POST"]),
    Route("/v1/chat/fails", fails),
    Route("/v1/admin", who),  # nobody said what it needs
]


@dataclass
class Server:
    """A server in this process, and what it is made of."""

    keys: Keys
    clock: Clock
    limits: Limits = field(default_factory=Limits)
    origins: Origins = field(default_factory=Origins)
    nobody: Caller | None = None
    links: list[str] = field(default_factory=list)
    user: str | None = "ada"
    memory: Any = field(default_factory=RAMMemory)
    realtime: Any = None
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.secrets = ClientSecrets(
            self.limits.secrets, self.limits.secrets_per_key, self.clock.seconds
        )

    def key(self, *scopes: Right, **more: Any) -> str:
        words, _ = self.keys.new("a key", scopes=frozenset(scopes) or EVERYTHING, **more)
        return words

    def app(self) -> Starlette:
        return app.build(
            Service(FakeModel(), self.memory, RAMMemory, ScriptedVAD),
            access=Access(self.secrets, self.keys, self.origins, self.nobody),
            limits=self.limits,
            metrics=self.metrics,
            realtime=self.realtime or echo,
            routes=ROUTES,
            pages=[Route("/", page), Route("/kiosk", page)],
            link=app.Shown(self.user, self.links.append),
        )

    def client(self, **more: Any) -> TestClient:
        return TestClient(self.app(), base_url="http://localhost:8080", **more)


def bearer(words: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {words}"}


def code(response: Any) -> str:
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "code", "param"}
    assert error["message"]
    return str(error["code"])
