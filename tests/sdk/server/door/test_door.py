from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import WebSocketDenialResponse

from echat_sdk.errors import ConfigError
from echat_sdk.server.caller import Caller, Scope
from echat_sdk.server.door import Access, _address
from echat_sdk.server.limits import Limits
from echat_sdk.server.origins import Origins, is_loopback, origin_of
from echat_sdk.server.tickets import ClientSecrets
from tests.sdk.server.door.parts import REALTIME, Clock, Server, bearer, code


def test_a_key_lets_in_and_what_is_behind_knows_whose_it_is(server: Server) -> None:
    key = server.key(Scope.REALTIME, user="ada")
    with server.client() as client:
        told = client.get("/v1/models", headers=bearer(key)).json()
    assert (told["user"], told["scopes"]) == ("ada", ["realtime"])
    assert told["key"] == key.split("_")[1]


def test_a_key_that_is_bound_to_nobody_speaks_for_a_guest(server: Server) -> None:
    with server.client() as client:
        assert client.get("/v1/models", headers=bearer(server.key())).json()["user"] is None


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({}, "missing_api_key"),
        ({"Authorization": "Bearer"}, "missing_api_key"),
        ({"Authorization": "Basic YTpi"}, "missing_api_key"),
        ({"Authorization": "Bearer sk-other"}, "invalid_api_key"),
        ({"Authorization": "Bearer " + "x" * 5000}, "invalid_api_key"),
        ({"Authorization": "Bearer echat_"}, "invalid_api_key"),
        ({"Authorization": "Bearer \xe9\xff"}, "invalid_api_key"),
    ],
)
def test_who_shows_no_key_of_ours_is_refused(
    server: Server, header: dict[str, str], why: str
) -> None:
    raw = {name: value.encode("latin-1") for name, value in header.items()}
    with server.client() as client:
        response = client.get("/v1/models", headers=raw)
    assert (response.status_code, code(response)) == (401, why)
    assert response.headers["www-authenticate"] == "Bearer"


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.text(max_size=150)
    | st.text("0123456789abcdef_-", max_size=80).map("echat_".__add__)
    | st.text("0123456789abcdef_-", max_size=80).map("ek_".__add__)
)
def test_no_words_that_we_did_not_make_let_anybody_in(server: Server, words: str) -> None:
    if not len(server.keys):
        server.key()
        server.secrets.issue(Caller("link.1"), 60)
    assert Access(server.secrets, server.keys).caller(words) is None


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_key_that_is_altered_anywhere_lets_nobody_in(server: Server, data: st.DataObject) -> None:
    key = server.key()
    at = data.draw(st.integers(0, len(key) - 1))
    put = data.draw(st.text(max_size=2).filter(lambda new: new != key[at]))
    altered = key[:at] + put + key[at + 1 :]
    access = Access(server.secrets, server.keys)
    assert access.caller(altered) is None or altered == key
    assert access.caller(key) is not None


def test_every_path_needs_its_own_scope(server: Server) -> None:
    needs = {
        ("POST", "/v1/audio/speech"): Scope.AUDIO,
        ("POST", "/v1/chat/completions"): Scope.CHAT,
        ("POST", "/v1/realtime/client_secrets"): Scope.SECRETS,
        ("GET", "/metrics"): Scope.METRICS,
    }
    with server.client() as client:
        for (method, path), scope in needs.items():
            # A client secret is made by who may have sessions, too.
            right = server.key(scope, Scope.REALTIME)
            wrong = server.key(*(set(Scope) - {scope}))
            assert client.request(method, path, headers=bearer(right)).status_code == 200, path
            refused = client.request(method, path, headers=bearer(wrong))
            assert (refused.status_code, code(refused)) == (403, "missing_scope"), path


def test_a_session_needs_its_scope(server: Server) -> None:
    key = server.key(*(set(Scope) - {Scope.REALTIME}))
    with (
        server.client() as client,
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect(REALTIME, headers=bearer(key)),
    ):
        pass
    assert (refused.value.status_code, code(refused.value)) == (403, "missing_scope")


def test_a_path_of_which_nobody_said_what_it_needs_is_not_there(server: Server) -> None:
    with server.client() as client:
        for path in ("/v1/admin", "/v1/audiotape", "/v2/models", "//v1/models", "/metrics2"):
            response = client.get(path, headers=bearer(server.key()))
            assert (response.status_code, code(response)) == (404, "not_found"), path
            assert client.get(path).status_code == 401, path  # nor is it told who has no key


