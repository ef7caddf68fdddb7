"""What the README shows is run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_python_example_of_the_readme_is_the_one_in_examples() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.S)
    example = (ROOT / "examples/hello.py").read_text()
    body = block.split("async def main")[1].split("\n\n\n")[0]
    shown = [line.split("  #")[0].strip() for line in body.splitlines()[1:]]
    run = [line.split("  #")[0].strip() for line in example.splitlines()]
    assert len(shown) >= 6
    assert [line for line in shown if line not in run] == []


def test_the_tool_of_the_readme_is_the_one_in_examples() -> None:
    (block,) = re.findall(r"```py\n(.*?)```", README, re.S)
    assert block in (ROOT / "examples/tools.py").read_text()


def test_every_command_of_the_readme_exists() -> None:
    from typer.main import get_command

    from echat_sdk.cli.commands import app

    commands = getattr(get_command(app), "commands", {})
    named = set(re.findall(r"^(?:\| `|\$ |)echat ([a-z]+)", README, re.M))
    assert named
    assert named - set(commands) == set()


@pytest.mark.real
@pytest.mark.timeout(300)
@pytest.mark.parametrize("example", ["hello.py", "live.py"])
def test_the_example_answers_a_recording(example: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "examples" / example),
            str(ROOT / "examples/audio/sad.wav"),
            "answer.wav",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "My dog Rex died yesterday" in done.stdout
    assert (tmp_path / "answer.wav").stat().st_size > 20_000


@pytest.mark.real
@pytest.mark.timeout(300)
def test_the_example_with_tools_uses_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/tools.py"), "Set a timer for five minutes."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Your timer is set for 5 minutes." in done.stdout


@pytest.mark.real
@pytest.mark.timeout(300)
def test_the_example_of_openais_client_is_answered_by_a_server(tmp_path: Path) -> None:
    echat = [sys.executable, "-m", "echat_sdk"]
    keys = ["--key-file", str(tmp_path / "keys.json")]
    made = subprocess.run(
        [*echat, "keys", "new", "mine", "--json", *keys], capture_output=True, text=True, check=True
    )
    with subprocess.Popen(
        [*echat, "serve", "--port", "0", *keys], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        link = server.stdout.readline()
        (root,) = re.findall(r"http://127\.0\.0\.1:\d+", link)
        try:
            done = subprocess.run(
                [
                    sys.executable,
                    str(ROOT / "examples/realtime.py"),
                    str(ROOT / "examples/audio/sad.wav"),
                    "answer.wav",
                    f"{root}/v1",
                ],
                cwd=tmp_path,
                env={**os.environ, "OPENAI_API_KEY": json.loads(made.stdout)["key"]},
                capture_output=True,
                text=True,
                check=True,
            )
        finally:
            server.terminate()
    assert "My dog Rex died yesterday" in done.stdout
    assert (tmp_path / "answer.wav").stat().st_size > 20_000
