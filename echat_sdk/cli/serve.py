"""`echat serve`: the agent behind OpenAI's protocol, and a page to talk on."""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import logging
import os
import webbrowser
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echat_sdk import config
from echat_sdk.bridge import Worker
from echat_sdk.cli import account, agreeing, interrupts, memory_keys, rooms
from echat_sdk.cli import transports as ways_in
from echat_sdk.cli.talk import LangOption, ModelOption, ThinkOption, UserOption
from echat_sdk.consent import barred_in
from echat_sdk.errors import ConfigError, EChatError

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from echat_sdk.agent.rights import Manner
    from echat_sdk.agent.service import Service, Transport
    from echat_sdk.config import Settings
    from echat_sdk.protocols import Memory
    from echat_sdk.server.door import Access
    from echat_sdk.server.keys import Keys
    from echat_sdk.server.limits import Limits
    from echat_sdk.server.observer import Observer
    from echat_sdk.server.serving import Listening
    from echat_sdk.server.webrtc.calls import Calls

KeyFileOption = Annotated[
    Path | None, typer.Option("--key-file", help="API keys; by default server-keys.json at home.")
]

log = logging.getLogger(__name__)

_PACKAGES = ("openai", "opentelemetry", "prometheus_client", "starlette", "uvicorn", "websockets")


def serve(
    host: Annotated[str, typer.Option("--host", help="Where it listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 is a free one.")] = 8080,
    user: UserOption = None,
    model: ModelOption = None,
    think: ThinkOption = None,
    lang: LangOption = None,
    guest: Annotated[
        bool, typer.Option("--guest", help="The link is for a guest: nothing of them is kept.")
    ] = False,
    key_file: KeyFileOption = None,
    certificate: Annotated[Path | None, typer.Option("--tls-cert", help="PEM file.")] = None,
    private_key: Annotated[Path | None, typer.Option("--tls-key", help="PEM file.")] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy in front of it does TLS.")
    ] = False,
    origins: Annotated[
        list[str] | None,
        typer.Option("--allow-origin", help="Pages that may call, as https://example.org."),
    ] = None,
    hosts: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="Names that it is called by; else any, or localhost."),
    ] = None,
    sessions: Annotated[int, typer.Option("--sessions", min=1, help="At most at once.")] = 50,
    drain: Annotated[
        int, typer.Option("--drain", min=0, max=86400, help="Seconds for open sessions.")
    ] = 30,
    call_address: Annotated[
        str,
        typer.Option("--call-address", help="Where WebRTC calls are taken; else as it is called."),
    ] = "",
    transports: Annotated[
        list[str] | None,
        typer.Option("--with", help="Ways in for devices, beside: mqtt, wyoming, xiaozhi."),
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="On loopback alone: whoever calls is the user.")
    ] = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Logs are JSON lines.")] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Serve: clients of OpenAI's Realtime protocol, and a page. Ctrl-C or SIGTERM ends it in order.

    On this machine a link opens the page, once; programs need a key. Beyond it, a key and TLS.

    Example: [bold]echat serve --open[/]
    Example: [bold]echat serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem[/]
    """
    need_server()
    from echat_sdk.server import logs, tracing
    from echat_sdk.server.keys import Keys
    from echat_sdk.server.limits import Limits
    from echat_sdk.server.serving import Listening, check

    settings = config.load({"user": user, "model": model, "think": think, "lang": lang})
    keys = Keys(key_file or settings.home / "server-keys.json")
    listening = Listening(host, port, certificate, private_key, behind_proxy)
    valid = sum(keys.counts(key.id) for key in keys.all())
    check(listening, keys=valid, needs_key=not no_auth)
    ways = ways_in.opened(transports or (), settings.transports)
    limits = Limits(sessions=sessions, sessions_per_key=sessions)
    whom = None if guest else settings.user
    access = _access(
        keys, listening, limits, origins or [], hosts or [], no_auth=no_auth, user=whom
    )
    logs.set_up(as_json=log_json)
    with tracing.exported(), opened(settings) as service:
        page = _Page(listening, open_page=open_page)
        app = _app(service, access, limits, page, user=whom, call_address=call_address)
        asyncio.run(_serve(app, listening, drain, page, [way for _, way in ways], service))


@contextmanager
def opened(settings: Settings) -> Iterator[Service]:
    """What a server serves: the model and the memory that the settings name, closed at the end.

    Raises:
        ModelError: the model cannot be opened.
        StoreError: the memory cannot be opened.
    """
    from echat_memory import GuestMemory, in_words
    from echat_sdk.agent.service import Service
    from echat_sdk.disclosure import configured

    unasked = agreeing.unasked_in(settings.deployment)
    barred = barred_in(settings.deployment, settings.exemption)
    with (
        closing(_memory(settings, unasked, barred)) as memory,
        rooms.plugins(settings) as plugins,
    ):
        with account.working("waking up", quiet=False):
            model = rooms.model(settings, lazy=False)
        rooms.fit(plugins, model)
        yield Service(
            model,
            memory,
            partial(GuestMemory, unasked=unasked, barred=barred),
            open_vad=partial(rooms.vad, settings),
            turn_end=rooms.turn_end(settings),
            think=settings.think,
            lang=settings.lang,
            manner=partial(_manner, settings),
            in_words=in_words,
            plugins=plugins,
            deployment=settings.deployment,
            own_disclosure="" if settings.disclosure in ("auto", "off") else settings.disclosure,
            disclosure=lambda lang: configured(
                settings.disclosure, settings.deployment, lang, unasked
            ),
        )


def _memory(settings: Settings, unasked: Collection[str], barred: Collection[str]) -> Memory:
    """What keeps, for all users."""
    from echat_memory import SQLMemory

    if settings.store.startswith(config.OF_A_PLUGIN):
        return rooms.memory(settings)
    return SQLMemory(
        settings.store,
        unasked=unasked,
        barred=barred,
        retention=settings.retention,
        encryption=memory_keys.encryption(settings),
    )


def _manner(settings: Settings, user: str) -> Manner:
    return rooms.manner(settings.model_copy(update={"user": user}))


def need_server() -> None:
    """See whether the packages of a server are installed.

    Raises:
        ConfigError: one is not; says what to install.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f'echat serve needs the package {missing[0]}; run: pip install "echat-sdk[server]"'
        )