def test_pages_and_health_need_no_key(server: Server) -> None:
    with server.client() as client:
        for path in ("/", "/kiosk", "/healthz", "/readyz"):
            assert client.get(path).status_code == 200, path
        assert client.post("/", headers={}).status_code == 401


def test_a_browser_shows_its_secret_as_a_subprotocol_and_is_answered_with_the_other(
    server: Server,
) -> None:
    key = server.key()
    offered = ["realtime", f"openai-insecure-api-key.{key}"]
    origin = {"Origin": "http://localhost:8080"}
    with (
        server.client() as client,
        client.websocket_connect(REALTIME, subprotocols=offered, headers=origin) as socket,
    ):
        assert socket.accepted_subprotocol == "realtime"
        assert socket.receive_json()["is_beta"] is False


def test_a_client_that_offers_no_subprotocol_is_given_none(server: Server) -> None:
    with (
        server.client() as client,
        client.websocket_connect(REALTIME, headers=bearer(server.key())) as socket,
    ):
        assert socket.accepted_subprotocol is None


def test_clients_of_the_beta_are_known_by_header_or_subprotocol(server: Server) -> None:
    key = server.key()
    header = {**bearer(key), "OpenAI-Beta": "realtime=v1"}
    offered = ["realtime", f"openai-insecure-api-key.{key}", "openai-beta.realtime-v1"]
    with server.client() as client:
        with client.websocket_connect(REALTIME, headers=header) as socket:
            assert socket.receive_json()["is_beta"] is True
        with client.websocket_connect(REALTIME, subprotocols=offered) as socket:
            told = socket.receive_json()
    assert told["is_beta"] is True
    assert told["subprotocols"] == ["realtime", "openai-beta.realtime-v1"]


def test_nothing_behind_the_door_sees_the_key(server: Server) -> None:
    key = server.key()
    offered = ["realtime", f"openai-insecure-api-key.{key}"]
    with server.client() as client:
        assert key not in client.get("/v1/models", headers=bearer(key)).text
        with client.websocket_connect(REALTIME, subprotocols=offered) as socket:
            assert key not in socket.receive_text()


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", ""]
)
def test_a_name_that_was_made_to_lead_here_is_refused(server: Server, host: str) -> None:
    server.nobody = Caller("nobody")  # whom a page with such a name would pass for
    rebound = {"Host": host, "Origin": f"http://{host}"}
    with server.client() as client:
        response = client.get("/v1/models", headers=rebound)
        assert (response.status_code, code(response)) == (403, "wrong_host")
        assert client.get("/", headers=rebound).status_code == 403
        with (
            pytest.raises(WebSocketDenialResponse),
            client.websocket_connect(REALTIME, headers=rebound),
        ):
            pass


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080"])
def test_a_machine_is_called_by_its_own_names(server: Server, host: str) -> None:
    with server.client() as client:
        assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://localhost:8081",
        "http://localhost",
        "http://localhost:8080.evil.example",
        "file://localhost:8080",
        "http://localhost:8080@evil.example",
        "localhost:8080",
    ],
)
def test_a_page_from_elsewhere_is_refused_whatever_key_it_shows(
    server: Server, origin: str
) -> None:
    key = server.key()
    headers = {**bearer(key), "Origin": origin}
    with server.client() as client:
        response = client.post("/v1/audio/speech", headers=headers)
        assert (response.status_code, code(response)) == (403, "wrong_origin")
        offered = ["realtime", f"openai-insecure-api-key.{key}"]
        with (
            pytest.raises(WebSocketDenialResponse),
            client.websocket_connect(REALTIME, subprotocols=offered, headers={"Origin": origin}),
        ):
            pass


def test_a_page_that_was_allowed_may_call_and_read_the_answer(server: Server) -> None:
    server.origins = replace(server.origins, allowed=frozenset({"https://shop.example"}))
    origin = {"Origin": "https://shop.example"}
    asks = {
        **origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,x-stainless-lang",
    }
    with server.client() as client:
        assert client.options("/v1/audio/speech", headers=asks).status_code == 200
        answer = client.post("/v1/audio/speech", headers={**origin, **bearer(server.key())})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert "access-control-allow-credentials" not in answer.headers
        other = {"Origin": "https://other.example", **bearer(server.key())}
        assert client.post("/v1/audio/speech", headers=other).status_code == 403


