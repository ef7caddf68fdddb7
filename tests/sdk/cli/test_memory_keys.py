from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from echat_memory import Encryption, SQLMemory
from echat_sdk import config
from echat_sdk.cli import memory_keys
from echat_sdk.cli.memory import app
from echat_sdk.consent import REMEMBERED
from echat_sdk.errors import ConfigError, StoreError
from echat_sdk.turn import Turn


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "echat.db"
    monkeypatch.setenv("ECHAT_HOME", str(tmp_path))
    with closing(SQLMemory(path, unasked=REMEMBERED)) as memory:
        for name in ("Rex", "Max"):
            memory.remember("ada", Turn(f"My dog is called {name}."))
    return path


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.exception
    return result.stdout


def test_a_store_is_encrypted_and_the_setting_that_opens_it_is_told(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = CliRunner().invoke(app, ["encrypt"])
    assert result.stdout == "encrypted: 4 rows that were plain\n"
    assert 'set encrypt = "fields"' in result.stderr
    assert isinstance(CliRunner().invoke(app, ["show", "ada"]).exception, StoreError)
    monkeypatch.setenv("ECHAT_ENCRYPT", "fields")
    assert "called Max" in _run("show", "ada")
    result = CliRunner().invoke(app, ["encrypt", "--json"])
    assert json.loads(result.stdout) == {"encrypted": "fields", "rows": 0}
    assert result.stderr == ""


def test_keys_are_changed_of_one_user_of_all_and_the_one_above_them(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECHAT_ENCRYPT", "fields")
    assert _run("rotate", "--user", "ada") == "new keys in use: rows 4\n"
    assert _run("rotate", "--user", "nobody") == "new keys in use: rows 0\n"
    assert _run("rotate") == "new keys in use: rows 4\n"
    kek = store.with_name("echat.db.kek").read_bytes()
    assert _run("rotate", "--kek") == "new keys in use: keys 1\n"
    assert store.with_name("echat.db.kek").read_bytes() != kek
    assert json.loads(_run("rotate", "--kek", "--json")) == {"rotated": {"keys": 1}}
    assert "called Max" in _run("show", "ada")
    assert CliRunner().invoke(app, ["rotate", "--kek", "--file"]).exit_code == 2
    assert isinstance(CliRunner().invoke(app, ["rotate", "--file"]).exception, StoreError)


def test_a_whole_file_is_encrypted_and_given_a_new_key(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _run("encrypt", "--file") == "the file is encrypted\n"
    with closing(sqlite3.connect(store)) as raw, pytest.raises(sqlite3.DatabaseError):
        raw.execute("SELECT * FROM turns")
    monkeypatch.setenv("ECHAT_ENCRYPT", "file")
    assert _run("rotate", "--file") == "new keys in use: file 1\n"
    assert "called Max" in _run("show", "ada")


def test_key_files_may_lie_elsewhere(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECHAT_ENCRYPT", "fields")
    for setting in ("kek", "shares"):
        monkeypatch.setenv(f"ECHAT_{setting.upper()}_FILE", str(tmp_path / "keys" / setting))
    _run("encrypt")
    assert sorted(os.listdir(tmp_path / "keys")) == ["kek", "shares"]
    assert "called Max" in _run("show", "ada")


def test_a_plain_row_is_encrypted_only_on_a_word(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECHAT_ENCRYPT", "fields")
    _run("encrypt")
    with closing(sqlite3.connect(store)) as raw, raw:
        raw.execute("UPDATE turns SET reply = 'hello'")
    assert isinstance(CliRunner().invoke(app, ["show", "ada"]).exception, StoreError)
    assert _run("encrypt", "--accept-plain") == "encrypted: 2 rows that were plain\n"
    assert "hello" in _run("show", "ada")


def test_the_settings_say_how_a_store_is_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_keys.encryption(config.load()) is None
    monkeypatch.setenv("ECHAT_ENCRYPT", "file")
    assert memory_keys.encryption(config.load()) == Encryption("file")
    monkeypatch.setenv("ECHAT_ENCRYPT", "all")
    with pytest.raises(ConfigError, match="encrypt = 'all'"):
        config.load()
