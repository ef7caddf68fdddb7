from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echat_sdk.cli import live, replay, rooms, run
from echat_sdk.cues import Cue, Cues
from echat_sdk.errors import AudioDeviceError
from echat_sdk.io.timed import TimedAudio
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
    assert re.search(r"you +my dog \[bold\] died +\(sounds sad, 90 %\)", told)
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
        ([*FILES, "--echo", "loud"], "no --echo 'loud'; one of auto, cancel, guard, off"),
        ([*FILES, "--noise", "loud"], "no --noise 'loud'; one of keep, suppress"),
        ([*FILES, "--record", "kept"], "add --consent if all who will be heard agree"),
        ([*FILES, "--record", ".", "--consent"], "is not empty"),
        (["replay", "none"], "settings.json is not there"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert complaint in " ".join(capsys.readouterr().err.split())
    assert not Path("kept").exists()


@pytest.mark.usefixtures("script")
def test_a_conversation_is_kept_where_all_agree_and_runs_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", _Terminal("y\n"))
    assert run([*FILES, "--record", "kept", "--policy", "brisk", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "Do all who will be heard agree?" in err
    assert all(json.loads(line) for line in out.splitlines())
    assert sorted(path.name for path in Path("kept").iterdir()) == [
        "agent.wav",
        "events.jsonl",
        "settings.json",
        "user.wav",
    ]
    kept = json.loads(Path("kept/settings.json").read_text())
    assert (kept["consent"], kept["policy"], kept["echo"]) == ("asked", "brisk", "off")

    monkeypatch.setattr(replay, "_TAIL", 1.0)
    other = FakeModel(Line("my dog died", ("Oh no.", " Your dog."), SAD))
    monkeypatch.setattr(rooms, "model", lambda settings, lazy=True: other)
    assert run(["replay", "kept", "--policy", "patient", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["recorded"]["policy"], told["replayed"]["policy"]) == ("brisk", "patient")
    (turn,) = told["turns"]
    assert turn["differs"] == ["transcript"]
    assert turn["replayed"]["transcript"] == "my dog died"
    assert turn["replayed"]["reply"] == turn["recorded"]["reply"] == "Oh no. Your dog."
    before, after = turn["recorded"], turn["replayed"]
    assert after["ended"] - before["ended"] == pytest.approx(0.6, abs=0.2), "patient waits longer"
    assert after["spoke"] - after["ended"] < 1.0


def consents_of(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    capsys.readouterr()
    assert run(["memory", "consent", "me", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["consents"]
    return {each["purpose"]: each for each in found}


def test_who_agrees_to_be_recorded_has_said_so_in_the_store(
    script: FakeModel, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert consents_of(capsys)["store_audio"]["state"] == "unknown"
    assert run([*FILES, "--record", "kept", "--consent"]) == 0
    said = consents_of(capsys)["store_audio"]
    assert (said["state"], said["channel"]) == ("granted", "flag")
    assert run(["memory", "consent", "me", "store_audio", "withdraw"]) == 0
    monkeypatch.setattr(sys, "stdin", _Terminal("n\ny\n"))
    assert run([*FILES, "--record", "again"]) == 2  # nobody is even asked: it was taken back
    assert not Path("again").exists()
    assert run(["memory", "consent", "me", "store_audio", "grant"]) == 0
    monkeypatch.setattr(sys, "stdin", _Terminal("y\n"))
    assert run([*FILES, "--record", "again"]) == 0


def test_who_refused_that_sound_is_kept_is_not_recorded_by_a_flag(
    script: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["memory", "consent", "me", "store_audio", "deny"]) == 0
    assert run([*FILES, "--record", "kept", "--consent"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "this user's answer to store_audio is denied" in told
    assert not Path("kept").exists()
    assert consents_of(capsys)["store_audio"]["state"] == "denied"
    # Of a guest the store knows nothing; they answer for this run.
    assert run([*FILES, "--record", "kept", "--consent", "--guest"]) == 0


def test_nobody_is_recorded_who_says_no(
    script: FakeModel, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", _Terminal("n\nn\n"))  # not remembered, either
    assert run([*FILES, "--record", "kept"]) == 2
    assert "nobody is recorded without consent" in " ".join(capsys.readouterr().err.split())
    assert not Path("kept").exists()
    assert not script.recollections


class _Terminal(io.StringIO):
    """A standard input at which somebody sits."""

    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("script")
def test_a_conversation_that_ends_because_a_device_was_lost_is_no_success(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(self: TimedAudio, _: object) -> None:
        raise AudioDeviceError("the speaker was unplugged")

    monkeypatch.setattr(TimedAudio, "play", lost)
    assert run([*FILES]) == 2
    assert "the speaker was unplugged" in capsys.readouterr().out


# --- typed beside the sound -----------------------------------------------------------------------


@pytest.fixture
def silence() -> None:
    write_audio(Path("in.wav"), np.zeros(24_000, np.int16), 16_000)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Where to write, for who reads our standard input."""
    source, target = os.pipe()
    with os.fdopen(source) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield target


def told_as_json(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.usefixtures("script", "silence")
def test_typed_lines_are_turns_each_answered_before_the_next(
    pipe: int, capsys: pytest.CaptureFixture[str]
) -> None:
    os.write(pipe, b'my cat died\n{"text": "I am fine", "emotion": "happy"}\n')
    os.close(pipe)
    assert run([*FILES, "--json", "--type"]) == 0, "the end of the input ends nothing"
    turns = [event for event in told_as_json(capsys) if event["event"] == "turn"]
    assert [turn["transcript"] for turn in turns] == ["my cat died", "I am fine"]
    assert {turn["status"] for turn in turns} == {"complete"}
    assert turns[1]["cues"]["emotion"]["label"] == "happy"


@pytest.mark.usefixtures("script", "silence")
def test_standard_input_is_left_alone_unless_it_is_asked_for(
    pipe: int, capsys: pytest.CaptureFixture[str]
) -> None:
    os.write(pipe, b"my cat died\n")
    assert run([*FILES, "--json"]) == 0
    assert not [event for event in told_as_json(capsys) if event["event"] == "turn"]
    os.close(pipe)
    assert sys.stdin.read() == "my cat died\n"


@pytest.mark.usefixtures("script", "silence")
def test_what_was_typed_is_kept_and_typed_again(
    pipe: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.write(pipe, b'{"text": "my cat died", "emotion": "sad"}\n')
    os.close(pipe)
    assert run([*FILES, "--type", "--record", "kept", "--consent"]) == 0
    told = capsys.readouterr().out
    assert "you    my cat died  (typed, sounds sad, 100 %)" in told
    assert "kept in kept; run it again: echat replay kept" in told
    monkeypatch.setattr(replay, "_TAIL", 1.0)
    assert run(["replay", "kept", "--json"]) == 0
    (turn,) = json.loads(capsys.readouterr().out)["turns"]
    assert turn["differs"] == []
    assert turn["replayed"]["transcript"] == "my cat died"
    assert turn["replayed"]["emotion"] == "sad"


# --- noise ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("script")
def test_noise_is_suppressed_where_that_is_asked_for_and_said_in_the_session(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "_TAIL", 1.0)
    assert run([*FILES, "--record", "kept", "--consent", "--noise", "suppress"]) == 0
    assert run(["replay", "kept", "--noise", "keep"]) == 2
    assert "which cannot be put back" in " ".join(capsys.readouterr().err.split())
    settings = json.loads(Path("kept/settings.json").read_text())
    assert settings.pop("noise") == "suppress"
    Path("kept/settings.json").write_text(
        json.dumps(settings)
    )  # as it was before there was --noise
    assert run(["replay", "kept", "--json", "--noise", "suppress"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["recorded"]["noise"], told["replayed"]["noise"]) == ("keep", "suppress")


@pytest.mark.usefixtures("script")
def test_noise_cannot_be_suppressed_without_the_package(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "livekit.rtc", None)
    assert run([*FILES, "--noise", "suppress"]) == 2
    assert "pip install 'echat-sdk[aec]', or use --noise keep" in " ".join(
        capsys.readouterr().err.split()
    )
