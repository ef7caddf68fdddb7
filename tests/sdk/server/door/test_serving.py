from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from openai import AuthenticationError, OpenAI, PermissionDeniedError
from uvicorn.protocols.http.h11_impl import H11Protocol
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from echat_sdk.errors import ConfigError
from echat_sdk.server.limits import Limits
from echat_sdk.server.serving import Listening, check, serve
from tests.sdk.server.door.parts import Server, bearer
from tests.sdk.server.tls import certificate

HERE = Listening(port=0)


@dataclass
class Running:
    """A server that listens, in a thread."""

    server: Server
    listening: Listening
    drain: float
    port: int = 0
    context: ssl.SSLContext | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _ending: asyncio.Event = field(default_factory=asyncio.Event)
    _began: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            await serve(
                self.server.app(),
                self.listening,
                drain=self.drain,
                ending=self._ending,
                began=self.begin,
            )

        asyncio.run(main())
        self.ended.set()

    def begin(self, port: int) -> None:
        self.port = port
        self._began.set()

    def started(self) -> None:
        assert self._began.wait(5)

    def end(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._ending.set)

    def connect(self, key: str, **more: Any) -> ClientConnection:
        scheme = "wss" if self.context else "ws"
        url = f"{scheme}://localhost:{self.port}/v1/realtime?model=echat"
        more = {"additional_headers": bearer(key), "ssl": self.context, **more}
        return connect(url, proxy=None, max_size=None, **more)

    def get(self, path: str, key: str = "", data: bytes | None = None) -> tuple[int, bytes]:
        scheme = "https" if self.context else "http"
        request = urllib.request.Request(f"{scheme}://localhost:{self.port}{path}", data)
        if key:
            request.add_header("Authorization", f"Bearer {key}")
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.context)
        )
        try:
            with opener.open(request, timeout=5) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


@contextmanager
def running(
    server: Server,
    listening: Listening = HERE,
    *,
    drain: float = 0.0,
    context: ssl.SSLContext | None = None,
) -> Iterator[Running]:
    here = Running(server, listening, drain, context=context)
    thread = threading.Thread(target=here.run)
    thread.start()
    try:
        here.started()
        yield here
    finally:
        if not here.ended.is_set():
            here.end()
        thread.join(10)
        assert not thread.is_alive()


def test_a_real_client_talks_and_no_secret_is_logged_at_any_level(
    server: Server, logged: Callable[[], str]
) -> None:
    logging.getLogger("websockets.client").setLevel(logging.INFO)  # which is the test's own
    key, wrong = server.key(), "echat_0123456789ab_" + "Q" * 43
    with running(server) as here:
        ticket = server.links[-1]
        _, told = here.get("/ticket", data=json.dumps({"ticket": ticket}).encode())
        page = json.loads(told)["value"]
        _, told = here.get("/v1/realtime/client_secrets", key, b"{}")
        made = json.loads(told)["value"]
        for secret in (key, page, made):
            with here.connect(secret) as client:
                assert json.loads(client.recv())["scopes"]
            offered = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{secret}")]
            origin = Origin(f"http://localhost:{here.port}")
            with here.connect(
                "", additional_headers=None, subprotocols=offered, origin=origin
            ) as client:
                assert client.subprotocol == "realtime"
                client.recv()
                client.send("hello")
                assert client.recv() == "hello"
            assert here.get("/v1/models", secret)[0] == 200
        with pytest.raises(InvalidStatus) as refused:
            here.connect(wrong)
        assert refused.value.response.status_code == 401
        assert here.get("/v1/models", wrong)[0] == 401
    text = logged()
    assert "ERROR" not in text
    assert "openai-insecure-api-key.ek_" in text  # a library did trace the handshake
    for secret in (key, page, made, ticket, wrong, *server.links):
        assert secret not in text
        assert secret.split("_", 2)[2] not in text


