from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from echat_sdk.agent.service import Service
from echat_sdk.server import app, rest
from echat_sdk.server.allowance import Allowance, Allowances
from echat_sdk.server.bodies import Bodies
from echat_sdk.server.caller import Caller
from echat_sdk.server.door import Access
from echat_sdk.server.limits import Limits
from echat_sdk.server.seats import Refusal, Seats
from echat_sdk.server.tickets import ClientSecrets
from echat_sdk.testing import FakeModel, RAMMemory
from echat_sdk.testing.audio import ScriptedVAD
from echat_sdk.testing.virtual_time import VirtualTimeLoop
from tests.sdk.server.door import parts
from tests.sdk.server.door.parts import REALTIME, Server, bearer, code

PAGE = {"Origin": "http://localhost:8080"}


@pytest.mark.parametrize(
    "wrong", [{"sessions": 0}, {"connections": -1}, {"audio_rate": 0.5}, {"sesions": 1}]
)
def test_a_limit_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Limits(**wrong)  # type: ignore[arg-type]


def test_an_append_of_15_mib_that_the_protocol_allows_is_within_the_limits() -> None:
    limits = Limits()
    append = 15 * 1024 * 1024
    assert limits.message_bytes > append + 1000
    assert limits.audio_burst > append * 3 / 4 / 2 / 24_000


class Moments:
    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at


@given(
    rate=st.floats(0.1, 100),
    burst=st.floats(1, 1000),
    steps=st.lists(st.tuples(st.floats(0, 10), st.floats(0.01, 100)), max_size=60),
)
def test_what_is_taken_never_exceeds_the_burst_and_the_rate(
    rate: float, burst: float, steps: list[tuple[float, float]]
) -> None:
    moments = Moments()
    allowance = Allowance(rate, burst, moments.now)
    taken = 0.0
    for wait, amount in steps:
        moments.at += wait
        if allowance.take(amount):
            taken += amount
        assert taken <= burst + rate * moments.at + 1e-6


def test_who_keeps_to_the_rate_is_never_refused() -> None:
    moments = Moments()
    allowance = Allowance(1.2, 1.0, moments.now)
    for _ in range(10_000):
        moments.at += 0.02
        assert allowance.take(0.02)


def test_what_was_refused_is_not_taken() -> None:
    moments = Moments()
    allowance = Allowance(1, 10, moments.now)
    assert not allowance.take(11)
    assert allowance.take(10)


def test_a_table_of_strangers_stays_small_and_who_was_seen_lately_stays_in_it() -> None:
    moments = Moments()
    table = Allowances(1, 1, 100, moments.now)
    for n in range(10_000):
        table.take("often")
        table.take(f"{n}")
        assert len(table) <= 100
    assert not table.take("often")


@given(
    most=st.integers(1, 8),
    per_key=st.integers(1, 8),
    steps=st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=100),
)
def test_no_more_sit_than_there_are_seats_and_none_is_lost(
    most: int, per_key: int, steps: list[tuple[str, bool]]
) -> None:
    seats, held = Seats(most, per_key), Counter[str]()
    for key, comes in steps:
        if comes:
            why = seats.take(key)
            has_room = held.total() < most and held[key] < per_key
            assert (why is None) == has_room
            held[key] += why is None
        elif held[key]:
            seats.leave(key)
            held[key] -= 1
        assert seats.taken == held.total()


async def test_a_seat_is_waited_for_by_who_ends_the_server_and_none_is_given_then() -> None:
    seats = Seats(2, 2)
    await seats.emptied()
    seats.take("a")
    seats.drain()
    assert seats.take("a") is Refusal.DRAINING
    seats.leave("a")
    await seats.emptied()


def test_the_session_over_the_cap_is_refused_and_those_before_go_on(server: Server) -> None:
    server.limits = Limits(sessions=3)
    key = server.key()
    with server.client() as client, ExitStack() as stack:
        sat = [
            stack.enter_context(client.websocket_connect(REALTIME, headers=bearer(key)))
            for _ in range(3)
        ]
        with (
            pytest.raises(WebSocketDenialResponse) as refused,
            client.websocket_connect(REALTIME, headers=bearer(key)),
        ):
            pass
        assert (refused.value.status_code, code(refused.value)) == (503, "full")
        assert refused.value.headers["retry-after"] == "5"
        for socket in sat:
            assert socket.receive_json()["scopes"]
            socket.send_text("still here")
            assert socket.receive_text() == "still here"
        sat[0].close()
        with client.websocket_connect(REALTIME, headers=bearer(key)) as socket:
            assert socket.receive_json()
        text = client.get("/metrics", headers=bearer(key)).text
    assert 'echat_refused_total{why="full"} 1.0' in text
    assert "echat_sessions_begun_total 4.0" in text


def test_a_page_is_told_with_a_close_code_that_there_is_no_room(server: Server) -> None:
    server.limits = Limits(sessions=1)
    offered = ["realtime", f"openai-insecure-api-key.{server.key()}"]
    with (
        server.client() as client,
        client.websocket_connect(REALTIME, subprotocols=offered, headers=PAGE),
        client.websocket_connect(REALTIME, subprotocols=offered, headers=PAGE) as second,
    ):
        assert second.accepted_subprotocol == "realtime"  # a browser hangs up else
        with pytest.raises(WebSocketDisconnect) as closed:
            second.receive_text()
    assert closed.value.code == 1013
    assert "full" in closed.value.reason


