"""A server under attack, in a process of its own: its memory stays, others talk on."""

from __future__ import annotations

import base64
import json
import logging
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.sdk.server.realtime.talk import RESPOND, typed, update

log = logging.getLogger(__name__)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(170)]

MIB = 1024 * 1024
GROWN = 64  # MB at most

PROCESS = """
import asyncio, sys
from pathlib import Path
from echat_sdk.server import app, logs, serving
from echat_sdk.server.door import Access
from echat_sdk.server.keys import Keys
from echat_sdk.server.caller import EVERYTHING
from echat_sdk.server.limits import Limits
from echat_sdk.server.metrics import Metrics
from echat_sdk.server.realtime import endpoint
from echat_sdk.agent.service import Service
from echat_sdk.server.tickets import ClientSecrets
from echat_sdk.testing import FakeModel, RAMMemory
from echat_sdk.vad import open_vad

serving._PING = serving._CLOSING = endpoint._SLOW = 4.0  # a test does not wait for 40 s
logs.set_up(as_json=False)

async def main():
    keys, metrics, limits = Keys(Path(sys.argv[1])), Metrics(), Limits(sessions=20)
    key, _ = keys.new("k", scopes=EVERYTHING, user="ada")
    service = Service(FakeModel(), RAMMemory(), RAMMemory, lambda: open_vad("webrtc"))
    made = app.build(
        service,
        access=Access(ClientSecrets(10, 10), keys),
        limits=limits,
        metrics=metrics,
        realtime=endpoint.Realtime(service, limits, metrics),
    )
    await serving.serve(made, serving.Listening(port=0), drain=0, ending=asyncio.Event(),
                        began=lambda port: print(port, key, flush=True))

asyncio.run(main())
"""


