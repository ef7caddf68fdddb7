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

    def talk(name: str) -> str:
        """What was heard of a recording, in all turns that its pauses made of it."""
        out = tmp_path / f"{name}.out.wav"
        done = subprocess.run(
            [
                *(
                    sys.executable,
                    "-m",
                    "echat_sdk",
                    "talk",
                    "--json",
                    "--user",
                    "ada",
                    "--remember",
                ),
                *("--input", str(AUDIO / f"{name}.wav"), "--output", str(out)),
            ],
            env={**os.environ, "ECHAT_STORE": store},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        events = [json.loads(line) for line in done.stdout.splitlines()]
        turns = [event for event in events if event["event"] == "turn"]
        assert turns[-1]["status"] == "complete"
        said = np.abs(read_audio(out)) > 300
        heard_until = len(read_audio(AUDIO / f"{name}.wav")) / 16_000
        assert np.flatnonzero(said)[-1] / 16_000 > heard_until
        return " ".join(turn["transcript"] for turn in turns)

    sad = talk("sad")
    assert "dog" in sad
    assert "empty" in sad
    assert "job" in talk("happy")