def test_the_official_client_makes_a_secret_and_talks_with_it(server: Server) -> None:
    with running(server) as here:
        url = f"http://localhost:{here.port}/v1"
        with OpenAI(api_key=server.key(), base_url=url) as host:
            made = host.realtime.client_secrets.create(
                expires_after={"anchor": "created_at", "seconds": 60},
                session={"type": "realtime", "instructions": "Be brief."},
                extra_body={"echat": {"user": "grace"}},
            )
            with (
                pytest.raises(PermissionDeniedError, match="lacks chat"),
                OpenAI(api_key=made.value, base_url=url) as client,
            ):
                client.chat.completions.create(model="echat", messages=[])
        with (
            OpenAI(api_key=made.value, base_url=url) as client,
            client.realtime.connect(model="echat") as session,
        ):
            told = json.loads(session.recv_bytes())
        with pytest.raises(AuthenticationError), OpenAI(api_key="sk-x", base_url=url) as client:
            client.models.list()
    assert told["user"] == "grace"
    assert told["session"]["instructions"] == "Be brief."


def test_a_message_that_is_too_long_ends_its_session_and_no_other(server: Server) -> None:
    server.limits = Limits(message_bytes=10_000)
    key = server.key()
    with running(server) as here, here.connect(key) as other, here.connect(key) as client:
        other.recv()
        client.recv()
        client.send("x" * 10_000)
        assert client.recv() == "x" * 10_000
        client.send("x" * 10_001)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        other.send("still here")
        assert other.recv() == "still here"


def test_nothing_is_compressed_so_that_a_bomb_of_zeros_is_as_long_as_it_is(
    server: Server,
) -> None:
    with running(server) as here, here.connect(server.key(), compression="deflate") as client:
        assert client.response is not None
        assert "sec-websocket-extensions" not in client.response.headers


