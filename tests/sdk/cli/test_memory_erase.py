from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from echat_memory import Manifest, SQLMemory
from echat_sdk.cli.commands import app
from echat_sdk.consent import REMEMBERED
from echat_sdk.cues import Cue, Cues
from echat_sdk.errors import ConfigError, ConsentError, StoreError
from echat_sdk.turn import Turn

WIDE = {"COLUMNS": "160", "TZ": "UTC"}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'echat.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_store")
    with closing(SQLMemory(url, unasked=REMEMBERED)) as memory:
        for name in ("Rex", "Max", "Bo"):
            cues = Cues(Cue("sad", 0.81, {"sad": 0.81, "neutral": 0.19}))
            turn = Turn(f"My dog is called {name}.", cues=cues, reply="Tell me more.")
            memory.remember("ada", turn)
    return url


def run(url: str, *arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, ["memory", *arguments, "--store", url], input=answer, env=WIDE)


def test_erase_asks_what_exactly_and_keeps_all_unless_told_yes(url: str) -> None:
    for arguments, asked in (
        ([], "Erase all that is kept of this user?"),
        (["--turn", "2"], "Erase of this user: turn 2?"),
        (["--purpose", "train"], "Erase of this user: what was kept for train?"),
    ):
        result = run(url, "erase", "ada", *arguments, answer="n\n")
        assert result.exit_code == 2
        assert asked in result.stderr
        assert "nothing was erased" in result.stderr
    assert run(url, "show", "ada").exit_code == 0
    assert "no receipts" in run(url, "receipts").stdout


def test_erase_prints_a_receipt_and_may_be_repeated(url: str) -> None:
    result = run(url, "erase", "ada", "--yes")
    assert result.exit_code == 0
    assert re.search(r"^receipt \d+: everything, 20", result.stdout)
    assert "erased: facts 3, turn emotions 3, turns 3, sessions 1, users 1\n" in result.stdout
    result = run(url, "erase", "ada", "--yes")
    assert result.exit_code == 0
    assert "nothing of it is kept" in result.stdout


def test_one_turn_is_erased_and_told_as_json(url: str) -> None:
    result = run(url, "erase", "ada", "--turn", "2", "--yes", "--json")
    told = json.loads(result.stdout)
    assert told["erased"] == {"facts": 1, "turns": 1, "turn_emotions": 1}
    assert (told["user"], told["scope"]) == ("ada", {"turn": "2"})
    assert told["receipt"] > 0
    assert told["completed_at"]
    assert told["failed"] == {}
    shown = json.loads(run(url, "show", "ada", "--json").stdout)
    assert [turn["id"] for turn in shown["turns"]] == ["1", "3"]
    assert shown["facts"] == ["their dog is called Bo", "their dog is called Rex"]


