"""Who types or says on the command line that something shall be forgotten is obeyed there, too."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from echat_sdk.agent.rights_lines import LINES
from echat_sdk.cli import rooms, run
from echat_sdk.io.wav import write_audio
from echat_sdk.testing import FakeModel, Line

DONE = " ".join(LINES["all, and no more"]["en"])


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("ECHAT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ECHAT_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    write_audio(tmp_path / "in.wav", np.full(16_000, 500, np.int16), 16_000)
    return tmp_path


def says(monkeypatch: pytest.MonkeyPatch, *lines: Line) -> None:
    model = FakeModel(*lines)
    monkeypatch.setattr(rooms, "model", lambda settings, lazy=True: model)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    capsys.readouterr()
    assert run([*arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.usefixtures("home")
def test_chat_tells_what_is_kept_and_erases_it_after_a_yes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    says(monkeypatch, Line("x"))
    lines = "My dog is called Rex.\nWhat do you know about me?\nForget everything about me.\nyes\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    answers = told(capsys, "chat", "--user", "ada b", "--remember")
    assert "your dog is called Rex" in str(answers[1]["reply"])
    assert "echat memory show 'ada b'" in str(answers[1]["reply"])
    assert [answer["turn_id"] for answer in answers] == ["1", None, None, None]
    assert answers[3]["reply"] == DONE
    assert run(["memory", "show", "ada b"]) == 2  # nobody of that name is known


@pytest.mark.usefixtures("home")
def test_reply_forgets_what_was_said_before_and_says_how_all_is_erased(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    says(
        monkeypatch,
        Line("My dog is called Rex."),
        Line("Forget what I just said."),
        Line("Forget everything about me."),
    )
    assert run(["reply", "in.wav", "--user", "ada", "--remember"]) == 0
    assert run(["reply", "in.wav", "--user", "ada"]) == 0
    assert "What you said just now is erased" in capsys.readouterr().out
    assert run(["memory", "show", "ada"]) == 2
    assert run(["reply", "in.wav", "--user", "ada"]) == 0
    assert "nothing was erased; echat memory erase ada does it" in capsys.readouterr().err


@pytest.mark.usefixtures("home")
def test_a_zone_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("home").mkdir()
    Path("home/config.toml").write_text('zone = "Mars/Olympus"\n')
    assert run(["chat"]) == 2
    assert "zone = 'Mars/Olympus'" in capsys.readouterr().err
