"""`echat models`: what it prints, and its exit codes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from echat_sdk import cli
from echat_sdk.cli import models
from echat_sdk.errors import ConfigError, ModelMissingError
from echat_sdk.model import zoo
from echat_sdk.model.fetch import File, Hub
from echat_sdk.model.manifest import Card, Part

DATA = b"weights" * 2_000_000
NAMES = ("list", "info", "pull", "verify", "path")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of one model whose only source is the returned folder."""
    file = File("model.bin", len(DATA), hashlib.sha256(DATA).hexdigest())
    card = Card("tiny", "A model.", ("en",), ("asr",), "MIT", len(DATA), ("ears",))
    later = Card(
        "later", "Another.", ("zh",), ("sap",), "MIT", 0, release=("raw",), converts="osum"
    )
    raw = Part("raw", "MIT", (File("raw.pt", 0, "", (Hub("owner/later", "main", "raw.pt"),)),))
    monkeypatch.setattr(zoo, "PARTS", {"ears": Part("ears", "MIT", (file,)), "raw": raw})
    monkeypatch.setattr(zoo, "MODELS", {"tiny": card, "later": later})
    monkeypatch.setenv("ECHAT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ECHAT_MODEL_DIR", raising=False)
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "model.bin").write_bytes(DATA)
    return shelf


@pytest.fixture
def run() -> CliRunner:
    return CliRunner()


def test_a_pull_tells_what_came_and_a_second_one_that_all_is_here(
    shelf: Path, run: CliRunner
) -> None:
    first = run.invoke(models.app, ["pull", "tiny", "--from", str(shelf)])
    assert first.exit_code == 0
    assert "tiny is here: 14.0 MB fetched and verified" in first.stderr
    assert len(first.stderr.splitlines()) <= 4  # a log is not flooded
    second = run.invoke(models.app, ["pull", "tiny"])
    assert "tiny is here and whole" in second.stderr


def test_verify_exits_3_and_names_the_command_that_mends(shelf: Path, run: CliRunner) -> None:
    run.invoke(models.app, ["pull", "tiny", "--from", str(shelf)])
    assert run.invoke(models.app, ["verify", "tiny"]).exit_code == 0
    (zoo.locate("ears") / "model.bin").write_bytes(DATA[::-1])
    found = run.invoke(models.app, ["verify", "tiny"])
    assert found.exit_code == 3
    assert "ears/model.bin: damaged" in found.stderr
    assert "echat models pull tiny" in found.stderr
    run.invoke(models.app, ["pull", "tiny", "--from", str(shelf)])
    assert run.invoke(models.app, ["verify", "tiny"]).exit_code == 0


def test_verify_exits_3_where_nothing_was_pulled(shelf: Path, run: CliRunner) -> None:
    found = run.invoke(models.app, ["verify", "tiny", "--json"])
    assert found.exit_code == 3
    answer = json.loads(found.stdout)
    assert (answer["name"], answer["whole"]) == ("tiny", False)
    assert answer["problems"][0]["kind"] == "missing"


def test_path_prints_where_a_part_is_and_nothing_else(shelf: Path, run: CliRunner) -> None:
    missing = run.invoke(models.app, ["path", "ears"])
    assert isinstance(missing.exception, ModelMissingError)
    run.invoke(models.app, ["pull", "tiny", "--from", str(shelf)])
    assert run.invoke(models.app, ["path", "ears"]).stdout == f"{zoo.locate('ears')}\n"
    places = json.loads(run.invoke(models.app, ["path", "tiny", "--json"]).stdout)
    assert places == {"ears": str(zoo.locate("ears"))}


def test_list_tells_what_is_here(shelf: Path, run: CliRunner) -> None:
    assert [m["here"] for m in json.loads(run.invoke(models.app, ["list", "--json"]).stdout)] == [
        False,
        False,
    ]
    run.invoke(models.app, ["pull", "tiny", "--from", str(shelf)])
    listed = json.loads(run.invoke(models.app, ["list", "--json"]).stdout)
    assert [(m["name"], m["here"]) for m in listed] == [("tiny", True), ("later", False)]
    assert "14.0 MB" in run.invoke(models.app, ["list"]).stdout


def test_info_tells_files_and_licence_and_what_must_be_converted(
    shelf: Path, run: CliRunner
) -> None:
    tiny = run.invoke(models.app, ["info", "tiny"]).stdout
    assert "model.bin" in tiny
    assert "MIT" in tiny
    later = run.invoke(models.app, ["info", "later"]).stdout
    for told in ("pull later --allow-pickle", "models convert FILE later", "owner/later @ main"):
        assert told in later
    assert "raw.pt  sha256 as the hub has it" in later
    assert json.loads(run.invoke(models.app, ["info", "tiny", "--json"]).stdout)["tasks"] == ["asr"]


@pytest.mark.parametrize("command", ["info", "pull", "verify", "path"])
def test_an_unknown_name_is_refused(shelf: Path, run: CliRunner, command: str) -> None:
    assert isinstance(run.invoke(models.app, [command, "tny"]).exception, ConfigError)


def test_an_interrupted_pull_says_how_to_go_on(
    shelf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(zoo, "pull", interrupted)
    assert cli.run(["models", "pull", "tiny"]) == 130
    assert "echat models pull tiny goes on" in capsys.readouterr().err


@pytest.mark.parametrize("command", NAMES)
def test_every_command_has_help_with_an_example(run: CliRunner, command: str) -> None:
    help_text = run.invoke(models.app, [command, "--help"]).stdout
    assert f"echat models {command}" in " ".join(help_text.split())