@dataclass(slots=True)
class _Page:
    """The link to the page, told on the terminal."""

    listening: Listening
    open_page: bool
    port: int = 0
    waiting: str = ""

    def show(self, ticket: str) -> None:
        """Tell a ticket, once it is known where the server listens."""
        self.waiting = ticket
        if self.port:
            self._tell()

    def began(self, port: int) -> None:
        """The server listens."""
        self.port = port
        if self.waiting:
            self._tell()
        else:
            typer.echo(f"serving {self._root()}")

    def _root(self) -> str:
        host = self.listening.host
        return f"{self.listening.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    def _tell(self) -> None:
        link = f"{self._root()}/#ticket={self.waiting}"
        typer.echo(f"open once: {link}")
        if self.open_page:
            self.open_page = False
            browser = Worker("browser")  # which may take its time
            browser.submit(webbrowser.open, link)
            browser.let_go()


def _access(
    keys: Keys,
    listening: Listening,
    limits: Limits,
    origins: list[str],
    hosts: list[str],
    *,
    no_auth: bool,
    user: str | None,
) -> Access:
    from echat_sdk.server.caller import Caller
    from echat_sdk.server.door import Access
    from echat_sdk.server.origins import LOOPBACK_NAMES, Origins, is_loopback, origin_of
    from echat_sdk.server.tickets import ClientSecrets

    named = frozenset(name.strip().lower() for name in hosts)
    is_local = is_loopback(listening.host) and not listening.behind_proxy
    called = LOOPBACK_NAMES | named | {listening.host} if is_local else named or None
    return Access(
        ClientSecrets(limits.secrets, limits.secrets_per_key),
        keys,
        Origins(frozenset(map(origin_of, origins)), called),
        Caller("nobody", user=user) if no_auth else None,
    )


def _app(
    service: Service,
    access: Access,
    limits: Limits,
    page: _Page,
    *,
    user: str | None,
    call_address: str,
) -> Starlette:
    from echat_sdk.server import app, console, rest
    from echat_sdk.server.metrics import Metrics
    from echat_sdk.server.origins import is_loopback
    from echat_sdk.server.realtime.endpoint import Realtime

    # A service's output is a log, and a link in a log is open to all who read it.
    is_seen = is_loopback(page.listening.host) and "JOURNAL_STREAM" not in os.environ
    is_asked = access.nobody is None and not page.listening.behind_proxy
    metrics = Metrics()
    return app.build(
        service,
        access=access,
        limits=limits,
        metrics=metrics,
        realtime=Realtime(service, limits, metrics),
        calls=_calls(service, limits, metrics, call_address),
        routes=rest.routes(service),
        pages=console.routes(needs_key=access.nobody is None),
        link=app.Shown(user, page.show) if is_seen and is_asked else None,
    )


def _calls(service: Service, limits: Limits, observer: Observer, address: str) -> Calls | str:
    """What takes calls; or why none are taken, where WebRTC is not installed."""
    from echat_sdk.server.webrtc.routes import MISSING

    if importlib.util.find_spec("aiortc") is None:
        if address:
            raise ConfigError(MISSING)
        return MISSING
    from echat_sdk.server.webrtc.calls import Calls

    return Calls(service, limits, observer, _ip(address))


def _ip(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address)) if address else ""
    except ValueError as error:
        raise ConfigError(
            f"--call-address {address}: expected an IP address of this machine"
        ) from error


async def _serve(
    app: Starlette,
    listening: Listening,
    drain: float,
    page: _Page,
    ways: Sequence[Transport],
    service: Service,
) -> None:
    from echat_sdk.agent.reply import translated
    from echat_sdk.server.serving import serve

    ending = asyncio.Event()

    def end() -> None:
        open_ = app.state.sessions.taken
        if open_ and not ending.is_set():
            log.info("sessions that may finish: %d; Ctrl-C ends at once", open_)
        ending.set()

    try:
        with interrupts.taken_by(end):
            async with asyncio.TaskGroup() as group:
                taking = [
                    group.create_task(way.run(service), name=f"echat-{type(way).__name__}")
                    for way in ways
                ]
                try:
                    await serve(app, listening, drain=drain, ending=ending, began=page.began)
                finally:
                    for task in taking:
                        task.cancel()
    except BaseExceptionGroup as errors:
        if (ours := errors.subgroup(EChatError)) is None:
            raise
        raise translated(ours) from errors
