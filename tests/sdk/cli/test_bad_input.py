from __future__ import annotations

import errno
import io
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from echat_sdk.cli import rooms, run
from echat_sdk.io.wav import write_audio
from echat_sdk.testing import FakeModel, Line

RATE = 16_000
NOISE = np.random.default_rng(1).bytes(20_000)


def header(rate: int, channels: int) -> bytes:
    """A WAV whose header claims this, over a second of sound."""
    claims = struct.pack(
        "<HHIIHH", 1, channels, rate, rate * channels * 2 % 2**32, 2 * channels, 16
    )
    body = b"\1\0" * RATE
    chunks = (
        b"fmt " + struct.pack("<I", 16) + claims + b"data" + struct.pack("<I", len(body)) + body
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def floats(value: float) -> bytes:
    file = io.BytesIO()
    samples = np.zeros(RATE, np.float32)
    samples[100] = value
    soundfile.write(file, samples, RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


def flac(seconds: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(seconds * RATE, np.int16), RATE, format="FLAC")
    return file.getvalue()


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty.wav": (lambda: b"", "is empty; wanted is speech as WAV"),
    "text.wav": (lambda: b"hello there\n" * 99, "is not a sound file"),
    "paper.pdf": (lambda: b"%PDF-1.4\n" + NOISE, "is not a sound file"),
    "random.wav": (lambda: NOISE, "is not a sound file"),
    "film.mp4": (lambda: b"\0\0\0\x20ftypisom" + NOISE, "is a video file; take its sound out"),
    "film.avi": (lambda: b"RIFF\0\x10\0\0AVI LIST" + NOISE, "is a video file; take its sound out"),
    "head.wav": (lambda: header(RATE, 1)[:44], "cut short or damaged and holds no sound"),
    "blip.wav": (lambda: flac(1)[:60], "damaged"),
    "0hz.wav": (lambda: header(0, 1), "claims 0 samples a second; wanted are 8,000 to 192,000"),
    "2to31hz.wav": (lambda: header(2**31, 1), "claims 2,147,483,648 samples a second"),
    "64.wav": (lambda: header(RATE, 64), "claims 64 channels; wanted are 1 to 8"),
    "nan.wav": (lambda: floats(np.nan), "no numbers (NaN, infinity); wanted is"),
    "inf.wav": (lambda: floats(-np.inf), "no numbers (NaN, infinity); wanted is"),
    "long.flac": (lambda: flac(1800), "is 30:00 long; the limit is 2:00"),
}

COMMANDS: list[tuple[list[str], int, str]] = [
    (["reply", "no.wav"], 2, "there is no such file"),
    (["reply", "."], 2, "is a directory; wanted is speech"),
    (["reply", "/dev/zero"], 2, "is a device or pipe"),
    (["reply", "no\x1b[31m\n[/].wav"], 2, "no [31m [/].wav"),
    (["reply", "in.wav", "--out", "."], 2, "it is a directory; give the name of a file"),
    (["reply", "in.wav", "--out", "in.wav"], 2, "is the recording itself"),
    (["reply", "in.wav", "--out", "a" * 300], 2, "file name too long"),
    (["reply", "in.wav", "--out", "/dev/full"], 2, "no space left on device"),
    (["reply", "in.wav", "--user", ""], 2, "user (argument)"),
    (["reply", "in.wav", "--user", "u" * 10_000], 2, "user (argument)"),
    (["reply", "in.wav", "--user", "\udcff"], 2, "user (argument)"),
    (["say", "😀", "--out", "no/x.wav"], 2, "there is no folder no"),
    (["say", " ", "--out", "x.wav"], 2, "nothing in that text to speak"),
    (["understand", "in.wav", "--task", ""], 2, "no task ''"),
    (["memory", "show", "nobody"], 2, "no user with this id"),
    (["memory", "show", "me", "--limit", "0"], 2, "'--limit'"),
    (["memory", "show", "me", "--store", "sqlite:////dev"], 4, "is a directory"),
    (["memory", "show", "me", "--store", "mysql://h/db"], 2, "expected sqlite:///PATH or"),
    (["memory", "show", "me", "--store", "postgresql://h"], 2, "URL without a database"),
    (["memory", "show", "me", "--store", "postgresql://u:p@localhost:1/db"], 4, "cannot reach the"),
    (["models", "info", "nothing"], 2, "no model 'nothing'"),
    (["models", "path", "../../etc"], 2, "no model '../../etc'"),
    (["models", "path"], 3, "echat models pull echat-lite"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with a home, a recording and a scripted model behind the command line."""
    for name in ("ECHAT_CONFIG", "ECHAT_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ECHAT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    write_audio(tmp_path / "in.wav", np.full(RATE, 500, np.int16), RATE)
    model = FakeModel(Line("I lost my keys."))
    monkeypatch.setattr(rooms, "model", lambda settings, lazy=True: model)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on the error stream, and nothing on the other."""
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1, printed.err
    assert printed.err.startswith("echat: ")
    assert "\x1b" not in printed.err
    return printed.err


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", [["reply"], ["understand", "--task", "asr"]])
def test_a_bad_file_is_one_line_exit_code_2_and_no_answer(
    name: str, command: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, line = FILES[name]
    (place / name).write_bytes(make())
    before = set(place.iterdir())
    assert run([*command, name, "--json"]) == 2
    assert line in told(capsys)
    assert set(place.iterdir()) == before


@pytest.mark.parametrize(("arguments", "code", "line"), COMMANDS)
def test_a_bad_argument_is_one_line_and_its_exit_code(
    arguments: list[str], code: int, line: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = (place / "in.wav").read_bytes()
    assert run(arguments) == code
    assert line in told(capsys)
    assert (place / "in.wav").read_bytes() == recording


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("ECHAT_THREADS", "abc", "threads = 'abc' (ECHAT_THREADS)"),
        ("ECHAT_MAX_SECONDS", "nan", "max_seconds = 'nan'"),
        ("ECHAT_LANG", "fr", "'auto', 'en' or 'zh'"),
        ("ECHAT_USER", "ada" * 100, "user (ECHAT_USER)"),
        ("ECHAT_CONFIG", "/", "cannot read settings from /: is a directory"),
        ("ECHAT_CONFIG", "no.toml", "no.toml, which does not exist"),
        ("ECHAT_HOME", "~nobody-of-this-name/x", "there is no such home folder"),
        ("ECHAT_HOME", "/dev/null", "/dev/null/config.toml: not a directory"),
    ],
)
def test_a_bad_setting_is_named_and_a_user_is_not(
    name: str,
    value: str,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(name, value)
    assert run(["reply", "in.wav"]) == 2
    complaint = told(capsys)
    assert line in complaint
    assert "adaada" not in complaint


def test_a_setting_with_markup_is_shown_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ECHAT_VOICE", "[/]\x1b[31m")
    assert run(["config"]) == 0
    printed = capsys.readouterr().out
    assert "[/] [31m" in printed
    assert "\x1b" not in printed


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", errors="surrogateescape")
    monkeypatch.setattr(sys, "stdin", stdin)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"\xff\xfe is not UTF-8", "not UTF-8"),
        (b'{"text": "\\ud800"}', "not UTF-8"),
        (b"\0\0\x1b", "control characters only"),
        (b"word " * 200_000, "longer than 4,000 characters"),
        (b'{"text": "' + b"a " * 500_000 + b'"}', "longer than 4,000 characters"),
        (b'{"text": "hi", "emotion": []}', "emotion must be one of"),
    ],
)
def test_a_bad_line_is_told_and_those_after_it_are_answered(
    line: bytes,
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    feed(monkeypatch, line + b"\nI am\0home \xf0\x9f\x98\x80.\n")
    assert run(["chat", "--json"]) == 2
    printed = capsys.readouterr()
    assert [json.loads(o)["transcript"] for o in printed.out.splitlines()] == ["I am home 😀."]
    assert printed.err.count("\n") == 1
    assert complaint in printed.err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk", "utf-8"])
def test_json_survives_a_terminal_of_any_encoding(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, "我丢了钥匙。".encode())
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    assert run(["chat", "--json"]) == 0
    assert json.loads(raw.getvalue().decode(encoding))["transcript"] == "我丢了钥匙。"


def test_a_full_disk_behind_the_output_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    assert run(["config", "--json"]) == 2
    assert "No space left" in capsys.readouterr().err


def test_erasing_without_an_answer_erases_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["reply", "in.wav", "--user", "ada", "--remember"]) == 0
    feed(monkeypatch, b"")
    assert run(["memory", "erase", "ada"]) == 2
    assert "nothing was erased" in capsys.readouterr().err
    assert run(["memory", "show", "ada"]) == 0
