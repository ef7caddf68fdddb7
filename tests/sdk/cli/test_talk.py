from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from echat_sdk.cli import rooms, run
from echat_sdk.cli.typed import parse_line
from echat_sdk.cues import Cue, Cues
from echat_sdk.errors import ConfigError, ModelMissingError
from echat_sdk.io.wav import read_audio, write_audio
from echat_sdk.testing import FakeModel, Line

SAD = Cues(emotion=Cue("sad", 0.9, {"sad": 0.9, "neutral": 0.1}))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeModel:
    """A scripted model behind the command line, with a home of its own."""
    monkeypatch.setenv("ECHAT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ECHAT_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    model = FakeModel(Line("my dog [bold] died", ("Oh no.", " Your dog."), SAD))
    monkeypatch.setattr(rooms, "model", lambda settings, lazy=True: model)
    write_audio(tmp_path / "in.wav", np.full(16_000, 500, np.int16), 16_000)
    return model


@pytest.mark.usefixtures("script")
def test_reply_prints_one_json_object_and_nothing_else(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["reply", "in.wav", "--out", "out.wav", "--user", "ada", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {
        "transcript", "lang", "cues", "think", "reply", "reply_emotion", "audio", "user",
        "turn_id", "timings",
    }  # fmt: skip
    assert set(told["cues"]) == {"emotion", "gender", "age", "events", "style"}
    assert told["cues"]["emotion"]["label"] == "sad"
    assert told["cues"]["age"]["label"] == "unknown"
    assert set(told["timings"]) == {"heard", "think", "first_text", "first_audio", "done"}
    assert told["audio"]["path"] == "out.wav"
    assert len(read_audio(tmp_path / "out.wav")) == pytest.approx(16_000 * 0.2, rel=0.01)


@pytest.mark.usefixtures("script")
def test_reply_tells_the_whole_exchange_to_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reply", "in.wav"]) == 0
    told = capsys.readouterr().out
    for part in ("my dog [bold] died", "sad", "90%", "unknown", "Oh no. Your dog.", "comforting",
                 "in.answer.wav", "first sound"):  # fmt: skip
        assert part in told


def test_the_next_run_remembers_the_first(script: FakeModel) -> None:
    run(["reply", "in.wav", "--user", "ada", "--remember"])
    run(["reply", "in.wav", "--user", "ada"])
    run(["reply", "in.wav", "--user", "bob"])
    assert [len(r.turns) for r in script.recollections] == [0, 1, 0]


def test_no_speech_is_told_and_writes_no_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: FakeModel
) -> None:
    monkeypatch.setattr(rooms, "model", lambda settings, lazy=True: FakeModel(Line("")))
    assert run(["reply", "in.wav", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["transcript"], told["audio"], told["turn_id"]) == ("", None, None)
    assert told["note"] == "I heard no speech."
    assert not Path("in.answer.wav").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["reply", "nowhere.wav"], 2, "nowhere.wav"),
        (["reply"], 2, "Missing argument 'IN.wav'"),
        (["reply", "in.wav", "--think", "loud"], 2, "'tag', 'language' or 'off'"),
        (["reply", "in.wav", "--out", "no/such/folder/out.wav"], 2, "no/such/folder"),
        (["understand", "in.wav", "--task", "dance"], 2, "sap"),
        (["understand", "in.wav", "--task", "sap"], 2, "sap"),
        (["understand", "in.wav"], 2, "no task was given"),
        (["understand", "in.wav", "--ask", "who?", "--task", "asr"], 2, "no task 'ask: who?'"),
        (["say", "hi", "--emotion", "loud", "--out", "x.wav"], 2, "comforting"),
        (["sing"], 2, "No such command"),
    ],
)
@pytest.mark.usefixtures("script")
def test_a_wrong_command_line_is_told_in_words_with_exit_code_2(
    arguments: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == code
    printed = capsys.readouterr()
    assert told in " ".join(printed.err.split())
    assert "Traceback" not in printed.err + printed.out


def test_a_missing_model_is_exit_code_3(
    monkeypatch: pytest.MonkeyPatch, script: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(settings: object, lazy: bool = True) -> FakeModel:
        raise ModelMissingError("run: echat models pull echat-lite")

    monkeypatch.setattr(rooms, "model", missing)
    assert run(["reply", "in.wav"]) == 3
    assert "echat models pull echat-lite" in capsys.readouterr().err


@pytest.mark.usefixtures("script")
def test_a_store_that_cannot_be_opened_is_exit_code_4(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.db").write_bytes(b"not a database" * 100)
    monkeypatch.setenv("ECHAT_STORE", f"sqlite:///{tmp_path / 'broken.db'}")
    assert run(["reply", "in.wav"]) == 4
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_is_told_without_its_content_and_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, script: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    def bug(settings: object, lazy: bool = True) -> FakeModel:
        raise ZeroDivisionError("what ada said")

    monkeypatch.setattr(rooms, "model", bug)
    assert run(["reply", "in.wav"]) == 1
    told = capsys.readouterr().err
    assert "ZeroDivisionError" in told
    assert "ada" not in told


def test_ctrl_c_is_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, script: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(settings: object, lazy: bool = True) -> FakeModel:
        raise KeyboardInterrupt

    monkeypatch.setattr(rooms, "model", interrupt)
    assert run(["reply", "in.wav"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def pipe(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


@pytest.mark.usefixtures("script")
def test_chat_reads_a_pipe_and_answers_one_object_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe(monkeypatch, 'I am home.\n\n{"text": "I got the job.", "emotion": "sad"}\n')
    assert run(["chat", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["transcript"] for line in lines] == ["I am home.", "I got the job."]
    assert [line["cues"]["emotion"]["label"] for line in lines] == ["unknown", "sad"]


@pytest.mark.usefixtures("script")
def test_a_bad_line_in_a_pipe_is_told_and_the_others_are_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe(monkeypatch, '{"text": "x", "emotion": "blue"}\nI am home.\n')
    assert run(["chat", "--json"]) == 2
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 1
    assert "emotion must be one of sad, anger" in printed.err


@pytest.mark.parametrize(
    "line", ['{"text": 3}', "{", '{"words": "x"}', '{"text": ""}', "{" * 4_000]
)
def test_a_json_line_of_another_form_is_refused_in_words(line: str) -> None:
    with pytest.raises(ConfigError, match=r"JSON"):
        parse_line(line)


def test_help_is_there_without_loading_a_model_or_a_store() -> None:
    code = (
        "import sys; from echat_sdk.cli import run; run(['--help']);"
        "print([m for m in ('ctranslate2', 'onnxruntime', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
