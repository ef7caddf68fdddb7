"""Whatever is sent, the answer is one that clients know: never a 500, never a hang."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message

from echat_sdk.server.rest import RestLimits
from echat_sdk.testing import FakeModel, Line, virtual_time
from tests.sdk.server.rest.serving import app_of

SPEECH, HEAR, CHAT = "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/chat/completions"
Ask = Callable[[str, bytes, str], tuple[int, bytes]]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
messages = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from(["user", "assistant", "system", "tool"]) | anything,
            "content": st.text(max_size=50) | anything,
            "tool_calls": anything,
        },
    ),
    max_size=4,
)
chats = st.fixed_dictionaries(
    {"model": st.just("fake") | anything, "messages": messages | anything},
    optional={
        "stream": st.booleans() | anything,
        "stream_options": st.fixed_dictionaries({"include_usage": st.booleans()}) | anything,
        "n": anything,
        "max_tokens": st.integers() | anything,
        "tools": anything,
        "response_format": anything,
        "echat": st.fixed_dictionaries({"emotion": st.just("sad") | anything}) | anything,
    },
)
speeches = st.fixed_dictionaries(
    {
        "model": st.just("fake") | anything,
        "input": st.text(max_size=60) | anything,
        "voice": st.just("alloy") | anything,
    },
    optional={
        "response_format": st.sampled_from(["wav", "pcm", "flac", "mp3", "aac"]) | anything,
        "speed": st.just(1.0) | anything,
        "stream_format": st.sampled_from(["sse", "audio"]) | anything,
        "echat": st.fixed_dictionaries({"emotion": st.just("sad") | anything}) | anything,
    },
)


def form(file: bytes, **fields: str) -> bytes:
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="x.wav"\r\n\r\n'
    return b"".join(parts) + head + file + b"\r\n--x--\r\n"


def wav() -> bytes:
    body = io.BytesIO()
    soundfile.write(body, np.zeros(3200, np.int16), 16_000, format="WAV")
    return body.getvalue()


GOOD = form(wav(), model="fake", language="en", response_format="json")


async def exchange(app: ASGIApp, path: str, body: bytes, content_type: str) -> tuple[int, bytes]:
    """One POST, without any client's care for what it sends."""
    sent: list[Message] = []
    is_read = False

    async def receive() -> Message:
        nonlocal is_read
        if is_read:
            await asyncio.Event().wait()
        is_read = True
        return {"type": "http.request", "body": body}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", content_type.encode())]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    async with asyncio.timeout(10):
        await app({**scope, "query_string": b"", "root_path": ""}, receive, send)
    whole = b"".join(message.get("body", b"") for message in sent)
    assert not sent[-1].get("more_body", False)
    return sent[0]["status"], whole


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    app = app_of()
    with asyncio.Runner() as runner:
        yield lambda path, body, kind: runner.run(exchange(app, path, body, kind))


