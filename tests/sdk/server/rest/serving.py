"""The endpoints behind a door that lets everybody in, in this loop or on loopback."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import uvicorn
from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from echat_sdk.agent.service import Service
from echat_sdk.protocols import VAD, Memory, SpeechModel
from echat_sdk.server.caller import Caller
from echat_sdk.server.rest import RestLimits, routes
from echat_sdk.testing import FakeModel, RAMMemory
from echat_sdk.testing.audio import ScriptedVAD

GUESTS = Caller("k")
"""A key that speaks for nobody in particular."""


def vad() -> VAD:
    return ScriptedVAD()


def app_of(
    model: SpeechModel | None = None,
    memory: Memory | None = None,
    *,
    caller: Caller | None = GUESTS,
    limits: RestLimits | None = None,
    **more: Any,
) -> ASGIApp:
    """The endpoints alone, with a caller put where the door puts it."""
    service = Service(model or FakeModel(), memory or RAMMemory(), RAMMemory, vad, **more)
    app = Starlette(routes=routes(service, limits))

    async def let_in(scope: Connection, receive: Receive, send: Send) -> None:
        if caller is not None:
            scope.setdefault("state", {})["caller"] = caller
        await app(scope, receive, send)

    return let_in


def http_of(app: ASGIApp) -> httpx2.AsyncClient:
    """A client without a network. What the app raises, the test gets."""
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://echat")


def openai_of(app: ASGIApp) -> AsyncOpenAI:
    """OpenAI's own client without a network."""
    return AsyncOpenAI(
        api_key="x", base_url="http://echat/v1", http_client=http_of(app), max_retries=0
    )


@contextmanager
def listening(app: ASGIApp) -> Iterator[str]:
    """A real server on loopback, in a thread of its own; gives its URL."""
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), name="uvicorn")
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