@pytest.mark.parametrize(
    ("when", "zone", "left"),
    [
        ("today", f"Etc/GMT{datetime.now(UTC).hour - 12:+d}", 0),  # where it is about noon
        ("2020-01-01", "UTC", 0),
        ("2020-01-01T12:00:00+02:00", "Europe/Berlin", 0),
        ("2100-01-01", "UTC", 3),
    ],
)
def test_what_was_said_since_a_day_is_erased(url: str, when: str, zone: str, left: int) -> None:
    assert run(url, "erase", "ada", "--since", when, "--zone", zone, "--yes").exit_code == 0
    with closing(SQLMemory(url, unasked=REMEMBERED)) as memory:
        assert len(memory.show("ada")) == left


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (["--since", "soon"], ConfigError, "--since: got 'soon'; expected today"),
        (["--since", "today", "--zone", "Mars/Base"], ConfigError, "Mars/Base"),
        (["--turn", "1", "--purpose", "train"], ConfigError, "got turn and purpose"),
        (["--turn", "the last"], ConfigError, "no turn's id"),
        (["--purpose", "fun"], ConsentError, "no purpose 'fun'"),
        (["--manifest", "none.jsonl"], ConfigError, "no such file"),
        (["--recordings", "none"], ConfigError, "no such folder"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_asked(
    url: str, arguments: list[str], error: type[Exception], told: str
) -> None:
    result = run(url, "erase", "ada", "--yes", *arguments)
    assert isinstance(result.exception, error)
    assert told in str(result.exception)
    assert run(url, "show", "ada").exit_code == 0


def test_rows_of_training_and_recordings_go_too(url: str, tmp_path: Path) -> None:
    manifest, recordings = tmp_path / "rows.jsonl", tmp_path / "kept" / "monday"
    recordings.mkdir(parents=True)
    (recordings / "events.jsonl").write_text(
        json.dumps({"event": "turn", "user": "ada", "turn_id": "1"}) + "\n"
    )
    with closing(SQLMemory(url)) as memory:
        rows = [{"user": memory.pseudonym("ada"), "turn": turn} for turn in ("1", "2")]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    also = ["--manifest", str(manifest), "--recordings", str(recordings.parent)]
    result = run(url, "erase", "ada", "--turn", "1", "--yes", *also)
    assert result.exit_code == 0, result.output
    assert f"manifest {manifest} 1, recordings {recordings.parent} 1" in result.stdout
    assert json.loads(manifest.read_text()) == rows[1]
    assert not recordings.exists()


def test_a_copy_that_is_not_erased_is_told_and_tried_again(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text("{}\n")
    arguments = ["erase", "ada", "--yes", "--manifest", str(manifest)]

    def fails(*_: object) -> int:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "erase", fails)
        result = run(url, *arguments)
    assert result.exit_code == 1
    assert "erased: facts 3" in result.stdout
    assert f"not erased yet: manifest {manifest}: the disk is full" in result.stderr
    told = json.loads(run(url, "receipts", "ada", "--json").stdout)
    assert told[0]["failed"] == {f"manifest {manifest}": "the disk is full"}
    assert "not yet: " in run(url, "receipts", "ada").stdout
    assert run(url, *arguments).exit_code == 0
    told = json.loads(run(url, "receipts", "ada", "--json").stdout)
    assert all(each["completed_at"] for each in told)


def test_receipts_are_listed_of_one_or_all(url: str) -> None:
    run(url, "erase", "ada", "--turn", "1", "--yes")
    run(url, "erase", "bob", "--yes")
    listed = run(url, "receipts")
    for told in ("turn 1", "everything", "facts 1, turns 1, turn emotions 1", "nothing"):
        assert told in listed.stdout.replace("turn emotions 1, turns 1", "turns 1, turn emotions 1")
    assert "everything" not in run(url, "receipts", "ada").stdout
    assert len(json.loads(run(url, "receipts", "bob", "--json").stdout)) == 1


def test_the_audit_log_is_listed_and_verified(url: str) -> None:
    run(url, "consent", "ada", "train", "grant")
    run(url, "erase", "ada", "--turn", "1", "--yes")
    listed = run(url, "audit", "ada").stdout
    for told in ("consent granted", "erase asked", "erased", "cli", "purposes: train"):
        assert told in listed
    assert "log begins" not in listed
    assert "log begins" in run(url, "audit").stdout
    verified = run(url, "audit", "--verify")
    assert verified.exit_code == 0
    assert "whole: 4 records" in verified.stdout
    assert "Keep the head elsewhere" in verified.stdout
    told = json.loads(run(url, "audit", "--verify", "--json").stdout)
    head = told["verified"]["head"]
    assert head in verified.stdout
    assert told["records"][-1]["digest"] == head
    run(url, "consent", "ada", "train", "withdraw")
    anchored = run(url, "audit", "--verify", "--head", head)
    assert "the digest that was given is in the chain" in anchored.stdout
    cut = run(url, "audit", "--verify", "--head", "f" * 64)
    assert cut.exit_code == 1
    assert "NOT in the chain" in cut.stdout
    assert isinstance(run(url, "audit", "--head", head).exception, ConfigError)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_an_altered_record_is_told_with_its_number(url: str) -> None:
    run(url, "erase", "ada", "--turn", "1", "--yes")
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as raw, raw:
        raw.execute("UPDATE audit_log SET who = 'x' WHERE id = 2")
    result = run(url, "audit", "--verify")
    assert result.exit_code == 1
    assert "broken at record 2: it was altered" in result.stderr
    assert not json.loads(run(url, "audit", "--verify", "--json").stdout)["verified"]["whole"]
