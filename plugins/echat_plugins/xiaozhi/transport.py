"""Takes devices: tells them where to go, and holds their sessions."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
import traceback
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute

from echat_plugins.xiaozhi.door import Caller, Door, Refused
from echat_plugins.xiaozhi.options import Device, XiaozhiOptions
from echat_plugins.xiaozhi.session import Session
from echat_plugins.xiaozhi.talk import not_agreed
from echat_plugins.xiaozhi.wiring import FAILED, GOING, POLICY, Wiring
from echat_sdk.agent.consenting import allowed_of
from echat_sdk.bridge import Worker
from echat_sdk.consent import Purpose
from echat_sdk.server.bodies import Bodies
from echat_sdk.server.limits import Limits
from echat_sdk.server.refusals import response
from echat_sdk.server.seats import IN_WORDS, Seats
from echat_sdk.server.serving import Listening, serve

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.websockets import WebSocket

    from echat_sdk.agent.service import Service

log = logging.getLogger(__name__)

_BODY = 16 * 2**10  # bytes, of what a device says of itself
_CONNECTIONS = 4  # for each session
_OTA, _SOCKET = "/xiaozhi/ota/", "/xiaozhi/v1/"


class Xiaozhi:
    """A `Transport` for devices with the firmware of xiaozhi-esp32.

    Args:
        options: Where, which, and how much.

    Raises:
        ConfigError: it would let strangers in, or listen to the way.
    """

    def __init__(self, options: XiaozhiOptions) -> None:
        options.check()
        self._options = options
        self._door = Door(options)
        self._began = asyncio.Event()
        self._port = 0
        # Another connection of a device takes the place of the one before: two for a moment.
        self._seats = Seats(options.sessions, 2)
        self._open: dict[str, Wiring] = {}  # by device

    async def listening(self) -> int:
        """Wait until devices are taken; the port."""
        await self._began.wait()
        return self._port

    async def run(self, service: Service) -> None:
        """Take devices until cancelled.

        Raises:
            ConfigError: it cannot listen there, or the certificate cannot be used.
        """
        options, ending, opening = self._options, asyncio.Event(), Worker("echat-xiaozhi")
        listening = Listening(
            options.host,
            options.port,
            options.certificate,
            options.private_key,
            options.behind_proxy,
        )
        app = self._app(service, opening)
        try:
            async with asyncio.TaskGroup() as group:
                serving = serve(app, listening, drain=0, ending=ending, began=self._begin)
                served = group.create_task(serving, name="echat-xiaozhi-serving")
                try:
                    await asyncio.wait([served])
                finally:
                    ending.set()
                    for wiring in self._open.values():
                        wiring.let_go("the server ends", GOING)
                    await asyncio.wait([served])
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            self._began.clear()
            opening.let_go()

    def _begin(self, port: int) -> None:
        self._port = port
        self._began.set()

    def _app(self, service: Service, opening: Worker) -> Starlette:
        async def ota(request: Request) -> JSONResponse:
            return await self._bootstrap(request)

        async def talk(socket: WebSocket) -> None:
            await self._take(socket, service, opening)

        routes = [
            route
            for slash in ("/", "")
            for route in (
                Route(_OTA.removesuffix("/") + slash, ota, methods=["POST"]),
                WebSocketRoute(_SOCKET.removesuffix("/") + slash, talk),
            )
        ]
        limits = Limits(
            message_bytes=self._options.message_bytes,
            upload_bytes=_BODY,
            upload_seconds=self._options.hello_seconds,
            connections=_CONNECTIONS * self._options.sessions,
        )
        app = Starlette(routes=routes, middleware=[Middleware(Bodies, limits, {})])
        app.state.limits, app.state.sessions = limits, self._seats
        app.state.requests = Seats(1, 1)
        return app

    async def _bootstrap(self, request: Request) -> JSONResponse:
        """What a device asks when it starts: where to go, and with which token."""
        try:
            caller, _ = self._door.enrolled(request.headers)
        except Refused as refused:
            return response(refused.status, refused.code, refused.text)
        told = {"url": self._address(request), "version": self._options.protocol}
        if self._options.needs_token:
            told["token"] = self._door.token(caller)
        body = {
            "server_time": {"timestamp": round(1000 * time.time()), "timezone_offset": 0},
            # Its own version, and nowhere to get another: it keeps what it has.
            "firmware": {"version": _version(await request.body()), "url": ""},
            "websocket": told,
        }
        return JSONResponse(body, headers={"cache-control": "no-store"})

    def _address(self, request: Request) -> str:
        if self._options.url:
            return self._options.url
        scheme = "wss" if request.url.scheme == "https" else "ws"
        return f"{scheme}://{request.headers.get('host', '')}{_SOCKET}"

    async def _take(self, socket: WebSocket, service: Service, opening: Worker) -> None:
        address = socket.client.host if socket.client else ""
        try:
            caller, device = self._door.enter(socket.headers, address)
            if (why := self._seats.take(caller.device)) is not None:
                raise Refused(503, str(why), IN_WORDS[why])
        except Refused as refused:
            log.info("a device was refused: %s", refused.code)
            told = response(refused.status, refused.code, refused.text)
            await socket.send_denial_response(told)
            return
        try:
            await socket.accept()
            await self._hold(socket, caller, device, service, opening)
        finally:
            self._seats.leave(caller.device)

    async def _hold(
        self,
        socket: WebSocket,
        caller: Caller,
        device: Device,
        service: Service,
        opening: Worker,
    ) -> None:
        options = self._options
        wiring = Wiring(socket, options, secrets.token_hex(16))
        if (before := self._open.get(caller.device)) is not None:
            before.let_go("the device came again", GOING)
        self._open[caller.device] = wiring
        try:
            async with asyncio.timeout(options.total_seconds), asyncio.TaskGroup() as group:
                group.create_task(wiring.send(), name="echat-xiaozhi-sending")
                try:
                    await self._talk(socket, wiring, device, service, opening)
                finally:
                    wiring.end()
        except TimeoutError:
            wiring.let_go("the session has lasted as long as one may", GOING)
        except Exception as error:  # noqa: BLE001 - one device's end is not that of the others
            log.error("a device's session failed with %s", _told(error))
            wiring.code, wiring.reason = FAILED, "the session failed; the log says why"
        finally:
            if self._open.get(caller.device) is wiring:
                del self._open[caller.device]
            await wiring.close()

    async def _talk(
        self,
        socket: WebSocket,
        wiring: Wiring,
        device: Device,
        service: Service,
        opening: Worker,
    ) -> None:
        hello = await wiring.hello(_claimed(socket))
        if hello is None:
            return
        if device.user is not None:
            allowed = await opening.call(allowed_of, service.memory, device.user)
            if allowed is not None and Purpose.PROCESS_VOICE not in allowed:
                wiring.put(not_agreed("zh" if service.lang == "zh" else "en"))
                wiring.code, wiring.reason = POLICY, "the user has not agreed to be heard"
                return
        session = Session(
            service, self._options, device, hello, wiring, await opening.call(service.open_vad)
        )
        wiring.welcome()
        await session.run()


def _claimed(socket: WebSocket) -> int | None:
    """The version of the protocol that a header tells; 0 for what is none."""
    claimed = socket.headers.get("protocol-version")
    if claimed is None:
        return None
    return int(claimed) if claimed in ("1", "2", "3") else 0


def _version(body: bytes) -> str:
    """Of a device's firmware, as it tells it."""
    try:
        application = json.loads(body)["application"]
        return str(application["version"])[:40]
    except (ValueError, LookupError, TypeError, RecursionError):
        return "0.0.0"


def _told(error: BaseException) -> str:
    """An error without what it says, which may hold what somebody said."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {where.name}:{where.lineno}"
