from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from echat_sdk import cli
from echat_sdk.audio import SAMPLE_RATE
from echat_sdk.bench import loop, loop_echat
from echat_sdk.bench.loop_script import (
    ANSWER_RATE,
    Orders,
    Ran,
    Script,
    Spoken,
    answers,
    check,
    write,
)
from echat_sdk.errors import ConfigError, EChatError
from echat_sdk.testing.audio import ScriptedVAD


def spoken(seconds: float, rate: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return np.full(round(seconds * rate), 1000, np.int16)


@pytest.fixture
def script() -> Script:
    questions = [spoken(seconds, SAMPLE_RATE) for seconds in (0.8, 0.8, 2.0)]
    clauses = {f"{word} clause.": spoken(1.5, ANSWER_RATE) for word in ("One", "Another")}
    return write(questions, clauses, ScriptedVAD().is_speech)


def orders(**given: object) -> Orders:
    return Orders.model_validate({"script": "s.npz", "sessions": 2, "ears": "known", **given})


def as_asked(script: Script) -> list[Spoken]:
    heard = [(at + length + 0.7, script.answer) for at, length in script.questions]
    heard[-2] = (heard[-2][0], script.questions[-1][0] + 0.5 - heard[-2][0])
    return heard


def test_every_conversation_of_ours_answers_each_question_and_stops_for_who_speaks_over_it(
    script: Script,
) -> None:
    ran = loop_echat.run(script, orders())
    assert len(ran.said) == 2
    assert ran.frames == 2 * round(script.seconds / 0.02)
    assert ran.cpu > 0
    for said in ran.said:
        check(script, said)
        assert len(answers(said)) == 3


def test_the_clock_alone_hears_as_many_frames_and_says_nothing(script: Script) -> None:
    ran = loop_echat.run(script, orders(part="clock"))
    assert ran.said == ((), ())
    assert ran.frames == loop_echat.run(script, orders(part="ears")).frames


def test_a_script_survives_the_way_to_another_process(script: Script, tmp_path: Path) -> None:
    script.save(tmp_path / "s.npz")
    read = Script.load(tmp_path / "s.npz")
    assert (read.heard == script.heard).all()
    assert read.questions == script.questions
    assert read.is_speech == script.is_speech
    assert read.chances == script.chances
    assert list(read.clauses) == list(script.clauses)
    assert all((read.clauses[text] == sound).all() for text, sound in script.clauses.items())


def test_chances_say_of_32_ms_what_the_flags_say_of_20(script: Script) -> None:
    assert set(script.chances) == {0.0, 1.0}
    assert len(script.chances) == len(script.heard) // 512
    speech = sum(length for _, length in script.questions)
    assert 0.032 * sum(script.chances) == pytest.approx(speech, abs=0.1)


def test_a_conversation_that_went_as_it_should_passes(script: Script) -> None:
    check(script, as_asked(script))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda heard: heard[:2], "3 questions were asked and 2 answers came"),
        (lambda heard: [], "0 answers came; audible was nothing"),
        (lambda heard: [(0.7, 0.5), *heard[1:]], "answer 1 came before its question had ended"),
        (lambda heard: [(heard[0][0], 1.0), *heard[1:]], r"answer 1 took 1.00 s, its speech 3.00"),
        (
            lambda heard: [heard[0], (heard[1][0], 0.4), heard[2]],
            "answer 2 did not stop for who spoke over it",
        ),
        (
            lambda heard: [heard[0], (heard[1][0], heard[2][0] - heard[1][0] - 0.65), heard[2]],
            "answer 2 did not stop for who spoke over it",
        ),
    ],
)
def test_a_conversation_that_did_not_is_refused(
    script: Script,
    spoil: Callable[[list[Spoken]], list[Spoken]],
    told: str,
) -> None:
    with pytest.raises(EChatError, match=told):
        check(script, spoil(as_asked(script)))


def test_an_answer_that_stumbles_is_one_answer() -> None:
    assert answers([(1.0, 0.5), (1.6, 0.4), (3.0, 0.2)]) == [(1.0, 1.0), (3.0, 0.2)]


def held(script: Script, cpu: float, version: str) -> Ran:
    return Ran(version=version, cpu=cpu, frames=1000, said=(tuple(as_asked(script)),) * 2)


