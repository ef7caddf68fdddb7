"""A spoken dialogue between two processes, through Mosquitto, over a bad network."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from echat_plugins.mqtt.messages import Answer
from tests.plugins.mqtt.broker import Mosquitto
from tests.plugins.mqtt.served import comes, robot

ROOT = Path(__file__).parents[3]
BAD = ("--loss", "0.02", "--jitter", "0.05")


@contextmanager
def server(kind: str, mosquitto: Mosquitto) -> Iterator[None]:
    module = [sys.executable, "-m", "tests.plugins.mqtt.server_process"]
    with subprocess.Popen([*module, kind, str(mosquitto.port)], cwd=ROOT) as process:
        try:
            yield
        finally:
            process.kill()


def talk(mosquitto: Mosquitto, folder: Path, question: Path, *more: str) -> str:
    robot = [sys.executable, str(ROOT / "examples/robot.py"), "--host", "127.0.0.1"]
    files = ["--hear", question, "--say", folder / "answer.wav", "--log", folder / "face.jsonl"]
    done = subprocess.run(
        [*robot, "--port", str(mosquitto.port), *map(str, files), *more],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def lag(folder: Path) -> float:
    """How late the mouth is behind the sound, in seconds; by where they fit best."""
    sound, rate = soundfile.read(folder / "answer.wav", dtype="float32")
    moved = [json.loads(line) for line in (folder / "face.jsonl").read_text().splitlines()]
    step = 0.005
    size = round(rate * step)
    loud = np.sqrt(np.square(sound[: len(sound) // size * size]).reshape(-1, size).mean(1))
    times = np.arange(len(loud)) * step
    mouth = np.interp(times, [m["seconds"] for m in moved], [m["mouth"] for m in moved])
    loud, mouth = loud - loud.mean(), mouth - mouth.mean()
    assert mouth.any()
    shifts = range(-60, 61)
    fits = [float((loud * np.roll(mouth, -shift)).sum()) for shift in shifts]
    return shifts[int(np.argmax(fits))] * step


def spoken(tmp_path: Path, seconds: Sequence[tuple[float, float]]) -> Path:
    """A recording of somebody as the scripted detector hears them: a tone, and silence."""
    parts = []
    for voice, silence in seconds:
        at = np.arange(round(voice * 16_000)) / 16_000
        parts += [0.25 * np.sin(2 * np.pi * 300 * at), np.zeros(round(silence * 16_000))]
    path = tmp_path / "question.wav"
    soundfile.write(path, np.concatenate(parts), 16_000)
    return path


@pytest.mark.slow
def test_a_dialogue_over_a_bad_network_is_held_and_the_face_moves_with_it(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    question = spoken(tmp_path, [(1.0, 0.5)])
    with server("fake", mosquitto):
        told = talk(mosquitto, tmp_path, question, *BAD, "--tail", "1.5")
    assert "you     my dog died" in told
    assert "robot   Thank you for telling me how you are, I am glad" in told
    sound, rate = soundfile.read(tmp_path / "answer.wav")
    # Twenty words of 50 ms; what was lost on the way is silence.
    assert (np.abs(sound) > 0.02).sum() / rate == pytest.approx(0.95, abs=0.25)
    print(f"the face is {lag(tmp_path):+.3f} s off")  # noqa: T201
    assert abs(lag(tmp_path)) <= 0.08
    moved = [json.loads(line) for line in (tmp_path / "face.jsonl").read_text().splitlines()]
    states = list(dict.fromkeys(each["state"] for each in moved))
    assert states[:2] == ["listening", "hearing"]
    assert "speaking" in states
    assert {each["emotion"] for each in moved if each["mouth"] > 0.5} == {"happy"}
    assert max(each["mouth"] for each in moved if each["state"] == "hearing") == 0


@pytest.mark.endurance
@pytest.mark.timeout(300)
async def test_a_server_that_is_killed_is_found_again(mosquitto: Mosquitto, tmp_path: Path) -> None:
    waits: list[float] = []
    clock = asyncio.get_running_loop().time
    async with robot(mosquitto.broker(), outbox=tmp_path / "out") as ada:
        for n in range(10):
            with server("fake", mosquitto):
                await comes(lambda: ada.device.link.is_up and ada.device.welcome, within=20)
                await ada.device.tell(f"words {n}")
                answered = n + 1
                await comes(lambda: len(ada.of(Answer)) == answered)  # noqa: B023
            began = clock()
            await comes(lambda: ada.device.welcome is None)
            waits.append(clock() - began)
    print(f"killed 10 times: known within {max(waits):.2f} s")  # noqa: T201
    assert max(waits) < 2
    assert all(answer.ok for answer in ada.of(Answer))


@pytest.mark.real
@pytest.mark.timeout(300)
def test_echat_lite_is_understood_over_a_bad_network(mosquitto: Mosquitto, tmp_path: Path) -> None:
    from echat_sdk import load_model, read_audio
    from echat_sdk.audio import frames

    with server("real", mosquitto):
        told = talk(mosquitto, tmp_path, ROOT / "examples/audio/sad.wav", *BAD)
    print(told)  # noqa: T201
    assert "dog" in told
    reply = " ".join(line[8:] for line in told.splitlines() if line.startswith("robot "))
    model = load_model("echat-lite")
    hearing = model.listen(lang="en")
    for frame in frames(read_audio(tmp_path / "answer.wav")):
        hearing.push(frame)
    back = hearing.heard().transcript
    said, understood = (set(re.findall(r"[a-z']+", text.lower())) for text in (reply, back))
    share = len(said & understood) / len(said)
    print(f"{share:.0%} of the answer's words heard back; the face is {lag(tmp_path):+.3f} s off")  # noqa: T201
    assert share >= 0.7
    assert abs(lag(tmp_path)) <= 0.08
