from __future__ import annotations

import json
import logging
from collections.abc import Callable
from io import StringIO

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from echat_sdk.errors import AudioFormatError, ConfigError, EChatError, StoreError
from echat_sdk.server import logs, secret_words
from echat_sdk.server.faults import Guard, status_of
from echat_sdk.server.observer import Silence
from tests.sdk.server.door import parts
from tests.sdk.server.door.parts import REALTIME, Server, bearer, code

SECRET_TEXT = "my grandmother's secret recipe"


def test_a_bug_is_told_as_an_error_without_a_trace_of_it(
    server: Server, logged: Callable[[], str]
) -> None:
    key = bearer(server.key())
    with server.client() as client:
        response = client.get("/v1/chat/fails", headers=key)
        assert (response.status_code, code(response)) == (500, "internal_error")
        with client.websocket_connect(REALTIME, headers=key) as socket:
            socket.receive_json()
            socket.send_text("bug")
    assert "Traceback" not in response.text
    assert SECRET_TEXT not in response.text
    assert "RuntimeError at parts.py:" in logged()
    assert SECRET_TEXT not in logged()
    assert "content-security-policy" in response.headers


def test_who_looks_for_a_bug_sees_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHAT_DEBUG", "1")
    with server.client() as client, pytest.raises(RuntimeError, match="recipe"):
        client.get("/v1/chat/fails", headers=bearer(server.key()))
    monkeypatch.delenv("ECHAT_DEBUG")


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (ConfigError("no voice 'x'; one of ada"), 400, "no voice 'x'; one of ada"),
        (AudioFormatError("3 channels; expected 1 or 2"), 400, "3 channels; expected 1 or 2"),
        (StoreError("/home/x/echat.db is locked"), 503, "the server cannot do that just now"),
    ],
)
def test_an_error_of_ours_says_what_the_caller_can_do_and_no_more(
    server: Server, monkeypatch: pytest.MonkeyPatch, error: EChatError, status: int, told: str
) -> None:
    async def raises(_: Request) -> Response:
        raise error

    monkeypatch.setattr(parts, "ROUTES", [Route("/v1/chat/raises", raises)])
    key = bearer(server.key())
    with server.client() as client:
        response = client.get("/v1/chat/raises", headers=key)
        assert response.status_code == status == status_of(error)
        assert response.json()["error"]["message"] == told
        assert f'kind="{type(error).__name__}"' in client.get("/metrics", headers=key).text


def test_a_wrong_method_is_told_in_the_same_shape(server: Server) -> None:
    with server.client() as client:
        response = client.get("/v1/audio/speech", headers=bearer(server.key()))
    assert (response.status_code, code(response)) == (405, "method_not_allowed")


def test_half_a_response_does_not_pass_for_the_whole(
    server: Server, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    async def half() -> object:
        yield b"half"
        raise RuntimeError(SECRET_TEXT)

    async def answer(_: Request) -> Response:
        return StreamingResponse(half())  # type: ignore[arg-type]

    monkeypatch.setattr(parts, "ROUTES", [Route("/v1/chat/half", answer)])
    with server.client() as client, pytest.raises(ConnectionAbortedError) as cut:
        client.get("/v1/chat/half", headers=bearer(server.key()))
    assert cut.value.__suppress_context__
    assert SECRET_TEXT not in logged()


async def test_who_has_hung_up_is_no_bug(logged: Callable[[], str]) -> None:
    from uvicorn.protocols.utils import ClientDisconnected

    async def gone(scope: Scope, receive: Receive, send: Send) -> None:
        raise ClientDisconnected

    async def never() -> dict[str, object]:
        raise AssertionError

    async def nothing(message: object) -> None:
        raise AssertionError

    await Guard(gone, Silence())({"type": "http"}, never, nothing)
    assert "bug" not in logged()


@pytest.mark.parametrize("as_json", [True, False])
def test_logs_hold_no_secret_and_no_message_of_an_error(as_json: bool) -> None:
    root, out = logging.getLogger(), StringIO()
    before = root.handlers[:], root.level
    secret = secret_words.new(secret_words.CLIENT).words
    try:
        logs.set_up(as_json=as_json, stream=out)
        logging.getLogger("echat_sdk.server").info("let in with %s", secret)
        try:
            raise ValueError(SECRET_TEXT)
        except ValueError:
            logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    finally:
        root.handlers[:], level = before
        root.setLevel(level)
    text = out.getvalue()
    assert secret not in text
    assert f"{secret[:16]}***" in text
    assert SECRET_TEXT not in text
    assert "ValueError at test_faults.py:" in text
    if as_json:
        rows = [json.loads(line) for line in text.splitlines()]
        assert [row["level"] for row in rows] == ["info", "error"]
        assert rows[1]["error"].startswith("ValueError at ")


def test_every_kind_of_secret_is_known_by_its_look() -> None:
    kinds = (secret_words.KEY, secret_words.CLIENT, secret_words.TICKET)
    for kind in kinds:
        secret = secret_words.new(kind)
        clean = secret_words.without_secrets(f"a, openai-insecure-api-key.{secret.words}, b")
        assert clean == f"a, openai-insecure-api-key.{kind}{secret.id}_***, b"
    assert secret_words.without_secrets("echat_sdk ek_tor") == "echat_sdk ek_tor"
