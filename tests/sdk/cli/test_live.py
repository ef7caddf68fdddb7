from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from echat_sdk.cli import live, rooms, run
from echat_sdk.cues import Cue, Cues
from echat_sdk.io.wav import read_audio, write_audio
from echat_sdk.testing import FakeModel, Line

SAD = Cues(emotion=Cue("sad", 0.9, {"sad": 0.9, "neutral": 0.1}))
VOICE = Path(__file__).parents[3] / "examples/audio/sad.wav"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeModel:
    """A scripted model behind the command line, with a home of its own, and a second of voice."""
    monkeypatch.setenv("ECHAT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ECHAT_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    model = FakeModel(Line("my dog [bold] died", ("Oh no.", " Your dog."), SAD))
    monkeypatch.setattr(rooms, "model", lambda settings, lazy=True: model)
    monkeypatch.setattr(rooms, "turn_end", lambda settings: None)
    monkeypatch.setattr(live, "_TAIL", 1.0)
    write_audio(tmp_path / "in.wav", read_audio(VOICE)[:16_000], 16_000)
    return model


FILES = ["talk", "--input", "in.wav", "--output", "out.wav"]


@pytest.mark.usefixtures("script")
def test_a_recording_is_conversed_with_as_if_it_were_spoken_now(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run([*FILES, "--user", "ada"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"you +my dog \[bold\] died +\(sad\)", told)
    assert re.search(r"agent +Oh no\. Your dog\. +\(comforting, first sound \d\.\d\d s\)", told)
    said = np.abs(read_audio(tmp_path / "out.wav")) > 50
    assert np.flatnonzero(said)[0] / 16_000 > 1.0, "the answer stands where it was heard"


@pytest.mark.usefixtures("script")
def test_events_are_told_to_machines_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*FILES, "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = [event["event"] for event in events]
    order = ["user_started", "user_stopped", "heard", "thought", "text", "speech", "turn"]
    assert [names.index(name) for name in order] == sorted(names.index(name) for name in order)
    assert events[-1] == {"event": "state", "state": "ended"}
    turn = next(event for event in events if event["event"] == "turn")
    assert turn["status"] == "complete"
    assert turn["reply"] == "Oh no. Your dog."


@pytest.mark.usefixtures("script")
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["talk", "--input", "in.wav"], "go together"),
        (["talk", "--input", "none.wav", "--output", "out.wav"], "none.wav"),
        ([*FILES, "--policy", "hasty"], "no policy 'hasty'; one of patient, normal, brisk, kiosk"),
        (["talk", "--input", "in.wav", "--output", "no/where.wav"], "there is no folder no"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert complaint in " ".join(capsys.readouterr().err.split())
