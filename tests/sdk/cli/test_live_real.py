"""The live loop on the real weights: over files, and through a sound card."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from echat_sdk.io.wav import read_audio

AUDIO = Path(__file__).parents[3] / "examples/audio"

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


def test_a_spoken_question_is_answered_aloud_and_remembered(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'memory.db'}"

    def talk(name: str) -> dict[str, object]:
        out = tmp_path / f"{name}.out.wav"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "echat_sdk", "talk", "--json", "--user", "ada"),
                *("--input", str(AUDIO / f"{name}.wav"), "--output", str(out)),
            ],
            env={**os.environ, "ECHAT_STORE": store},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        events = [json.loads(line) for line in done.stdout.splitlines()]
        (turn,) = (event for event in events if event["event"] == "turn")
        said = np.abs(read_audio(out)) > 300
        heard_until = len(read_audio(AUDIO / f"{name}.wav")) / 16_000
        assert np.flatnonzero(said)[0] / 16_000 > heard_until - 1
        return dict(turn)

    first = talk("sad")
    assert "dog" in str(first["transcript"])
    assert first["status"] == "complete"
    assert "job" in str(talk("happy")["transcript"])
