from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from openai.types.realtime import ClientSecretCreateResponse
from starlette.testclient import TestClient

from echat_sdk.server.caller import Caller, Scope
from echat_sdk.server.limits import Limits
from echat_sdk.server.tickets import PAGE_LASTS, ClientSecrets, Tickets
from tests.sdk.server.door.parts import REALTIME, Clock, Server, bearer, code

SECRETS = "/v1/realtime/client_secrets"


def made(client: TestClient, key: str, body: Any = None) -> Any:
    return client.post(SECRETS, headers=bearer(key), json=body)


def test_a_host_makes_a_secret_in_the_shape_that_clients_of_openai_know(
    server: Server, clock: Clock
) -> None:
    body = {
        "expires_after": {"anchor": "created_at", "seconds": 30},
        "session": {"type": "realtime", "instructions": "Be brief."},
    }
    with server.client() as client:
        response = made(client, server.key(), body)
    told = ClientSecretCreateResponse.model_validate(response.json(), strict=True)
    assert told.value.startswith("ek_")
    assert told.expires_at == int(clock.seconds()) + 30
    assert told.session.type == "realtime"
    assert response.json()["session"]["instructions"] == "Be brief."
    assert response.headers["cache-control"] == "no-store"


def test_a_secret_lasts_ten_minutes_unless_it_was_asked_for_longer(
    server: Server, clock: Clock
) -> None:
    with server.client() as client:
        told = made(client, server.key()).json()
        clock.pass_(seconds=599)
        assert client.get("/v1/models", headers=bearer(told["value"])).status_code == 200
        clock.pass_(seconds=1)
        assert client.get("/v1/models", headers=bearer(told["value"])).status_code == 401


def test_a_secret_speaks_for_the_user_whom_the_host_named_and_begins_as_it_said(
    server: Server,
) -> None:
    session = {"type": "realtime", "instructions": "Be brief."}
    with server.client() as client:
        body = {"session": session, "echat": {"user": "grace"}}
        secret = made(client, server.key(), body).json()["value"]
        offered = ["realtime", f"openai-insecure-api-key.{secret}"]
        with client.websocket_connect(REALTIME, subprotocols=offered) as socket:
            told = socket.receive_json()
    assert (told["user"], told["session"]) == ("grace", session)


def test_a_secret_opens_sessions_and_nothing_else(server: Server) -> None:
    with server.client() as client:
        secret = made(client, server.key()).json()["value"]
        for path in ("/v1/audio/speech", "/v1/chat/completions", SECRETS):
            assert code(client.post(path, headers=bearer(secret))) == "missing_scope"
        assert code(client.get("/metrics", headers=bearer(secret))) == "missing_scope"


def test_a_key_that_speaks_for_one_user_makes_secrets_for_no_other(server: Server) -> None:
    key = server.key(user="ada")
    with server.client() as client:
        refused = made(client, key, {"echat": {"user": "grace"}})
        assert (refused.status_code, code(refused)) == (403, "wrong_user")
        secret = made(client, key).json()["value"]
        assert client.get("/v1/models", headers=bearer(secret)).json()["user"] == "ada"


def test_who_may_have_no_sessions_gives_none_away(server: Server) -> None:
    with server.client() as client:
        assert code(made(client, server.key(Scope.SECRETS))) == "missing_scope"


@pytest.mark.parametrize(
    "body",
    [
        {"expires_after": {"anchor": "created_at", "seconds": 9}},
        {"expires_after": {"anchor": "created_at", "seconds": 7201}},
        {"expires_after": {"anchor": "now", "seconds": 60}},
        {"expires_after": {"anchor": "created_at", "seconds": True}},
        {"session": {"type": "chat"}},
        {"session": []},
        {"session": {"audio": 5}},
        {"session": {"tools": [1]}},
        {"session": {"audio": {"output": {"voice": "nobody"}}}},
        {"session": {"echat": {"events": [{}]}}},
        {"echat": {"user": ""}},
        {"echat": {"user": "x" * 201}},
        {"echat": {"admin": True}},
        {"unknown": 1},
        [],
        "x",
    ],
)
def test_a_secret_that_cannot_be_is_refused_with_a_reason(server: Server, body: Any) -> None:
    with server.client() as client:
        response = made(client, server.key(), body)
    assert (response.status_code, code(response)) == (400, "invalid_value")
    assert "x" * 20 not in response.text


def test_a_body_that_is_no_json_or_too_long_is_refused(server: Server) -> None:
    headers = bearer(server.key())
    with server.client() as client:
        assert client.post(SECRETS, headers=headers, content=b"\xff{").status_code == 400
        deep = b'{"session":' + b"[" * 30_000
        assert client.post(SECRETS, headers=headers, content=deep).status_code == 400
        long = b'{"session": {"a": "' + b"x" * 70_000 + b'"}}'
        assert client.post(SECRETS, headers=headers, content=long).status_code == 413
        assert client.post("/ticket", content=b"x" * 2000).status_code == 413


