"""From an app to a listening server: what must be so beyond this machine, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from echat_sdk.errors import ConfigError
from echat_sdk.server.origins import is_loopback

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from echat_sdk.audio import Seconds
    from echat_sdk.server.limits import Limits
    from echat_sdk.server.seats import Seats

_LAST: int = 3  # seconds in which closed sessions put their things away
_CLOSING: Seconds = 10.0  # in which a client takes what was sent to it last
_PING: Seconds = 20.0  # who does not answer within that is gone, though nobody hung up


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server listens, and what protects the way to it.

    Attributes:
        host: A name or an address of this machine.
        port: 0 takes a free one.
        certificate: PEM file for TLS.
        private_key: PEM file of its key; may be in the same file.
        behind_proxy: Whether a proxy in front of it does TLS.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    certificate: Path | None = None
    private_key: Path | None = None
    behind_proxy: bool = False

    @property
    def scheme(self) -> str:
        """Of a link to it."""
        return "https" if self.certificate else "http"


def check(listening: Listening, *, keys: int, needs_key: bool) -> None:
    """Refuse what would let strangers in, or listen to the way.

    Args:
        listening: Where.
        keys: How many API keys count.
        needs_key: Whether a caller needs one.

    Raises:
        ConfigError: it must not be started so; says what to do.
    """
    if listening.private_key is not None and listening.certificate is None:
        raise ConfigError("--tls-key is of no use without --tls-cert")
    if is_loopback(listening.host) and not listening.behind_proxy:
        return
    where = "behind a proxy" if listening.behind_proxy else f"on {listening.host}"
    if not needs_key:
        raise ConfigError(f"--no-auth {where} lets anybody in; leave it away, or use 127.0.0.1")
    if not keys:
        raise ConfigError(
            f"{where} others reach this server, and no key counts: make one with "
            "echat keys new NAME, or use --host 127.0.0.1"
        )
    if listening.certificate is None and not listening.behind_proxy:
        raise ConfigError(
            f"{where} others can listen to the way: give --tls-cert and --tls-key, or "
            "--behind-proxy where a proxy in front of it does TLS"
        )


async def serve(
    app: Starlette,
    listening: Listening,
    *,
    drain: Seconds,
    ending: asyncio.Event,
    began: Callable[[int], None] = lambda port: None,
) -> None:
    """Serve until `ending` is set; then let sessions finish, and end.

    From then on no session is let in, `/readyz` says so, and those that are there have `drain`
    seconds; what is left is closed with 1012. It returns within `drain` + 5 s.

    Args:
        app: What `build` made.
        listening: Where; see `check`.
        drain: How long sessions may go on.
        ending: Set when it is to end.
        began: Called with the port once it listens.

    Raises:
        ConfigError: it cannot listen there, or the certificate cannot be used.
    """
    limits: Limits = app.state.limits
    config = uvicorn.Config(
        app,
        host=listening.host,
        http=_prompt(limits.header_seconds),
        ws=_Ended,
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=listening.behind_proxy,
        limit_concurrency=limits.connections,
        ws_max_size=limits.message_bytes,
        ws_per_message_deflate=False,  # a bomb of zeros would be small on its way
        ws_ping_interval=_PING,
        ws_ping_timeout=_PING,
        timeout_graceful_shutdown=_LAST,
        ssl_certfile=listening.certificate,
        ssl_keyfile=listening.private_key,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"cannot use the certificate {listening.certificate}: {error.strerror or error}"
        ) from error
    with contextlib.closing(_bound(listening)) as listener:
        port: int = listener.getsockname()[1]
        server = _Server(config, lambda: began(port))
        async with asyncio.TaskGroup() as tasks:
            served = tasks.create_task(server.serve([listener]), name="server")
            drained = tasks.create_task(
                _drain(server, (app.state.sessions, app.state.requests), ending, drain),
                name="server drain",
            )
            await asyncio.wait([served])
            drained.cancel()


class _Server(uvicorn.Server):
    """Uvicorn's, whose end is ours to say: its own closes sessions as soon as a signal comes."""

    def __init__(self, config: uvicorn.Config, began: Callable[[], None]) -> None:
        super().__init__(config)
        self._began = began

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._began()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def _drain(
    server: _Server, seats: Sequence[Seats], ending: asyncio.Event, within: Seconds
) -> None:
    await ending.wait()
    for each in seats:
        each.drain()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within):
            for each in seats:
                await each.emptied()
    server.should_exit = True


class _Ended(WebSocketsSansIOProtocol):
    """A WebSocket that reads on only when a message was taken, and whose end does come.

    To close a connection is to wait until all was sent, and who reads nothing never lets that be.
    """

    _abort: asyncio.TimerHandle | None = None

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self._abort_later()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._abort_later()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._abort is not None:
            self._abort.cancel()
        super().connection_lost(exc)

    def _abort_later(self) -> None:
        if self._abort is None and not self.disconnected:
            self._abort = self.loop.call_later(_CLOSING, self.transport.abort)


def _prompt(seconds: Seconds) -> type[H11Protocol]:
    """HTTP/1.1 with callers who say in time what they want: uvicorn waits for that for ever."""

    class Prompt(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            # Asyncio does so only where the socket was opened as TCP by name. Without, what follows
            # a first event waits until the client's next frame tells that that one has come.
            connection: socket.socket = transport.get_extra_info("socket")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._hurry = self.loop.call_later(seconds, self._give_up)

        def connection_lost(self, exc: Exception | None) -> None:
            self._hurry.cancel()
            super().connection_lost(exc)

        def _give_up(self) -> None:
            # Once it was asked something, or became a WebSocket, others see to it.
            has_asked = vars(self)["cycle"] is not None
            if not has_asked and self.transport.get_protocol() is self:
                self.transport.close()

    return Prompt


def _bound(listening: Listening) -> socket.socket:
    try:
        found = socket.getaddrinfo(
            listening.host, listening.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=1024)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {listening.host} port {listening.port}: "
            f"{(error.strerror or str(error)).lower()}; choose another --host or --port"
        ) from error