def test_the_sides_take_turns_and_pipecats_time_is_told_by_ours(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def run_setup(setup: loop.Setup, orders: Orders, peer: Path | None) -> Ran:
        assert orders.script.exists()
        ran.append(setup.name)
        took = {loop.PEER_LOOP: 5.0, loop.PEERS: 6.0, loop.OUR_LOOP: 0.5}.get(setup, 2.0)
        return held(script, took, "1.14.0" if setup.is_peer else "0.1.0")

    monkeypatch.setattr(loop, "run_setup", run_setup)
    steps: list[tuple[int, int]] = []
    found = loop.run(script, Path("peer"), repeats=2, step=lambda *at: steps.append(at))
    assert ran[:9] == ran[:8:-1]
    assert [name.startswith("pipecat") for name in ran[3:9]] == [False, True] * 3
    assert steps[-1] == (18, 18)
    assert found.ratios["the loop alone"] == (10.0, 10.0)
    assert found.ratios["same Silero, one thread"] == (3.0, 3.0)
    rows = {row.name: row for row in found.rows}
    assert rows[loop.PEER_LOOP.name].version == "1.14.0"
    assert (rows[loop.OURS.name].turns, rows[loop.OURS.name].interruptions) == (6, 2)
    assert rows[loop.CLOCK.name].turns == 0
    assert rows[loop.OUR_LOOP.name].median_ms == pytest.approx(0.5)
    assert rows[loop.OUR_LOOP.name].per_core == pytest.approx(40)


def test_without_a_peer_ours_runs_alone(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "run_setup", lambda *_: held(script, 1.0, "0.1.0"))
    found = loop.run(script, repeats=1)
    assert not found.ratios
    assert not [row for row in found.rows if row.name.startswith("pipecat")]


def test_a_run_in_which_somebody_was_not_answered_is_refused(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = Ran(version="1", cpu=1.0, frames=1000, said=((),))
    monkeypatch.setattr(loop, "run_setup", lambda *_: silent)
    with pytest.raises(EChatError, match=r"conversation 1 of 1: 3 questions .* fewer --sessions"):
        loop.run(script, repeats=1)


def python(folder: Path, shell: str) -> Path:
    """An interpreter that does what a line of shell says."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{shell}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_what_a_peer_prints_last_is_what_it_found(tmp_path: Path) -> None:
    told = {"version": "1.14.0", "cpu": 2.5, "frames": 50, "said": [[[0.5, 1.0]]]}
    peer = python(tmp_path, f"echo a banner; echo '{json.dumps(told)}'")
    ran = loop.run_setup(loop.PEERS, orders(), peer)
    assert ran == Ran(version="1.14.0", cpu=2.5, frames=50, said=(((0.5, 1.0),),))


def test_silero_is_kept_to_one_thread_where_a_setup_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_THREAD_LIMIT", raising=False)
    line = '{"version":"%s","cpu":1,"frames":1}'
    peer = python(tmp_path, f"printf '{line}' \"${{OMP_THREAD_LIMIT:-none}}\"")
    assert loop.run_setup(loop.PEERS, orders(), peer).version == "1"
    assert loop.run_setup(loop.PEER_SHIPPED, orders(), peer).version == "none"


@pytest.mark.parametrize(
    ("shell", "kind", "told"),
    [
        ("echo rubbish", EChatError, "printed 'rubbish', expected one JSON object"),
        ("true", EChatError, "printed '', expected"),
        ('echo \'{"version":"1","cpu":-1,"frames":9}\'', EChatError, "expected one JSON object"),
        ("echo 'KeyError: 1' >&2; exit 1", EChatError, "one thread failed: KeyError: 1"),
        ("exit 3", EChatError, "failed: nothing was said"),
        (
            "echo \"ModuleNotFoundError: No module named 'pipecat'\" >&2; exit 1",
            ConfigError,
            "lacks a package .*pip install pipecat-ai",
        ),
    ],
)
def test_a_peer_that_fails_is_told_in_plain_words(
    tmp_path: Path, shell: str, kind: type[EChatError], told: str
) -> None:
    with pytest.raises(kind, match=told):
        loop.run_setup(loop.PEERS, orders(), python(tmp_path, shell))


def test_a_peer_that_is_no_interpreter_says_what_to_give() -> None:
    with pytest.raises(ConfigError, match=r"does not run: No such file.*--peer-python"):
        loop.run_setup(loop.PEERS, orders(), Path("no/such/python"))


@pytest.fixture
def faked(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_setup(setup: loop.Setup, *_: object) -> Ran:
        return held(script, 4.0 if setup.is_peer else 0.5, "1.14.0" if setup.is_peer else "0.1.0")

    monkeypatch.setattr(loop, "make_script", lambda threads: script)
    monkeypatch.setattr(loop, "run_setup", run_setup)


@pytest.mark.usefixtures("faked")
def test_the_command_shows_both_sides_their_versions_and_the_ratio(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.run(["bench", "loop", "--peer-python", "peer/bin/python", "--repeats", "2"]) == 0
    shown, told = capsys.readouterr()
    assert re.search(r"echat-sdk, Silero known +0\.500 +40 +6 +2", shown)
    assert "the loop alone: pipecat takes 8.0 times as much as echat-sdk" in shown
    assert "echat-sdk 0.1.0, pipecat 1.14.0" in shown
    assert "pip install" not in told


@pytest.mark.usefixtures("faked")
def test_the_command_alone_says_how_to_get_a_peer(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bench", "loop", "--repeats", "1", "--json"]) == 0
    shown, told = capsys.readouterr()
    found = json.loads(shown)
    assert {row["name"]: row["per_core"] for row in found["rows"]}[loop.OURS.name] == 40
    assert found["time"] == "virtual"
    assert "pip install pipecat-ai" in told


@pytest.mark.real
@pytest.mark.timeout(120)
def test_with_the_real_silero_and_a_real_voice_each_question_is_answered(tmp_path: Path) -> None:
    script = loop.make_script(threads=2)
    script.save(tmp_path / "s.npz")
    ran = loop.run_setup(loop.OURS, orders(script=tmp_path / "s.npz", ears="silero"), None)
    assert [len(answers(said)) for said in ran.said] == [3, 3]
    for said in ran.said:
        check(script, said)
