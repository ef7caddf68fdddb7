from __future__ import annotations

import json
import random
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

import echat_memory.bench
from echat_memory import SQLMemory
from echat_memory.bench import people, run
from echat_memory.bench.filling import fill
from echat_memory.bench.talking import STEPS
from echat_sdk import cli
from echat_sdk.consent import REMEMBERED

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_one_of_the_people_has_a_tenth_of_all_turns_and_the_others_the_rest() -> None:
    who = people.people(10_000, name="user")
    assert sum(person.turns for person in who) == 10_000
    assert who[0].turns == 1_000
    assert len(who) == 501
    assert min(person.turns for person in who) >= 1


def test_turns_are_placed_in_the_order_of_time_and_the_same_at_each_run() -> None:
    who = people.people(200, name="user")
    turns = list(people.placed(who, NOW))
    assert len(turns) == 200
    assert [turn.at for turn in turns] == sorted(turn.at for turn in turns)
    assert turns == list(people.placed(who, NOW))


def test_what_is_filled_in_at_once_is_read_as_if_it_had_been_remembered(
    store: Path | str,
) -> None:
    who = people.people(300, name="user")
    user, at = who[0].user, NOW
    with closing(SQLMemory(store, retention=None, clock=lambda: at)) as memory:
        fill(memory, who, NOW)
        memory.consent("remembered", REMEMBERED)
        for placed in people.placed(who, NOW):
            if placed.person == 0:
                at = placed.at
                memory.remember("remembered", placed.turn)
        at = NOW
        assert len(memory.show(user, 99)) == 30
        assert memory.allowed(user) == memory.allowed("remembered")
        assert memory.facts(user) == memory.facts("remembered")
        for number in range(5):
            query = people.question(random.Random(number))
            assert memory.recall(user, query=query) == memory.recall("remembered", query=query)
        assert memory.mood(user) == memory.mood("remembered")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, n in (("_ALONE", 3), ("_AT_ONCE", 10), ("_MICRO", 5), ("_WEIGHED", 50)):
        monkeypatch.setattr(run, name, n)
    monkeypatch.setattr("echat_memory.bench.talking.SPEAKING", 0.01)


def bench(capsys: pytest.CaptureFixture[str], *given: str) -> dict[str, object]:
    asked = ["--turns", "200", "--sessions", "1", "--rounds", "1", *given]
    assert cli.run(["bench", "memory", "--json", *asked]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.usefixtures("few")
def test_the_command_times_every_step_of_each_side(
    database: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[str] = []
    if database == "postgresql":
        given = ["--store", str(request.getfixturevalue("postgres_store"))]
    found = bench(capsys, *given)
    assert set(found) == {
        "database",
        "machine",
        "rounds",
        "peer",
        "rows",
        "ratios",
        "parts",
        "search_bytes",
        "notes",
    }
    assert found["database"] == database
    peer = {"sqlite": "aiosqlite", "postgresql": "asyncpg"}[database]
    assert str(found["peer"]).startswith(peer)
    rows = found["rows"]
    assert isinstance(rows, list)
    assert set(rows[0]) == {
        "turns",
        "sessions",
        "of_user",
        "step",
        "side",
        "p50",
        "p95",
        "cpu",
        "n",
    }
    assert {row["step"] for row in rows if row["side"].startswith("echat")} == set(STEPS)
    assert {row["step"] for row in rows if row["side"].startswith(peer)} == set(STEPS[:3])
    ratios = found["ratios"]
    assert isinstance(ratios, list)
    assert all(ratio["median"] > 0 for ratio in ratios)
    assert any("leaves out" in note for note in found["notes"])  # type: ignore[attr-defined]


@pytest.mark.usefixtures("few")
def test_encrypted_fields_are_measured_beside(capsys: pytest.CaptureFixture[str]) -> None:
    found = bench(capsys, "--encrypt", "fields")
    sides = {row["side"] for row in found["rows"]}  # type: ignore[attr-defined]
    assert len(sides) == 3
    assert sum(side.endswith("encrypted") for side in sides) == 1


@pytest.mark.usefixtures("few")
def test_several_talk_at_once_and_all_their_turns_are_kept(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.run(["bench", "memory", "--turns", "200", "--sessions", "5", "--rounds", "1"]) == 0
    shown = capsys.readouterr().out
    assert "5 at once" in shown
    assert "leaves out" in shown


@pytest.mark.postgres
def test_a_database_that_has_users_is_not_written_into(
    postgres_store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(SQLMemory(postgres_store, unasked=REMEMBERED)) as memory:
        memory.remember("ada", people.turn(random.Random(1)))
    assert cli.run(["bench", "memory", "--store", postgres_store]) == 2
    assert "give an empty database" in capsys.readouterr().err


@pytest.mark.usefixtures("few")
def test_without_a_peer_the_command_says_how_to_get_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "aiosqlite", None)
    monkeypatch.delitem(sys.modules, "echat_memory.bench.peer_sqlite", raising=False)
    monkeypatch.delattr(echat_memory.bench, "peer_sqlite", raising=False)
    assert cli.run(["bench", "memory", "--turns", "200", "--sessions", "1", "--rounds", "1"]) == 0
    assert run.GET_PEER in capsys.readouterr().err
