"""The command itself, as a process, on the real weights."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import numpy.typing as npt
import pytest

from echat_sdk.audio import SAMPLE_RATE, to_float
from echat_sdk.io.wav import read_audio, write_audio
from echat_sdk.model import zoo
from echat_sdk.model.cascade.transcriber import Transcriber

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

AUDIO = Path(__file__).parents[3] / "examples/audio"
SAID = {
    "sad": "My dog Rex died yesterday. The house feels so empty without him.",
    "happy": "Guess what! I got the job! I start on Monday.",
    "news": "Guess what. I got the job. I start on Monday.",
}
PLAIN = jiwer.Compose(
    [
        jiwer.ToLowerCase(),
        jiwer.SubstituteRegexes({r"[^\w\s']": " "}),
        jiwer.RemoveMultipleSpaces(),
        jiwer.Strip(),
        jiwer.ReduceToListOfListOfWords(),
    ]
)


def word_errors(said: str, heard: str) -> float:
    """Share of words that are wrong, letter case and punctuation aside."""
    return float(jiwer.wer(said, heard, reference_transform=PLAIN, hypothesis_transform=PLAIN))


@dataclass(frozen=True, slots=True)
class Echat:
    """The command with a store and a folder of its own."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "echat.db"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "echat_sdk", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=os.environ | {"ECHAT_STORE": f"sqlite:///{self.store}"},
            # A shell that runs the tests in the background has Ctrl-C ignored, and so its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def reply(self, recording: Path) -> dict[str, Any]:
        process = self.start("reply", str(recording), "--user", "ada", "--remember", "--json")
        out, err = process.communicate()
        assert (process.returncode, err) == (0, "")
        told: dict[str, Any] = json.loads(out)
        return told


@pytest.fixture
def echat(tmp_path: Path) -> Echat:
    return Echat(tmp_path)


@pytest.fixture(scope="module")
def transcribe() -> Callable[[Path], str]:
    transcriber = Transcriber(zoo.locate("whisper-base"))
    return lambda path: transcriber.transcribe(to_float(read_audio(path))).text


def test_a_reply_is_heard_right_said_aloud_and_remembered(
    echat: Echat, transcribe: Callable[[Path], str]
) -> None:
    replies, heard_back = [], []
    for turn, (name, words) in enumerate(SAID.items(), start=1):
        told = echat.reply(AUDIO / f"{name}.wav")
        assert word_errors(words, told["transcript"]) == 0
        assert told["cues"]["emotion"]["label"] == name or name == "news"
        assert len(told["reply"].split()) >= 3
        assert told["turn_id"] == str(turn)
        replies.append(told["reply"])
        heard_back.append(transcribe(echat.folder / told["audio"]["path"]))
    # Over all three: one word of one short answer would be more than 5 % of it.
    assert word_errors(" ".join(replies), " ".join(heard_back)) <= 0.05
    process = echat.start("memory", "show", "ada", "--json")
    kept = json.loads(process.communicate()[0])
    assert [stored["status"] for stored in kept["turns"]] == ["complete"] * 3
    assert any("Rex" in fact for fact in kept["facts"])


def sounds() -> dict[str, npt.NDArray[np.float64]]:
    """Five seconds of what is no speech."""
    rng, t = np.random.default_rng(0), np.arange(5 * SAMPLE_RATE) / SAMPLE_RATE
    hum = sum(np.sin(2 * np.pi * 50 * k * t) / k for k in range(1, 8))
    tune = np.repeat([262, 330, 392, 523, 440, 349, 294, 330], len(t) // 8)
    return {
        "silence": np.zeros(len(t)),
        **{f"noise {db} dB": 10 ** (db / 20) * rng.normal(size=len(t)) for db in (-50, -30, -10)},
        "hum": 0.1 * np.asarray(hum),
        "tune": 0.2 * np.sin(2 * np.pi * np.cumsum(tune) / SAMPLE_RATE),
    }  # fmt: skip


@pytest.mark.parametrize("name", sounds())
def test_no_words_are_invented_where_nobody_speaks(
    name: str, tmp_path: Path, transcribe: Callable[[Path], str]
) -> None:
    samples = np.clip(sounds()[name], -1, 1)
    write_audio(tmp_path / "in.wav", (samples * 32767).astype(np.int16), SAMPLE_RATE)
    assert transcribe(tmp_path / "in.wav") == ""


def test_noise_is_answered_with_i_heard_no_speech(echat: Echat) -> None:
    noise = np.random.default_rng(0).normal(0, 1000, 3 * SAMPLE_RATE).astype(np.int16)
    write_audio(echat.folder / "in.wav", noise, SAMPLE_RATE)
    told = echat.reply(echat.folder / "in.wav")
    assert (told["transcript"], told["reply"], told["note"]) == ("", "", "I heard no speech.")
    assert sorted(path.suffix for path in echat.folder.iterdir()) == [".db", ".key", ".wav"]


def test_two_minutes_of_speech_keep_their_last_sentence(
    tmp_path: Path, transcribe: Callable[[Path], str]
) -> None:
    pause = np.zeros(SAMPLE_RATE, np.int16)
    order = (["sad", "happy", "news"] * 7)[:20]
    pieces = [piece for name in order for piece in (read_audio(AUDIO / f"{name}.wav"), pause)]
    write_audio(tmp_path / "in.wav", np.concatenate(pieces), SAMPLE_RATE)
    heard = transcribe(tmp_path / "in.wav")
    assert word_errors(" ".join(SAID[name] for name in order), heard) <= 0.02
    assert heard.rstrip(".!").endswith("I start on Monday")


@pytest.mark.parametrize("after", [1.5, 2.5, 3.5])
def test_ctrl_c_ends_a_reply_in_one_line_and_leaves_the_store_sound(
    after: float, echat: Echat
) -> None:
    process = echat.start("reply", str(AUDIO / "sad.wav"), "--json")
    time.sleep(after)
    if process.poll() is None:  # a fast machine may be done by now
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        assert (process.returncode, out, err) == (130, "", "echat: interrupted\n")
        assert not [path for path in echat.folder.iterdir() if path.suffix in (".wav", ".part")]
    if echat.store.exists():
        with closing(sqlite3.connect(echat.store)) as store:
            assert store.execute("pragma integrity_check").fetchone() == ("ok",)


def test_ctrl_c_ends_a_talk_whose_first_answers_stay(echat: Echat) -> None:
    process = echat.start("chat", "--user", "ada", "--remember", "--json")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("I lost my keys.\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["transcript"] == "I lost my keys."
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, err) == (130, "echat: interrupted\n")
    with closing(sqlite3.connect(echat.store)) as store:
        assert store.execute("select status from turns").fetchall() == [("complete",)]
