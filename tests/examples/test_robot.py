"""The robot in the terminal: what its face shows; it talks in tests/plugins/mqtt."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from rich.console import Console

from echat_plugins.mqtt.messages import Affect, FaceName

FILE = Path(__file__).parents[2] / "examples/robot.py"
ROBOT: Any = runpy.run_path(str(FILE))


def drawn(robot: Any, **more: object) -> str:
    console = Console(width=70, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(robot.face(ROBOT["NOBODY"].model_copy(update=more)))
    return console.export_text()


def test_every_emotion_has_eyes() -> None:
    assert set(ROBOT["EYES"]) == set(get_args(FaceName))
    assert isinstance(ROBOT["NOBODY"], Affect)


def test_a_face_shows_what_it_is_told() -> None:
    robot = ROBOT["Robot"]()
    assert "nobody there" in drawn(robot)
    robot.is_there = True
    shut, opened = drawn(robot, mouth=0.0, emotion="happy"), drawn(robot, mouth=1.0)
    assert "^   ^" in shut
    assert "___" in shut
    assert "(O)" in opened
    assert "(nods)" in drawn(robot, gesture="nod")
    assert drawn(robot, arousal=-1.0).count("●") < drawn(robot, arousal=1.0).count("●")
    assert drawn(robot, valence=-1.0).count("■") == drawn(robot, valence=1.0).count("■") == 6


async def test_its_tools_move_it() -> None:
    robot = ROBOT["Robot"]()
    wave, light = robot.tools()
    assert await light.function(colour="blue") == "My light is blue now."
    assert "light blue" in drawn(robot)
    assert wave.check({}) == {"hand": "right"}


@pytest.mark.parametrize(
    ("asked", "why"),
    [(["--hear", "nowhere.wav"], "nowhere.wav"), (["--device", "bad name"], "error: device")],
)
def test_a_robot_that_is_told_nonsense_says_what_is_wrong(asked: list[str], why: str) -> None:
    done = subprocess.run(
        [sys.executable, str(FILE), *asked],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert why in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["bad name", "server", ""])
def test_a_device_has_a_plain_name(name: str) -> None:
    from echat_plugins.mqtt import DeviceOptions

    with pytest.raises(ValueError, match="device"):
        DeviceOptions(device=name)
