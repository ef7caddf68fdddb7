"""Which devices are let in, over a real socket."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from websockets.asyncio.client import connect

from echat_plugins.xiaozhi import Xiaozhi, XiaozhiOptions
from echat_plugins.xiaozhi.tokens import Tokens
from echat_sdk.errors import ConfigError
from tests.plugins.xiaozhi.device import (
    CLIENT,
    DEVICE,
    Device,
    device,
    refused,
    service_of,
    serving,
)
from tests.sdk.server.tls import certificate

SECRET = "a secret that nobody could guess, ever"
NAMES = st.text("0123456789abcdef:-", min_size=1, max_size=40)
KNOWN = {
    "auth": True,
    "guests": False,
    "devices": {DEVICE: {"user": "ada", "client": CLIENT}},
}


async def ask(port: int, body: str = "{}", **headers: str) -> httpx2.Response:
    """What a device asks when it starts."""
    given = {"Device-Id": DEVICE, "Client-Id": CLIENT, **headers}
    async with httpx2.AsyncClient() as http:
        url = f"http://127.0.0.1:{port}/xiaozhi/ota/"
        return await http.post(url, content=body, headers=given)


async def test_a_device_asks_where_to_go_and_is_let_in_with_what_it_got() -> None:
    async with serving(**KNOWN, protocol=3) as port:
        got = (await ask(port, '{"application": {"version": "2.0.4"}}')).json()
        assert got["firmware"] == {"version": "2.0.4", "url": ""}
        assert abs(got["server_time"]["timestamp"] / 1000 - time.time()) < 5
        assert got["websocket"]["url"] == f"ws://127.0.0.1:{port}/xiaozhi/v1/"
        assert got["websocket"]["version"] == 3
        async with device(port, token=got["websocket"]["token"]) as robot:
            await robot.hello()


async def test_a_device_is_told_the_address_that_the_host_gave() -> None:
    async with serving(url="wss://talk.example.org/xiaozhi/v1/") as port:
        told = (await ask(port)).json()["websocket"]
    assert told == {"url": "wss://talk.example.org/xiaozhi/v1/", "version": 1}


@pytest.mark.parametrize("body", ["", "[]", "nonsense", '{"application": 3}', "[" * 9000])
async def test_whatever_a_device_says_of_itself_it_is_answered(body: str) -> None:
    async with serving() as port:
        assert (await ask(port, body)).json()["firmware"]["version"] == "0.0.0"


async def test_a_long_body_is_not_read() -> None:
    async with serving() as port:
        assert (await ask(port, "x" * 100_000)).status_code == 413


async def test_without_the_right_token_nobody_is_let_in() -> None:
    async with serving(**KNOWN, secret=SECRET) as port:
        token = (await ask(port)).json()["websocket"]["token"]
        signature, _, at = token.partition(".")
        old = Tokens(SECRET.encode(), 30, lambda: time.time() - 31 * 86_400).make(CLIENT, DEVICE)
        other = Tokens(b"x" * 40, 30).make(CLIENT, DEVICE)
        for wrong in (
            "",
            "Bearer",
            f"Basic {token}",
            "Bearer nonsense",
            f"Bearer {signature}.{int(at) + 1}",
            f"Bearer {signature}",
            f"Bearer {old}",
            f"Bearer {other}",
            f"Bearer {token}x",
        ):
            assert await refused(port, **({"Authorization": wrong} if wrong else {})) == 401, wrong
        assert await refused(port, f"/xiaozhi/v1/?token={token}&authorization={token}") == 401
        assert await refused(port, Authorization=f"Bearer {token}") == 101
        assert await refused(port, "/xiaozhi/v1", Authorization=f"Bearer {token}") == 101


async def test_a_token_is_one_devices_and_another_cannot_use_it() -> None:
    devices = {DEVICE: {}, "aa:bb": {}}
    async with serving(auth=True, devices=devices) as port:
        token = (await ask(port)).json()["websocket"]["token"]
        shown = {"Authorization": f"Bearer {token}"}
        assert await refused(port, **{**shown, "Device-Id": "aa:bb"}) == 401
        assert await refused(port, **{**shown, "Client-Id": "another"}) == 401
        assert await refused(port, **{**shown, "Device-Id": DEVICE.upper()}) == 101


async def test_who_is_not_known_gets_no_token() -> None:
    async with serving(**KNOWN) as port:
        assert (await ask(port, **{"Device-Id": "aa:bb"})).status_code == 403
        assert (await ask(port, **{"Client-Id": "guessed"})).status_code == 403
        assert (await ask(port, **{"Device-Id": "../../etc"})).status_code == 400
        assert (await ask(port, **{"Device-Id": "x" * 100})).status_code == 400
        assert (await ask(port, Origin="https://evil.example")).status_code == 403
        assert await refused(port, Origin="https://evil.example") == 403


async def test_guests_are_served_where_the_host_says_so() -> None:
    async with serving(auth=True, guests=True) as port:
        token = (await ask(port)).json()["websocket"]["token"]
        assert await refused(port, Authorization=f"Bearer {token}") == 101
    async with serving(guests=False) as port:
        assert await refused(port) == 403


async def test_who_guesses_is_stopped() -> None:
    async with serving(**KNOWN, failures_per_minute=3) as port:
        statuses = [await refused(port, Authorization="Bearer x") for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]


async def test_a_user_is_remembered_and_a_guest_is_not() -> None:
    for devices, kept in (({DEVICE: {"user": "ada"}}, 1), ({}, 0)):
        service = service_of()
        async with serving(service, devices=devices) as port, device(port) as robot:
            await robot.hello()
            await robot.listen("detect", text="hello")
            await robot.until("tts", state="stop")
        assert len(service.memory.recall("ada").turns) == kept


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"host": "0.0.0.0"}, "listen to the way"),
        ({"behind_proxy": True, "auth": False}, "lets anybody in"),
        ({"host": "0.0.0.0", "unencrypted": True, "auth": False}, "lets anybody in"),
        (
            {"host": "0.0.0.0", "unencrypted": True, "devices": {DEVICE: {"user": "ada"}}},
            "Client-Id",
        ),
        ({"private_key": "key.pem"}, "private_key"),
    ],
)
def test_beyond_loopback_it_is_not_left_open(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Xiaozhi(XiaozhiOptions.model_validate(options))


def test_beyond_loopback_tokens_are_needed_and_guests_are_asked_for() -> None:
    options = XiaozhiOptions(host="0.0.0.0", unencrypted=True)
    Xiaozhi(options)
    assert options.needs_token
    assert not options.serves_guests


@pytest.mark.parametrize(
    "options", [{"secret": "short"}, {"devices": {"AA:BB": {}}}, {"devices": {"a b": {}}}]
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        XiaozhiOptions.model_validate(options)


async def test_with_a_certificate_the_way_is_encrypted(tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    trusted = ssl.create_default_context(cafile=str(pem))
    async with serving(certificate=pem) as port:
        url = f"wss://localhost:{port}/xiaozhi/v1/"
        headers = {"Device-Id": DEVICE, "Client-Id": CLIENT}
        async with connect(url, additional_headers=headers, ssl=trusted, proxy=None) as socket:
            await Device(socket).hello()
        async with httpx2.AsyncClient(verify=trusted) as http:
            ota = f"https://localhost:{port}/xiaozhi/ota/"
            told = (await http.post(ota, content="{}", headers=headers)).json()
    assert told["websocket"]["url"] == url


async def test_it_says_why_it_cannot_listen(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="certificate"):
        await Xiaozhi(XiaozhiOptions(port=0, certificate=tmp_path / "none.pem")).run(service_of())
    async with serving() as port:
        with pytest.raises(ConfigError, match="cannot listen"):
            await Xiaozhi(XiaozhiOptions(port=port)).run(service_of())


@given(client=NAMES, name=NAMES, at=st.integers(0, 10**9), changed=st.integers(0, 60))
def test_a_token_that_was_changed_anywhere_proves_nothing(
    client: str, name: str, at: int, changed: int
) -> None:
    tokens = Tokens(b"s" * 32, 30, lambda: float(at))
    token = tokens.make(client, name)
    assert tokens.proves(token, client, name)
    place = changed % len(token)
    other = "A" if token[place] != "A" else "B"
    assert not tokens.proves(token[:place] + other + token[place + 1 :], client, name)
    assert not tokens.proves(token, client + "x", name)
    assert not tokens.proves(token, client, name + "x")


@given(text=st.text(max_size=120))
def test_what_is_no_token_proves_nothing(text: str) -> None:
    assert not Tokens(b"s" * 32, 30).proves(text, "a", "b")


def test_a_token_ends() -> None:
    now = [1_000_000.0]
    tokens = Tokens(b"s" * 32, 30, lambda: now[0])
    token = tokens.make("a", "b")
    now[0] += 30 * 86_400 - 1
    assert tokens.proves(token, "a", "b")
    now[0] += 2
    assert not tokens.proves(token, "a", "b")
    now[0] = 1_000_000.0 - 600
    assert not tokens.proves(token, "a", "b")