def test_one_key_does_not_take_the_seats_of_all(server: Server) -> None:
    server.limits = Limits(sessions=3, sessions_per_key=1)
    with server.client() as client:
        greedy, modest = bearer(server.key()), bearer(server.key())
        with client.websocket_connect(REALTIME, headers=greedy):
            with (
                pytest.raises(WebSocketDenialResponse) as refused,
                client.websocket_connect(REALTIME, headers=greedy),
            ):
                pass
            assert code(refused.value) == "key_full"
            with client.websocket_connect(REALTIME, headers=modest) as socket:
                assert socket.receive_json()


def test_a_session_that_fails_gives_its_seat_back(server: Server) -> None:
    server.limits = Limits(sessions=1)
    key = server.key()
    with server.client() as client:
        for _ in range(3):
            with client.websocket_connect(REALTIME, headers=bearer(key)) as socket:
                socket.receive_json()
                socket.send_text("bug")
                with pytest.raises(WebSocketDisconnect) as closed:
                    socket.receive_text()
            assert (closed.value.code, closed.value.reason) == (1011, "internal error")


def test_requests_beyond_what_the_model_can_answer_are_refused_and_others_are_not(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.limits = Limits(requests=1, requests_per_key=1)
    key, other = bearer(server.key()), bearer(server.key())
    has_begun, may_end = Event(), Event()

    async def slow(_: Request) -> Response:
        has_begun.set()
        await asyncio.to_thread(may_end.wait, 5)
        return Response("done")

    monkeypatch.setattr(parts, "ROUTES", [*parts.ROUTES, Route("/v1/chat/slow", slow)])
    with server.client() as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.get, "/v1/chat/slow", headers=key)
        assert has_begun.wait(5)
        mine = client.post("/v1/chat/completions", headers=key)
        theirs = client.post("/v1/chat/completions", headers=other)
        for path in ("/v1/models", "/metrics"):  # quickly answered
            assert client.get(path, headers=key).status_code == 200
        may_end.set()
        assert answer.result().text == "done"
        assert client.post("/v1/chat/completions", headers=other).status_code == 200
    assert (mine.status_code, code(mine)) == (429, "key_full")
    assert (theirs.status_code, code(theirs)) == (503, "full")


def test_a_body_that_is_too_long_is_refused_said_or_not(server: Server) -> None:
    server.limits = Limits(upload_bytes=2000)
    key = bearer(server.key())

    def parts() -> object:
        for _ in range(100):
            yield b"x" * 100

    with server.client() as client:
        said = client.post("/v1/audio/speech", content=b"x" * 2001, headers=key)
        unsaid = client.post("/v1/audio/speech", content=parts(), headers=key)  # type: ignore[arg-type]
        for response in (said, unsaid):
            assert (response.status_code, code(response)) == (413, "too_large")
            assert "content-security-policy" in response.headers
        assert client.post("/v1/audio/speech", content=b"x" * 2000, headers=key).is_success


def test_an_endpoint_that_runs_into_the_servers_cap_tells_it_as_its_own() -> None:
    service = Service(FakeModel(), RAMMemory(), RAMMemory, ScriptedVAD)
    access = Access(ClientSecrets(1, 1), nobody=Caller("nobody"))
    limits = Limits(upload_bytes=2000)
    made = app.build(service, access=access, limits=limits, routes=rest.routes(service))

    def parts() -> object:
        for _ in range(100):
            yield b"x" * 100

    with TestClient(made, base_url="http://localhost") as client:
        unsaid = client.post("/v1/audio/transcriptions", content=parts())  # type: ignore[arg-type]
    assert (unsaid.status_code, code(unsaid)) == (413, "request_too_large")


async def test_of_a_body_that_says_it_is_too_long_nothing_is_read() -> None:
    sent: list[Any] = []

    async def unread(*_: object) -> Any:
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    for said in (b"101", b"9" * 5000):
        headers = [(b"content-length", said)]
        scope: Scope = {"type": "http", "path": "/", "headers": headers}
        await Bodies(unread, Limits(), {"/": 100})(scope, unread, send)
    assert [each["status"] for each in sent if "status" in each] == [413, 413]


def test_a_body_that_trickles_is_given_up_and_one_that_came_is_waited_with() -> None:
    waits: list[float] = []

    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            waits.append(asyncio.get_running_loop().time())
        await receive()  # that the caller hangs up, much later

    async def nothing(message: object) -> None:
        raise AssertionError

    async def ask(*seconds: float) -> None:
        left = [*seconds, 1e6]

        async def trickle() -> dict[str, object]:
            await asyncio.sleep(left.pop(0))
            return {"type": "http.request", "body": b"x", "more_body": len(left) > 1}

        scope: Scope = {"type": "http", "path": "/", "headers": []}
        await Bodies(read, Limits(upload_seconds=60), {})(scope, trickle, nothing)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(ask(20, 20, 19))
        assert waits == [20, 40]
        with pytest.raises(HTTPException) as given_up:
            runner.run(ask(20, 20, 21))
    assert given_up.value.status_code == 408


async def test_a_server_without_refusals_in_words_closes_the_socket(server: Server) -> None:
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:  # type: ignore[misc]
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    scope: Scope = {
        "type": "websocket",
        "scheme": "ws",
        "path": "/v1/realtime",
        "headers": [(b"host", b"localhost")],
        "subprotocols": [],
    }
    receives: Receive = receive
    sends: Send = send  # type: ignore[assignment]
    await server.app()(scope, receives, sends)
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "missing_api_key"}]