def test_one_host_does_not_take_the_secrets_of_all(server: Server, clock: Clock) -> None:
    server.limits = Limits(secrets=5, secrets_per_key=3)
    server.__post_init__()
    greedy, modest = server.key(), server.key()
    with server.client() as client:
        found = [made(client, greedy).status_code for _ in range(5)]
        assert found == [200, 200, 200, 429, 429]
        assert made(client, modest).status_code == 200
        clock.pass_(seconds=600)
        assert made(client, greedy).status_code == 200  # what has ended makes room
        assert len(server.secrets) == 1


def test_secrets_of_all_are_capped_too(clock: Clock) -> None:
    held = ClientSecrets(10, 10, clock.seconds)
    found = [held.issue(Caller(f"{n}"), 60) for n in range(100)]
    assert sum(each is not None for each in found) == len(held) == 10
    clock.pass_(seconds=60)
    assert held.issue(Caller("next"), 60) is not None
    assert len(held) == 1


def ticket(server: Server) -> dict[str, str]:
    return {"ticket": server.links[-1]}


def test_the_link_opens_a_page_once_and_the_next_one_is_shown(server: Server) -> None:
    with server.client() as client:
        first = ticket(server)
        told = client.post("/ticket", json=first)
        assert told.json()["user"] is True
        again = client.post("/ticket", json=first)
        assert (again.status_code, code(again)) == (401, "invalid_ticket")
        assert len(server.links) == 2
        assert client.post("/ticket", json=ticket(server)).status_code == 200
        mine = client.get("/v1/models", headers=bearer(told.json()["value"])).json()
    assert mine["user"] == "ada"
    assert told.headers["cache-control"] == "no-store"


def test_of_many_who_use_a_link_at_once_one_is_let_in(server: Server) -> None:
    with server.client() as client, ThreadPoolExecutor(16) as pool:
        body = ticket(server)
        found = list(pool.map(lambda _: client.post("/ticket", json=body), range(32)))
    assert sorted(each.status_code for each in found).count(200) == 1
    assert {each.status_code for each in found} <= {200, 401, 429}


def test_a_page_that_is_used_stays_open_and_one_that_is_not_ends(
    server: Server, clock: Clock
) -> None:
    with server.client() as client:
        secret = client.post("/ticket", json=ticket(server)).json()["value"]
        for _ in range(5):
            clock.pass_(seconds=PAGE_LASTS - 1)
            assert client.get("/v1/models", headers=bearer(secret)).status_code == 200
        clock.pass_(seconds=PAGE_LASTS)
        assert client.get("/v1/models", headers=bearer(secret)).status_code == 401


def test_a_guests_link_is_for_a_guest(server: Server) -> None:
    server.user = None
    with server.client() as client:
        assert client.post("/ticket", json=ticket(server)).json()["user"] is False


@pytest.mark.parametrize("shown", ["", "et_", "et_000000000000_x", "x" * 150, "ek_1"])
def test_no_other_words_are_a_ticket(server: Server, shown: str) -> None:
    with server.client() as client:
        response = client.post("/ticket", json={"ticket": shown})
        assert (response.status_code, code(response)) == (401, "invalid_ticket")
        assert client.post("/ticket", json=ticket(server)).status_code == 200


def test_a_ticket_in_the_url_or_of_another_page_is_none(server: Server) -> None:
    with server.client() as client:
        words = server.links[-1]
        assert client.post(f"/ticket?ticket={words}").status_code == 400
        assert client.get(f"/ticket?ticket={words}").status_code == 401
        foreign = {"Origin": "http://evil.example"}
        assert client.post("/ticket", json=ticket(server), headers=foreign).status_code == 403
        assert client.post("/ticket", json=ticket(server)).status_code == 200


def test_a_ticket_is_no_key(server: Server) -> None:
    with server.client() as client:
        assert client.get("/v1/models", headers=bearer(server.links[-1])).status_code == 401


def test_wrong_tickets_are_slowed_and_the_right_one_still_opens(server: Server) -> None:
    server.limits = Limits(failures_per_minute=2)
    with server.client() as client:
        wrong = {"ticket": "et_000000000000_x"}
        found = [client.post("/ticket", json=wrong).status_code for _ in range(4)]
        assert found == [401, 401, 429, 429]
        assert client.post("/ticket", json=ticket(server)).status_code == 200


def test_a_link_that_was_replaced_opens_nothing() -> None:
    shown: list[str] = []
    tickets = Tickets(ClientSecrets(9, 9), Caller("link"), shown.append)
    assert tickets.redeem("et_000000000000_x") is None  # before any was offered
    tickets.offer()
    tickets.offer()
    assert tickets.redeem(shown[0]) is None
    assert tickets.redeem(shown[1]) is not None
