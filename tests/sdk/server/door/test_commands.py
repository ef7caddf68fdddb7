from __future__ import annotations

import importlib.util
import json
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from echat_sdk import cli
from echat_sdk.agent.service import Service
from echat_sdk.cli import serve
from echat_sdk.cli.commands import app
from echat_sdk.config import Settings
from echat_sdk.server.door import Access
from echat_sdk.server.keys import Keys
from echat_sdk.server.limits import Limits
from echat_sdk.server.metrics import Metrics
from echat_sdk.server.serving import Listening
from echat_sdk.testing import FakeModel, RAMMemory
from echat_sdk.testing.audio import ScriptedVAD


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECHAT_HOME", str(tmp_path))
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def done(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.exception
    return result.stdout


def test_a_key_is_made_shown_once_listed_and_taken_back(home: Path) -> None:
    words = done("keys", "new", "backend", "--scope", "secrets", "--user", "ada", "--days", "1")
    (key,) = Keys(home / "server-keys.json").all()
    assert Keys(home / "server-keys.json").find(words.strip()) == key
    assert stat.S_IMODE((home / "server-keys.json").stat().st_mode) == 0o600
    shown = done("keys", "list")
    assert key.id in shown
    assert words.strip() not in shown
    assert words.strip() not in done("keys", "list", "--json")
    assert key.sha256 not in done("keys", "list", "--json")
    assert done("keys", "revoke", "backend") == f"revoked {key.id} backend\n"
    assert done("keys", "list").startswith("no keys")


def test_keys_are_told_as_json(home: Path) -> None:
    made = json.loads(done("keys", "new", "backend", "--json"))
    assert made["key"].startswith("echat_")
    assert (made["scopes"], made["user"]) == (["audio", "chat", "realtime"], None)
    (row,) = json.loads(done("keys", "list", "--json"))
    assert row == {name: value for name, value in made.items() if name != "key"}
    assert json.loads(done("keys", "revoke", row["id"], "--json")) == {"revoked": row["id"]}


def test_keys_may_be_kept_elsewhere(home: Path) -> None:
    elsewhere = home / "etc" / "keys.json"
    done("keys", "new", "k", "--key-file", str(elsewhere))
    assert len(Keys(elsewhere)) == 1
    assert not (home / "server-keys.json").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["keys", "new", "k", "--scope", "everything"], "one of realtime, audio, chat"),
        (["keys", "new", ""], "1 to 100"),
        (["keys", "new", "k", "--user", ""], "1 to 200"),
        (["keys", "new", "k", "--days", "1e99"], "--days"),
        (["keys", "revoke", "nobody"], "echat keys list"),
        (["serve", "--host", "0.0.0.0"], "echat keys new"),
        (["serve", "--host", "0.0.0.0", "--no-auth"], "--no-auth"),
        (["serve", "--behind-proxy"], "echat keys new"),
        (["serve", "--tls-key", "key.pem"], "--tls-cert"),
        (["serve", "--allow-origin", "*"], "no origin"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error


def test_a_key_that_has_expired_is_none_to_start_with(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Keys(home / "server-keys.json").new("old", expires=datetime.now(UTC))
    assert cli.run(["serve", "--behind-proxy"]) == 2
    assert "no key counts" in capsys.readouterr().err
    assert "has ended" in done("keys", "list")


def test_beyond_loopback_a_key_is_not_enough(capsys: pytest.CaptureFixture[str]) -> None:
    done("keys", "new", "k")
    assert cli.run(["serve", "--host", "0.0.0.0"]) == 2
    assert "--tls-cert" in capsys.readouterr().err


def test_a_missing_package_is_told_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name)
    )
    assert cli.run(["serve"]) == 2
    assert 'uvicorn; run: pip install "echat-sdk[server]"' in capsys.readouterr().err


def test_without_the_package_of_calls_a_server_says_why_it_takes_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "aiortc" else find(name)
    )
    service = Service(FakeModel(), RAMMemory(), RAMMemory, ScriptedVAD)
    why = serve._calls(service, Limits(), Metrics(), "")
    assert isinstance(why, str)
    assert 'pip install "echat-sdk[webrtc]"' in why


@contextmanager
def scripted(_: Settings) -> Iterator[Service]:
    yield Service(FakeModel(), RAMMemory(), RAMMemory, ScriptedVAD)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Access]]:
    """What `echat serve` would serve; it begins, offers its link, and ends."""
    apps: list[tuple[Any, Access]] = []
    made = serve._app

    def make(service: Service, access: Access, *rest: Any, **more: Any) -> Any:
        apps.append((made(service, access, *rest, **more), access))
        return apps[-1][0]

    async def begin(app: Any, listening: Listening, drain: float, page: Any, *_: Any) -> None:
        page.began(4321)
        async with app.router.lifespan_context(app):
            pass

    monkeypatch.setattr(serve, "opened", scripted)
    monkeypatch.setattr(serve, "_app", make)
    monkeypatch.setattr(serve, "_serve", begin)
    monkeypatch.setattr("echat_sdk.server.logs.set_up", lambda **_: None)
    return apps


@pytest.mark.parametrize(
    ("host", "root"), [("127.0.0.1", "127.0.0.1"), ("localhost", "localhost"), ("::1", "[::1]")]
)
def test_on_this_machine_a_link_is_shown(
    started: list[tuple[Any, Access]], host: str, root: str
) -> None:
    text = done("serve", "--host", host)
    pattern = rf"open once: http://{re.escape(root)}:4321/#ticket=et_[0-9a-f]{{12}}_[\w-]{{43}}"
    assert re.search(pattern, text)


def test_no_link_is_shown_where_it_would_be_logged_or_others_could_use_it(
    started: list[tuple[Any, Access]], monkeypatch: pytest.MonkeyPatch
) -> None:
    done("keys", "new", "k")
    assert "ticket" not in done("serve", "--no-auth")
    assert "ticket" not in done("serve", "--behind-proxy")
    assert "ticket" not in done("serve", "--host", "0.0.0.0", "--behind-proxy")
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    assert "ticket" not in done("serve")


def test_the_page_is_opened_on_wish(
    started: list[tuple[Any, Access]], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(serve.webbrowser, "open", opened.append)
    monkeypatch.setattr(serve.Worker, "submit", lambda _, function, *args: function(*args))
    text = done("serve", "--open")
    assert len(opened) == 1
    assert opened[0] in text


def test_options_become_who_is_let_in_and_how_many(started: list[tuple[Any, Access]]) -> None:
    done("keys", "new", "k")
    done("serve", "--sessions", "3", "--allow-origin", "https://Shop.example:443", "--user", "ada")
    app, access = started[-1]
    limits: Limits = app.state.limits
    assert (limits.sessions, limits.sessions_per_key) == (3, 3)
    assert access.origins.allowed == {"https://shop.example"}
    assert access.origins.is_host("localhost:1")
    assert not access.origins.is_host("shop.example")
    assert access.nobody is None
    done("serve", "--no-auth", "--user", "ada")
    nobody = started[-1][1].nobody
    assert nobody is not None
    assert nobody.user == "ada"
    done("serve", "--host", "0.0.0.0", "--behind-proxy", "--allow-host", "Talk.example")
    assert started[-1][1].origins.hosts == {"talk.example"}