def check(status: int, body: bytes) -> None:
    assert status in (200, 400, 404, 413)
    if status != 200:
        error = json.loads(body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["type"] == "invalid_request_error"
        assert "Traceback" not in error["message"]


@given(chats)
@settings(max_examples=60)
def test_any_chat_is_answered_or_refused(ask: Ask, body: Any) -> None:
    check(*ask(CHAT, json.dumps(body).encode(), "application/json"))


@given(speeches)
@settings(max_examples=60)
def test_any_speech_is_answered_or_refused(ask: Ask, body: Any) -> None:
    check(*ask(SPEECH, json.dumps(body).encode(), "application/json"))


@given(st.binary(max_size=200), st.sampled_from([SPEECH, CHAT]))
@example(b"[" * 100_000, CHAT)
@example(b'{"model":"fake","messages":[{"role":"user","content":"\\ud800"}]}', CHAT)
@example(b'{"model":"fake","input":"\\ud800","voice":"alloy"}', SPEECH)
@example(b"\xff\xfe", SPEECH)
@example(bytes(200_000), CHAT)
@example(b'{"model":"fake","max_tokens":' + b"9" * 5000 + b"}", CHAT)
@settings(max_examples=60)
def test_any_bytes_are_answered_or_refused(ask: Ask, body: bytes, path: str) -> None:
    check(*ask(path, body, "application/json"))


@given(
    st.lists(st.tuples(st.integers(0, len(GOOD)), st.binary(max_size=12)), max_size=4),
    st.integers(0, 300),
)
@settings(max_examples=150)
def test_any_form_is_answered_or_refused(
    ask: Ask, changes: list[tuple[int, bytes]], cut: int
) -> None:
    body = bytearray(GOOD)
    for at, with_ in changes:
        body[at : at + len(with_)] = with_
    check(*ask(HEAR, bytes(body[: len(body) - cut]), "multipart/form-data; boundary=x"))


@given(st.text(max_size=60), st.binary(max_size=300))
@example("multipart/form-data; boundary=" + "x" * 300, GOOD)
@example("multipart/form-data; boundary=é", GOOD)
@settings(max_examples=60)
def test_any_kind_of_body_is_answered_or_refused(ask: Ask, kind: str, body: bytes) -> None:
    check(*ask(HEAR, body, kind.encode("latin-1", "replace").decode("latin-1")))


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "nonsense"])
def test_an_encoded_file_is_answered_or_refused(ask: Ask, encoding: str) -> None:
    field = f'name="file"; filename="x.wav"\r\nContent-Transfer-Encoding: {encoding}'
    body = GOOD.replace(b'name="file"; filename="x.wav"', field.encode())
    check(*ask(HEAR, body, "multipart/form-data; boundary=x"))


def test_a_good_form_is_answered(ask: Ask) -> None:
    status, body = ask(HEAR, GOOD, "multipart/form-data; boundary=x")
    assert (status, json.loads(body)["text"]) == (200, "hello")


def test_a_body_that_does_not_come_is_given_up() -> None:
    async def main() -> tuple[int, float]:
        sent: list[Message] = []

        async def receive() -> Message:
            await asyncio.sleep(9)
            return {"type": "http.request", "body": b"x", "more_body": True}

        async def send(message: Message) -> None:
            sent.append(message)

        app = app_of(limits=RestLimits(body_seconds=30))
        scope = {"type": "http", "method": "POST", "path": CHAT, "headers": []}
        await app({**scope, "query_string": b"", "root_path": ""}, receive, send)
        return sent[0]["status"], asyncio.get_running_loop().time()

    status, at = virtual_time.run(main())
    assert (status, at) == (408, pytest.approx(30, abs=1))


def test_a_client_that_takes_nothing_has_gone() -> None:
    model = FakeModel(Line("", ("One. ",) * 20))
    talk = {"model": "fake", "messages": [{"role": "user", "content": "Hi."}], "stream": True}
    arriving = [json.dumps(talk).encode()]

    async def main() -> float:
        async def receive() -> Message:
            if not arriving:
                await asyncio.sleep(3600)
            return {"type": "http.request", "body": arriving.pop()}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body":
                await asyncio.sleep(3600)

        app = app_of(model, limits=RestLimits(send_seconds=20))
        scope = {"type": "http", "method": "POST", "path": CHAT, "headers": []}
        await app({**scope, "query_string": b"", "root_path": ""}, receive, send)
        return asyncio.get_running_loop().time()

    assert virtual_time.run(main()) == pytest.approx(20, abs=1)
    for _ in range(2000):  # of real time: the model's thread knows no other
        if model.closed:
            break
        time.sleep(0.001)
    assert model.closed == 1


def test_what_takes_too_long_is_given_up_with_a_word() -> None:
    async def main() -> tuple[int, bytes]:
        app = app_of(limits=RestLimits(answer_seconds=5, body_seconds=100))
        sent: list[Message] = []

        async def receive() -> Message:
            await asyncio.sleep(3600)
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": CHAT, "headers": []}
        await app({**scope, "query_string": b"", "root_path": ""}, receive, send)
        return sent[0]["status"], sent[1]["body"]

    status, body = virtual_time.run(main())
    assert status == 504
    assert json.loads(body)["error"]["code"] == "timeout"
