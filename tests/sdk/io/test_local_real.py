"""A spoken question into a real PortAudio, the default model's spoken answer out of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from echat_sdk.audio import frames
from echat_sdk.io.wav import read_audio
from echat_sdk.model import load_model

SAD = Path(__file__).parents[3] / "examples/audio/sad.wav"

pytestmark = [pytest.mark.real, pytest.mark.device, pytest.mark.timeout(300)]


def test_a_question_spoken_into_the_card_is_answered_out_of_it(
    sound_card: Any, tmp_path: Path
) -> None:
    recording = tmp_path / "answer.wav"
    recorder = sound_card.start(
        "parecord", "--device=answer.monitor", "--rate=16000", "--channels=1", str(recording)
    )
    store = f"sqlite:///{tmp_path / 'memory.db'}"
    talk = subprocess.Popen(
        [sys.executable, "-m", "echat_sdk", "talk", "--json", "--user", "ada"],
        env={**os.environ, "ECHAT_STORE": store},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert talk.stdout is not None
    try:
        assert json.loads(talk.stdout.readline()) == {"event": "state", "state": "listening"}
        sound_card.run("paplay", "--device=question", str(SAD))
        turns = []
        for line in talk.stdout:
            event = json.loads(line)
            if event["event"] == "turn":
                turns.append(event)
                if event["status"] == "complete":  # a pause in the question may have ended a turn
                    break
        time.sleep(1)
    finally:
        talk.send_signal(signal.SIGINT)
        begin = time.monotonic()
        assert talk.wait(20) == 0, "Ctrl-C is how a conversation ends"
        assert time.monotonic() - begin < 3
        talk.stdout.close()
        recorder.terminate()
        recorder.wait()
    heard = " ".join(turn["transcript"] for turn in turns)
    assert "dog" in heard
    assert "empty" in heard
    ears = load_model("echat-lite", lazy=True).listen(lang="en")
    for frame in frames(read_audio(recording)):
        ears.push(frame)
    spoken = set(re.findall(r"[a-z']+", ears.heard().transcript.lower()))
    meant = set(re.findall(r"[a-z']+", turns[-1]["reply"].lower()))
    assert len(meant & spoken) >= 0.8 * len(meant)
