from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from echat_memory import SQLMemory
from echat_sdk.cli import run
from echat_sdk.cli.commands import app
from echat_sdk.consent import REMEMBERED
from echat_sdk.cues import Cue, Cues
from echat_sdk.turn import Turn

SAID = "My dog is called Rex. 我住在北京"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("ECHAT_HOME", str(home))
    return home


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path, home: Path) -> str:
    url = f"sqlite:///{tmp_path / 'store' / 'echat.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_store")
    with closing(SQLMemory(url)) as memory:
        memory.consent("ada", REMEMBERED, version="1", channel="paper")
        memory.remember("ada", Turn(SAID, cues=Cues(Cue("sad", 0.8)), seconds=2.0))
    return url


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Runs the whole program; its exit code and what it said of what went wrong."""
    code = run(["memory", *arguments])
    return code, capsys.readouterr().err


def test_a_document_goes_to_a_file_of_its_owner_s_and_back_into_another_store(
    url: str, tmp_path: Path
) -> None:
    path, emotions = tmp_path / "ada.json", tmp_path / "ada.emotionml"
    other = f"sqlite:///{tmp_path / 'other.db'}"
    files = ["--out", str(path), "--emotionml", str(emotions)]
    result = CliRunner().invoke(app, ["memory", "export", "ada", *files, "--store", url])
    assert result.exit_code == 0, result.output
    assert result.output == f"written to {path}\nwritten to {emotions}\n"
    assert [stat.S_IMODE(file.stat().st_mode) for file in (path, emotions)] == [0o600, 0o600]
    assert {file.name for file in tmp_path.iterdir()} >= {"ada.json", "ada.emotionml"}
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]
    assert ElementTree.parse(emotions).getroot().tag.endswith("}emotionml")
    assert json.loads(path.read_text("utf-8"))["turns"][0]["transcript"] == SAID
    result = CliRunner().invoke(app, ["memory", "import", str(path), "--agreed", "--store", other])
    assert result.exit_code == 0, result.output
    assert result.output == (
        "imported: consents 7, sessions 1, turns 1, turn emotions 1, facts 1\n"
    )
    result = CliRunner().invoke(app, ["memory", "export", "ada", "--store", other])
    was = path.read_text("utf-8").splitlines()
    assert result.stdout.splitlines()[2:] == was[2:]  # what is above is the time of the export


@pytest.mark.timeout(60)
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_standard_output_takes_every_character_whatever_its_encoding(url: str) -> None:
    command = [sys.executable, "-m", "echat_sdk", "memory", "export", "ada", "--store", url]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, check=True, env=ascii_only)
    assert json.loads(done.stdout.decode())["turns"][0]["transcript"] == SAID


def test_a_dash_is_standard_output(url: str) -> None:
    result = CliRunner().invoke(app, ["memory", "export", "ada", "--out", "-", "--store", url])
    assert json.loads(result.stdout)["turns"][0]["transcript"] == SAID


def test_emotionml_alone_is_all_that_is_written(url: str) -> None:
    result = CliRunner().invoke(
        app, ["memory", "export", "ada", "--emotionml", "-", "--store", url]
    )
    assert ElementTree.fromstring(result.stdout.encode()) is not None
    assert "Rex" not in result.stdout


def test_the_schema_needs_no_user_and_no_store(home: Path) -> None:
    result = CliRunner().invoke(app, ["memory", "export", "--schema"])
    published = Path(__file__).parents[3] / "memory/export.schema.json"
    assert json.loads(result.stdout) == json.loads(published.read_text())
    assert not home.exists()


def test_who_is_not_known_is_told_as_elsewhere(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.json"
    shown = told(["show", "nobody", "--store", url], capsys)
    assert told(["export", "nobody", "--out", str(path), "--store", url], capsys) == shown
    assert shown == (2, "echat: no user with this id is known here\n")
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "whose? Give a USER"),
        (["ada", "--out", "/"], "it is no file"),
        (["ada", "--out", "no/such/folder/a.json"], "No such file or directory"),
        (["ada", "--out", "a", "--emotionml", "./a"], "name the same place"),
        (["ada", "--out", "-", "--emotionml", "-"], "name the same place"),
    ],
)
def test_what_cannot_be_written_is_told_in_a_line(
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, line = told(["export", *arguments, "--store", url], capsys)
    assert (code, line.count("\n")) == (2, 1)
    assert message in line


def test_a_file_that_is_there_stays_as_it_was_where_an_export_fails(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ada.json"
    path.write_text("before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, line = told(["export", "ada", "--out", str(path), "--store", url], capsys)
    assert code == 2
    assert "No space left" in line
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.glob("*.json*")] == ["ada.json"]


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("", [], "is empty"),
        ("hello", [], "line 1: something else stands where { belongs"),
        ('{"format": "echat-memory", "version": 99}', [], "has version 99 of the format"),
        (None, [], "not agreed to be remembered here"),
        (None, ["--user", "bob", "--agreed"], "another user than --user names"),
        (None, ["--rename", "--agreed"], "--rename needs the new id"),
    ],
)
def test_what_cannot_be_taken_in_is_told_in_a_line_and_nothing_is_written(
    url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str | None,
    arguments: list[str],
    message: str,
) -> None:
    path, other = tmp_path / "ada.json", f"sqlite:///{tmp_path / 'other.db'}"
    if text is None:
        assert run(["memory", "export", "ada", "--out", str(path), "--store", url]) == 0
    else:
        path.write_text(text)
    code, line = told(["import", str(path), *arguments, "--store", other], capsys)
    assert (code, line.count("\n")) == (2, 1)
    assert message in line
    if (tmp_path / "other.db").exists():
        with closing(SQLMemory(other)) as memory:
            assert memory.users() == 0


def test_who_is_known_here_is_replaced_on_that_word_alone(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ada.json"
    assert run(["memory", "export", "ada", "--out", str(path), "--store", url]) == 0
    code, line = told(["import", str(path), "--agreed", "--store", url], capsys)
    assert code == 2
    assert "kept of this user here already" in line
    assert run(["memory", "import", str(path), "--replace", "--json", "--store", url]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["user"] == "ada"
    assert (found["imported"]["turns"], found["left_out"]) == (1, {})


def test_at_work_no_emotion_comes_in(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, other = tmp_path / "ada.json", f"sqlite:///{tmp_path / 'other.db'}"
    assert run(["memory", "export", "ada", "--out", str(path), "--store", url]) == 0
    monkeypatch.setenv("ECHAT_DEPLOYMENT", "workplace")
    capsys.readouterr()
    assert run(["memory", "import", str(path), "--agreed", "--store", other]) == 0
    assert "left out: turn emotions 1" in capsys.readouterr().out