def test_an_event_does_not_wait_until_the_client_has_taken_the_one_before(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[int] = []
    begin = H11Protocol.handle_events

    def look(protocol: H11Protocol) -> None:
        connection = protocol.transport.get_extra_info("socket")
        waits.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        begin(protocol)

    monkeypatch.setattr(H11Protocol, "handle_events", look)
    with running(server) as here, here.connect(server.key()) as client:
        client.recv()
    assert waits == [1]


def test_who_connects_and_asks_nothing_is_hung_up_on(server: Server) -> None:
    server.limits = Limits(header_seconds=0.1)
    with running(server) as here:
        half = [socket.create_connection(("localhost", here.port), 5) for _ in range(20)]
        half[1].send(b"GET / HTTP/1.1\r\nHost: local")
        assert [each.recv(1) for each in half] == [b""] * 20
        for each in half:
            each.close()
        with here.connect(server.key()) as client:  # who asked stays
            client.recv()
            time.sleep(0.2)
            client.send("hello")
            assert client.recv() == "hello"


def test_the_connection_over_the_cap_is_refused_and_those_before_go_on(server: Server) -> None:
    server.limits = Limits(connections=3)
    key = server.key()
    with running(server) as here, here.connect(key) as first, here.connect(key) as second:
        first.recv()
        second.recv()
        with socket.create_connection(("localhost", here.port), 5):
            assert here.get("/v1/models", key)[0] == 503
        first.send("still here")
        assert first.recv() == "still here"


def test_a_server_that_ends_lets_sessions_finish_and_lets_nobody_new_in(server: Server) -> None:
    key = server.key()
    with running(server, drain=30) as here:
        with here.connect(key) as client:
            client.recv()
            here.end()
            deadline = time.monotonic() + 5
            while here.get("/readyz")[0] != 503 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert json.loads(here.get("/readyz")[1]) == {"status": "draining"}
            assert here.get("/healthz")[0] == 200
            with pytest.raises(InvalidStatus) as refused:
                here.connect(key)
            assert refused.value.response.status_code == 503
            assert here.get("/v1/audio/speech", key, b"x")[0] == 503
            client.send("still here")
            assert client.recv() == "still here"
            assert not here.ended.is_set()
        assert here.ended.wait(5)  # as soon as the last has gone


def test_a_port_that_is_taken_is_told_in_one_line(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listening = Listening(port=other.getsockname()[1])
        with pytest.raises(ConfigError, match="choose another --host or --port"):
            asyncio.run(serve(server.app(), listening, drain=0, ending=asyncio.Event()))
    lost = Listening(host="no-such-host.invalid")
    with pytest.raises(ConfigError, match="cannot listen on no-such-host"):
        asyncio.run(serve(server.app(), lost, drain=0, ending=asyncio.Event()))


def test_over_tls_a_client_that_trusts_the_certificate_talks(
    server: Server, tmp_path: Path
) -> None:
    pem = certificate(tmp_path)
    context = ssl.create_default_context(cafile=pem)
    with (
        running(server, Listening(port=0, certificate=pem), context=context) as here,
        here.connect(server.key()) as client,
    ):
        client.recv()
        client.send("hello")
        assert client.recv() == "hello"


def test_a_certificate_that_is_none_is_told_in_one_line(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    for path in (tmp_path / "cert.pem", tmp_path / "missing.pem"):
        with pytest.raises(ConfigError, match="cannot use the certificate"):
            asyncio.run(
                serve(server.app(), Listening(certificate=path), drain=0, ending=asyncio.Event())
            )


@pytest.mark.parametrize(
    ("listening", "keys", "needs_key", "told"),
    [
        (Listening("0.0.0.0"), 0, True, "echat keys new"),
        (Listening("0.0.0.0", certificate=Path("c")), 0, True, "echat keys new"),
        (Listening("::"), 1, True, "--tls-cert"),
        (Listening("192.168.0.2"), 1, True, "--behind-proxy"),
        (Listening("0.0.0.0", certificate=Path("c")), 1, False, "--no-auth"),
        (Listening("0.0.0.0", behind_proxy=True), 1, False, "--no-auth"),
        (Listening(behind_proxy=True), 1, False, "--no-auth"),
        (Listening(behind_proxy=True), 0, True, "echat keys new"),
        (Listening(private_key=Path("k")), 1, True, "--tls-cert"),
    ],
)
def test_what_would_let_strangers_in_is_not_started(
    listening: Listening, keys: int, needs_key: bool, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        check(listening, keys=keys, needs_key=needs_key)


@pytest.mark.parametrize(
    ("listening", "keys", "needs_key"),
    [
        (Listening(), 0, True),
        (Listening("localhost"), 0, False),
        (Listening("::1", certificate=Path("c")), 0, True),
        (Listening("0.0.0.0", certificate=Path("c")), 1, True),
        (Listening("0.0.0.0", behind_proxy=True), 1, True),
        (Listening(behind_proxy=True), 1, True),
    ],
)
def test_what_lets_no_stranger_in_is_started(
    listening: Listening, keys: int, needs_key: bool
) -> None:
    check(listening, keys=keys, needs_key=needs_key)


PROCESS = """
import asyncio, sys
from pathlib import Path
from echat_sdk.cli import interrupts
from echat_sdk.server.keys import Keys
from echat_sdk.server.serving import Listening, serve
from tests.sdk.server.door.parts import Clock, Server

async def main():
    server = Server(Keys(Path(sys.argv[1])), Clock())
    key = server.key()
    ending = asyncio.Event()
    with interrupts.taken_by(ending.set):
        await serve(server.app(), Listening(port=0), drain=float(sys.argv[2]), ending=ending,
                    began=lambda port: print(port, key, flush=True))
    print("ended", flush=True)

asyncio.run(main())
"""


def test_a_process_that_is_terminated_closes_what_is_left_and_ends_in_time(
    tmp_path: Path,
) -> None:
    drain = 0.3
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(tmp_path / "keys.json"), str(drain)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert process.stdout is not None
    with process.stdout:
        port, key = process.stdout.readline().split()
        url = f"ws://127.0.0.1:{port}/v1/realtime"
        with connect(url, additional_headers=bearer(key), proxy=None) as client:
            client.recv()
            process.send_signal(signal.SIGTERM)
            asked = time.monotonic()
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(timeout=5)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        assert process.wait(10) == 0
        assert drain <= time.monotonic() - asked < drain + 5
        assert process.stdout.read() == "ended\n"
