from __future__ import annotations

import io
import json
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from echat_memory import SQLMemory
from echat_sdk.cli import agreeing, rooms, run
from echat_sdk.config import Settings
from echat_sdk.consent import REMEMBERED, RUN, Purpose
from echat_sdk.cues import Cue, Cues
from echat_sdk.io.wav import write_audio
from echat_sdk.testing import FakeModel, Line

SAD = Cues(emotion=Cue("sad", 0.9, {"sad": 0.9, "neutral": 0.1}))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Script:
    """A scripted model behind the command line, and the settings that it was opened with."""

    def __init__(self, home: Path) -> None:
        self.model = FakeModel(Line("my dog is called Rex", ("Rex!",), SAD))
        self.store = home / "echat.db"
        self.settings: list[Settings] = []

    def open(self, settings: Settings, lazy: bool = True) -> FakeModel:
        self.settings.append(settings)
        return self.model

    def kept(self, user: str) -> list[str]:
        with closing(SQLMemory(self.store)) as memory:
            return [stored.turn.transcript for stored in memory.show(user)]

    def allowed(self, user: str) -> frozenset[str]:
        with closing(SQLMemory(self.store)) as memory:
            return memory.allowed(user)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Script:
    monkeypatch.setenv("ECHAT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ECHAT_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    script = Script(tmp_path / "home")
    monkeypatch.setattr(rooms, "model", script.open)
    write_audio(tmp_path / "in.wav", np.full(16_000, 500, np.int16), 16_000)
    return script


def types(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(text))


REPLY = ["reply", "in.wav", "--user", "ada"]


def test_without_a_terminal_nobody_is_asked_and_nothing_is_kept(script: Script) -> None:
    assert run(REPLY) == 0
    assert script.kept("ada") == []
    assert script.allowed("ada") == set()
    assert script.settings[0].infer_emotion  # who starts it asks to be heard


def test_remember_agrees_once_and_for_the_next_time(script: Script) -> None:
    assert run([*REPLY, "--remember"]) == 0
    assert run([*REPLY]) == 0
    assert run([*REPLY, "--remember"]) == 0
    assert len(script.kept("ada")) == 3
    assert script.allowed("ada") == REMEMBERED
    assert [len(r.turns) for r in script.model.recollections] == [0, 1, 2]


def test_a_guest_leaves_no_file(script: Script) -> None:
    assert run([*REPLY, "--guest"]) == 0
    assert not script.store.exists()


def test_on_a_terminal_one_is_asked_once_before_one_is_heard(
    monkeypatch: pytest.MonkeyPatch, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    types(monkeypatch, "y\n")
    assert run(REPLY) == 0
    told = capsys.readouterr().err
    assert "how you sounded is kept" in told
    assert "Agree?" in told
    assert script.allowed("ada") == REMEMBERED
    types(monkeypatch, "")
    assert run(REPLY) == 0
    assert "Agree?" not in capsys.readouterr().err
    assert len(script.kept("ada")) == 2


def test_who_says_no_is_heard_as_a_guest_and_not_asked_again(
    monkeypatch: pytest.MonkeyPatch, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    types(monkeypatch, "\n")
    assert run(REPLY) == 0
    capsys.readouterr()
    assert run(REPLY) == 0
    assert "Agree?" not in capsys.readouterr().err
    assert script.kept("ada") == []
    assert script.settings[-1].infer_emotion


def test_each_purpose_can_be_answered_apart_and_what_is_refused_is_not_inferred(
    monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    # voice, emotion, age, gender, words, how it sounded, memory
    types(monkeypatch, "e\ny\nn\nn\nn\ny\nn\ny\n")
    assert run(REPLY) == 0
    granted = {Purpose.PROCESS_VOICE, Purpose.STORE_TRANSCRIPT, Purpose.LONG_TERM_MEMORY}
    assert script.allowed("ada") == granted
    assert not script.settings[0].infer_emotion
    assert not script.settings[0].infer_gender
    assert script.kept("ada") == ["my dog is called Rex"]
    with closing(SQLMemory(script.store)) as memory:
        assert memory.show("ada")[0].turn.cues == Cues()


def test_who_does_not_agree_to_be_heard_is_not(
    monkeypatch: pytest.MonkeyPatch, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    types(monkeypatch, "e\n" + "n\n" * 7)
    assert run(REPLY) == 2
    assert "nobody is listened to without consent" in " ".join(capsys.readouterr().err.split())
    assert script.settings == []  # no model was opened


@pytest.mark.parametrize("deployment", ["service", "workplace", "education"])
def test_elsewhere_than_at_home_nobody_is_heard_unasked(
    monkeypatch: pytest.MonkeyPatch, script: Script, deployment: str
) -> None:
    monkeypatch.setenv("ECHAT_DEPLOYMENT", deployment)
    assert run(REPLY) == 2
    assert run([*REPLY, "--guest"]) == 2
    assert run([*REPLY, "--remember"]) == 0
    assert script.settings[0].infer_emotion == (deployment == "service")
    with closing(SQLMemory(script.store)) as memory:
        (stored,) = memory.show("ada")
    assert stored.turn.cues.emotion.is_known == (deployment == "service")


def test_an_exemption_lets_emotion_be_inferred_at_work(
    monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    monkeypatch.setenv("ECHAT_DEPLOYMENT", "workplace")
    monkeypatch.setenv("ECHAT_EXEMPTION", "medical")
    assert run([*REPLY, "--remember"]) == 0
    assert script.settings[0].infer_emotion


# --- echat memory consent --------------------------------------------------------------------


def test_the_table_tells_each_purpose_in_words(
    script: Script, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert run(["memory", "consent", "ada"]) == 0
    told = capsys.readouterr().out
    for purpose in Purpose:
        assert purpose in told
    assert "your words, and the answers to them, are kept" in told
    assert "while you talk" in told
    assert script.allowed("ada") == set()
    assert run(["memory", "consent", "ada", "infer_emotion", "grant", "--days", "30"]) == 0
    assert "granted until 20" in capsys.readouterr().out


def test_an_answer_is_taken_and_a_no_after_a_yes_erases(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    run([*REPLY, "--remember"])
    capsys.readouterr()
    assert run(["memory", "consent", "ada", "store_emotion", "deny", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["erased"] == {"reply_plans": 1, "turn_emotions": 1}
    row = next(each for each in told["consents"] if each["purpose"] == "store_emotion")
    assert (row["state"], row["allowed"], row["channel"]) == ("withdrawn", False, "cli")
    assert run(["memory", "consent", "ada", "long_term_memory", "withdraw"]) == 0
    assert "erased: " in capsys.readouterr().out
    assert script.kept("ada") == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["infer_emotion"], "go together"),
        (["infer_emotion", "maybe"], "one of grant, deny, withdraw"),
        (["sell", "grant"], "one of process_voice, infer_emotion"),
        (["train", "withdraw"], "it can become denied or granted"),
        (["train", "deny", "--days", "3"], "when a grant ends"),
    ],
)
@pytest.mark.usefixtures("script")
def test_a_wrong_answer_is_told_in_words(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["memory", "consent", "ada", *arguments]) == 2
    assert told in " ".join(capsys.readouterr().err.split())


def test_sweep_tells_what_is_due_and_what_went(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    run([*REPLY, "--remember"])
    capsys.readouterr()
    assert run(["memory", "sweep"]) == 0
    assert capsys.readouterr().out == "nothing is due\n"
    (script.store.parent / "config.toml").write_text("[retention]\nturns_days = 1e-9\n")
    assert run(["memory", "sweep", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"due": {"turns": 1}}
    assert run(["memory", "sweep"]) == 0
    assert capsys.readouterr().out == "swept: turns 1\n"
    assert script.kept("ada") == []


def test_a_model_infers_nothing_to_which_its_user_did_not_agree() -> None:
    settings = Settings(home=Path(), store="", infer_gender=False)  # type: ignore[call-arg]
    heeds = agreeing.heeding(settings, RUN)
    assert (heeds.infer_emotion, heeds.infer_gender) == (True, False)
    assert not agreeing.heeding(settings, set()).infer_emotion
