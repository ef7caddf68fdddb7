from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from echat_memory import SQLMemory
from echat_sdk.cli.memory import app
from echat_sdk.consent import REMEMBERED
from echat_sdk.cues import Cue, Cues
from echat_sdk.errors import StoreError
from echat_sdk.pause_profile import PauseProfile
from echat_sdk.turn import Turn

WIDE = {"COLUMNS": "160"}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'echat.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_store")
    with closing(SQLMemory(url, unasked=REMEMBERED)) as memory:
        for name in ("Rex", "Max", "Bo"):
            cues = Cues(Cue("sad", 0.81, {"sad": 0.81, "neutral": 0.19}))
            turn = Turn(f"My dog is called {name}. \x1b[31m", cues=cues, reply="Tell me more.")
            memory.remember("ada", turn)
    return url


def test_show_prints_words_feeling_reply_facts_and_mood(url: str) -> None:
    result = CliRunner().invoke(app, ["show", "ada", "--store", url], env=WIDE)
    assert result.exit_code == 0, result.output
    for wanted in (
        "called Max.",
        "sad 81%",
        "Tell me more.",
        "their dog is called Bo",
        "more often than not",
    ):
        assert wanted in result.output
    assert "\x1b" not in result.output  # what was said cannot steer the terminal


def test_show_json_is_one_object_with_all_that_is_kept(url: str) -> None:
    result = CliRunner().invoke(app, ["show", "ada", "--json", "--limit", "2", "--store", url])
    found = json.loads(result.stdout)
    assert set(found) == {"user", "turns", "facts", "mood", "pauses"}
    assert found["pauses"] is None
    assert [turn["id"] for turn in found["turns"]] == ["2", "3"]
    assert found["turns"][0]["cues"]["emotion"]["distribution"] == {"sad": 0.81, "neutral": 0.19}
    assert found["facts"] == ["their dog is called Bo", "their dog is called Max"]  # ask which
    assert "sad" in found["mood"]


@pytest.mark.parametrize(
    ("count", "told"), [(1, "1 pause\n"), (23, "23 pauses\n"), (40, "40 or more pauses\n")]
)
def test_show_tells_how_somebody_pauses_once_that_was_learnt(
    url: str, count: int, told: str
) -> None:
    show = ["show", "ada", "--store", url]
    assert "pauses" not in CliRunner().invoke(app, show, env=WIDE).output
    with closing(SQLMemory(url, unasked=REMEMBERED)) as memory:
        memory.keep_pauses("ada", PauseProfile(mean=0.8125, count=count))
    result = CliRunner().invoke(app, show, env=WIDE)
    assert f"pauses about 0.8 s within a turn, learnt from {told}" in result.output
    found = json.loads(CliRunner().invoke(app, [*show, "--json"]).stdout)
    assert found["pauses"] == {"mean": 0.8125, "count": count}


def test_an_unknown_user_is_told_plainly_and_not_made(url: str) -> None:
    for arguments in (["show", "nobody"], ["show", "nobody", "--json"]):
        result = CliRunner().invoke(app, [*arguments, "--store", url])
        assert result.exit_code == 2
        assert "no user with this id is known here" in result.stderr
        assert result.stdout == ""
    with closing(SQLMemory(url, unasked=REMEMBERED)) as memory:
        assert memory.users() == 1


def test_the_store_of_the_settings_is_the_default(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECHAT_STORE", url)
    assert CliRunner().invoke(app, ["show", "ada"]).exit_code == 0


def test_a_store_that_cannot_be_opened_is_a_store_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["show", "ada", "--store", f"sqlite:///{tmp_path}"])
    assert isinstance(result.exception, StoreError)


def test_trace_tells_why_a_turn_was_answered_as_it_was(url: str) -> None:
    result = CliRunner().invoke(app, ["trace", "ada", "--store", url], env=WIDE)
    assert result.exit_code == 0, result.output
    for wanted in ("My dog is called Bo.", "seemed to sound sad (81% sure)", "Tell me more."):
        assert wanted in result.output
    assert "\x1b" not in result.output
    result = CliRunner().invoke(app, ["trace", "ada", "1", "--json", "--store", url])
    found = json.loads(result.stdout)
    assert found["heard"]["transcript"].startswith("My dog is called Rex.")
    assert found["chosen"] == {"strategy": "", "reply_emotion": "neutral"}
    assert set(found["in_words"]) == {"heard", "felt", "remembered", "chosen", "said"}


def test_trace_of_a_turn_that_is_not_there_is_told(url: str) -> None:
    for given in (["ada", "99"], ["nobody"]):
        result = CliRunner().invoke(app, ["trace", *given, "--store", url])
        assert isinstance(result.exception, StoreError)