def test_over_tls_a_page_that_came_without_it_is_no_page_of_ours() -> None:
    origins = Origins(hosts=None)
    assert origins.is_allowed("https://echat.example", "echat.example", secure=True)
    assert not origins.is_allowed("http://echat.example", "echat.example", secure=True)


def test_without_auth_whoever_calls_is_the_user_whatever_they_show(server: Server) -> None:
    server.nobody = Caller("nobody", user="ada")
    with server.client() as client:
        assert client.get("/v1/models").json()["user"] == "ada"
        assert client.get("/v1/models", headers=bearer("sk-any")).json()["user"] == "ada"


def test_who_shows_wrong_keys_is_slowed_and_a_right_key_still_lets_in(server: Server) -> None:
    server.limits = Limits(failures_per_minute=5)
    key = server.key()
    with server.client() as client:
        found = [client.get("/v1/models", headers=bearer("echat_x")) for _ in range(7)]
        assert [each.status_code for each in found] == [401] * 5 + [429] * 2
        assert found[-1].headers["retry-after"] == "60"
        assert code(found[-1]) == "too_many_failures"
        assert client.get("/v1/models", headers=bearer(key)).status_code == 200


def test_failures_are_counted_for_a_whole_ipv6_network() -> None:
    def seen(host: str) -> str:
        return _address({"client": (host, 1)})

    assert seen("2001:db8::1") == seen("2001:db8::ffff") != seen("2001:db8:0:1::1")
    assert seen("192.0.2.1") != seen("192.0.2.2")
    assert seen("fe80::1%eth0") == "fe80::/64"
    assert seen("::ffff:192.0.2.1") == seen("192.0.2.1") != seen("::ffff:192.0.2.2")
    assert _address({"client": None}) == ""


def test_a_key_that_has_expired_or_was_revoked_lets_nobody_in(server: Server, clock: Clock) -> None:
    short = server.key(expires=clock.now().replace(hour=13))
    gone = server.key()
    with server.client() as client:
        assert client.get("/v1/models", headers=bearer(short)).status_code == 200
        assert client.get("/v1/models", headers=bearer(gone)).status_code == 200
        clock.pass_(hours=1)
        server.keys.revoke(gone.split("_")[1])
        assert client.get("/v1/models", headers=bearer(short)).status_code == 401
        assert client.get("/v1/models", headers=bearer(gone)).status_code == 401


def test_every_response_keeps_browsers_from_taking_anything_from_elsewhere(server: Server) -> None:
    with server.client() as client:
        for path in ("/", "/healthz", "/v1/models", "/none"):
            headers = client.get(path).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert not {"http", "*", "unsafe"} & set(policy.replace("-", " ").split())
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cross-origin-opener-policy"] == "same-origin"
            assert "microphone=(self)" in headers["permissions-policy"]
            assert "set-cookie" not in headers
            assert "server" not in headers
        assert client.get("/v1/models").headers["cache-control"] == "no-store"


def test_what_a_key_made_ends_with_it(server: Server) -> None:
    key = server.key()
    with server.client() as client:
        made = client.post("/v1/realtime/client_secrets", headers=bearer(key)).json()["value"]
        assert client.get("/v1/models", headers=bearer(made)).status_code == 200
        server.keys.revoke(key.split("_")[1])
        assert client.get("/v1/models", headers=bearer(made)).status_code == 401


def test_without_a_file_of_keys_only_the_link_lets_in() -> None:
    secrets = ClientSecrets(9, 9)
    made = secrets.issue(Caller("0123456789ab"), 60)
    link = secrets.issue(Caller("link.1"), 60)
    assert made is not None
    assert link is not None
    assert Access(secrets).caller(made.words) is None
    assert Access(secrets).caller(link.words) == Caller("link.1")


@pytest.mark.parametrize(
    ("text", "is_here"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("127.3.2.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.2", False),
        ("example.org", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(text: str, is_here: bool) -> None:
    assert is_loopback(text) is is_here


def test_an_origin_is_written_as_browsers_write_it() -> None:
    assert origin_of("https://Shop.example:443/") == "https://shop.example"
    assert origin_of("http://shop.example:8080") == "http://shop.example:8080"
    for wrong in ("*", "shop.example", "https://", "https://shop.example/page", "ftp://a.example"):
        with pytest.raises(ConfigError, match="origin"):
            origin_of(wrong)