@dataclass
class Attacked:
    """A server, and one who talks to it meanwhile."""

    port: int
    key: str
    pid: int
    at_rest: int = 0

    def connect(self, **more: Any) -> ClientConnection:
        more = {"additional_headers": {"Authorization": f"Bearer {self.key}"}, **more}
        url = f"ws://127.0.0.1:{self.port}/v1/realtime?model=echat"
        return connect(url, proxy=None, max_size=None, close_timeout=5, **more)

    def socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 10)

    def handshake(self, key: str | None = None, more: str = "") -> bytes:
        secret = self.key if key is None else key
        return (
            f"GET /v1/realtime?model=echat HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
            f"Authorization: Bearer {secret}\r\n{more}\r\n"
        ).encode()

    def opened(self, more: str = "") -> socket.socket:
        """A WebSocket of which nobody obeys the protocol."""
        raw = self.socket()
        raw.sendall(self.handshake(more=more))
        head = b""
        while b"\r\n\r\n" not in head:
            head += raw.recv(1)
        assert head.startswith(b"HTTP/1.1 101"), head
        assert b"permessage" not in head
        return raw

    def memory(self) -> float:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS"))

    def metric(self, name: str) -> float:
        with closing(self.socket()) as raw:
            raw.sendall(
                f"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
                f"Authorization: Bearer {self.key}\r\nConnection: close\r\n\r\n".encode()
            )
            text = b"".join(iter(lambda: raw.recv(65536), b"")).decode()
        return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name))

    def sockets(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def turn(self, client: ClientConnection) -> None:
        """A whole exchange."""
        client.send(json.dumps(typed("hello")))
        client.send(json.dumps(RESPOND))
        until(client, "response.done")


def until(client: ClientConnection, kind: str, within: float = 30) -> Any:
    deadline = time.monotonic() + within
    while True:
        event = json.loads(client.recv(timeout=deadline - time.monotonic()))
        if event["type"] == kind:
            return event


def soon(what: Callable[[], bool], within: float = 30, *, fails: bool = True) -> None:
    deadline = time.monotonic() + within
    while not what():
        if time.monotonic() > deadline:
            assert not fails, "it did not come in time"
            return
        time.sleep(0.05)


def frame(opcode: int, body: bytes, *, flags: int = 0x80, length: int | None = None) -> bytes:
    """One frame of a client's."""
    size = len(body) if length is None else length
    if size < 126:
        head = bytes((flags | opcode, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((flags | opcode, 0x80 | 126)) + struct.pack("!H", size)
    else:
        head = bytes((flags | opcode, 0x80 | 127)) + struct.pack("!Q", size)
    return head + bytes(4) + body


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    folder = tmp_path_factory.mktemp("attacked")
    written = folder / "log"
    with written.open("w") as file:
        served = subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(folder / "keys.json")],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
    assert served.stdout is not None
    with served, served.stdout:
        port, key = served.stdout.readline().split()
        attacked = Attacked(int(port), key, served.pid)
        for _ in range(10):  # what a first session loads, and threads that were never there
            with attacked.connect() as client:
                attacked.turn(client)
        yield attacked
        served.terminate()
        served.wait(10)
    assert "Traceback" not in written.read_text()


@pytest.fixture
def server(process: Attacked) -> Iterator[Attacked]:
    """The server; in the end its memory has not grown, and who was there talks on."""
    soon(lambda: process.metric("echat_sessions ") == 0)
    before, process.at_rest = process.memory(), process.sockets()
    with bystander(process) as slowest:
        yield process
    soon(lambda: process.metric("echat_sessions ") == 0)
    soon(lambda: process.sockets() <= process.at_rest + 1)
    soon(lambda: process.memory() - before <= GROWN / 2, 3, fails=False)
    grown = process.memory() - before
    log.info("grown by %.1f MB; others waited %.0f ms at most", grown, 1000 * slowest[0])
    assert grown <= GROWN


@contextmanager
def bystander(server: Attacked) -> Iterator[list[float]]:
    """Somebody who has no part in it: asks all the time, and has whole turns."""
    slowest, ended, failed = [0.0], threading.Event(), list[BaseException]()

    def talk() -> None:
        try:
            with server.connect() as client:
                while not ended.is_set():
                    began = time.monotonic()
                    server.turn(client)
                    slowest[0] = max(slowest[0], time.monotonic() - began)
                    ended.wait(0.1)
        except BaseException as error:  # noqa: BLE001 - told below, in the test's own thread
            failed.append(error)

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield slowest
    finally:
        ended.set()
        thread.join(60)
    assert not failed, failed
    assert not thread.is_alive()


def test_compressed_zeros_are_no_message(server: Attacked) -> None:
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packed.compress(bytes(204 * 1024 * 1000)) + packed.flush()
    assert 190_000 < len(bomb) < 220_000
    for _ in range(20):
        with closing(server.opened("Sec-WebSocket-Extensions: permessage-deflate\r\n")) as raw:
            raw.sendall(frame(1, bomb, flags=0xC0))
            raw.settimeout(10)
            assert closed_with(raw) == 1002


def test_what_is_not_text_of_an_event_is_told_or_ends_that_session(server: Attacked) -> None:
    with closing(server.opened()) as raw:
        raw.sendall(frame(1, b"\xff\xfe\xfd"))
        assert closed_with(raw) == 1007
    with closing(server.opened()) as raw:
        raw.sendall(frame(1, b"", length=17 * MIB))
        assert closed_with(raw) == 1009
    with closing(server.opened()) as raw:  # in pieces, of which each is small
        for _ in range(17):
            raw.sendall(frame(0 if _ else 1, bytes(MIB), flags=0))
        assert closed_with(raw) == 1009
    huge = "x" * 200_000
    with server.connect() as client:
        for text in (
            b"\x00\xff",
            b'{"type": "response.cancel"}',
            "[" * 1_000_000,
            '{"type": ' + "[" * 100_000 + "]" * 100_000 + "}",
            json.dumps({"type": huge}),
            json.dumps({"type": "conversation.item.delete", "item_id": huge}),
            json.dumps({"type": "response.cancel", "event_id": huge}),
            json.dumps({"type": "conversation.item.retrieve", "item_id": huge * 10}),
            json.dumps(update(tracing={"workflow_name": huge * 10})),
            '{"type": "response.cancel", "x": ' + "9" * 100_000 + "}",
        ):
            client.send(text)
            assert len(json.dumps(until(client, "error"))) < 1000
        server.turn(client)


def closed_with(raw: socket.socket) -> int:
    """The code of the close that comes."""
    raw.settimeout(20)
    read = raw.makefile("rb")
    while True:
        first, second = read.read(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", read.read(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", read.read(8))
        body = read.read(size)
        if first & 0x0F == 8:
            return int.from_bytes(body[:2], "big")


def test_appends_of_sixteen_mebibytes_are_taken_as_far_as_time_allows(server: Attacked) -> None:
    sound = base64.b64encode(bytes(11 * MIB)).decode()
    text = json.dumps({"type": "input_audio_buffer.append", "audio": sound})
    assert 14 * MIB < len(text) < 16 * MIB
    peak = server.memory()
    for _ in range(3):
        with server.connect() as client:
            for number in range(6):
                client.send(text)
                if number:
                    assert until(client, "error")["error"]["code"] == "rate_limit_exceeded"
                peak = max(peak, server.memory())
            with suppress(ConnectionClosed):  # it may hang up before it has come whole
                client.send(" " * (16 * MIB + 1))
            with pytest.raises(ConnectionClosed):
                until(client, "nothing")
    log.info("%.0f MB at worst", peak)


def test_who_floods_is_told_to_slow_down(server: Attacked) -> None:
    with server.connect() as client:
        codes: list[str] = []
        began = time.monotonic()

        def read() -> None:
            while len(codes) < 1_500:
                event = json.loads(client.recv(timeout=60))
                if event["type"] == "error":
                    codes.append(event["error"]["code"])

        thread = threading.Thread(target=read)
        thread.start()
        for _ in range(1_500):
            client.send('{"type": "response.cancel"}')
        thread.join(60)
        assert set(codes) == {"response_cancel_not_active", "rate_limit_exceeded"}
        assert codes.count("response_cancel_not_active") < 1_000 + 200 * (time.monotonic() - began)
        time.sleep(1)
        server.turn(client)


def test_who_never_reads_is_let_go(server: Attacked) -> None:
    slow = [server.opened() for _ in range(5)]
    asked = json.dumps(update(instructions="x" * 30_000)).encode()
    for raw in slow:
        raw.settimeout(5)
        try:
            for _ in range(400):
                raw.sendall(frame(1, asked))
        except OSError:
            continue  # the server reads no more of one that it cannot answer
    soon(lambda: server.metric("echat_sessions ") <= 1)
    soon(lambda: server.sockets() <= server.at_rest + 3)
    for raw in slow:
        raw.close()


def test_who_is_gone_without_a_word_is_found_out(server: Attacked) -> None:
    gone = [server.opened() for _ in range(10)]
    assert server.metric("echat_sessions ") > 5
    soon(lambda: server.metric("echat_sessions ") <= 1)
    for raw in gone:
        raw.close()


def test_ten_thousand_connects_leave_nothing(server: Attacked) -> None:
    refused = 0
    for number in range(10_000):
        with closing(server.socket()) as raw:
            match number % 20:
                case 0:  # a session, dropped as it is
                    raw.sendall(server.handshake())
                    raw.recv(12)
                case 1 | 2 | 3 | 4 | 5:
                    raw.sendall(server.handshake("echat_wrong"))
                    refused += raw.recv(12) in (b"HTTP/1.1 401", b"HTTP/1.1 429")
                case 6 | 7 | 8 | 9 | 10:
                    raw.sendall(server.handshake()[: number % 150])
                case _:
                    pass
    assert refused == 2_500
    soon(lambda: server.metric("echat_sessions ") <= 1)
    with server.connect() as client:
        server.turn(client)


def test_the_one_over_the_cap_is_refused_and_those_before_go_on(server: Attacked) -> None:
    seated = [server.connect() for _ in range(19)]
    soon(lambda: server.metric("echat_sessions ") == 20)
    with pytest.raises(InvalidStatus) as refused:
        server.connect()
    assert refused.value.response.status_code == 503
    for client in seated:
        server.turn(client)
        client.close()
