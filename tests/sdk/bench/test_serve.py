from __future__ import annotations

import json

import numpy as np
import pytest

from echat_sdk import cli
from echat_sdk.audio import AudioFrame
from echat_sdk.bench import serve
from echat_sdk.bench.serve_talkers import RATE, voice
from echat_sdk.errors import EChatError
from echat_sdk.io.framing import Framer
from echat_sdk.vad import open_vad


def test_the_voice_of_the_clients_is_taken_for_one_and_its_silence_is_not() -> None:
    vad = open_vad("webrtc")

    def share(frames: list[AudioFrame]) -> float:
        return sum(map(vad.is_speech, frames)) / len(frames)

    framer = Framer(RATE)
    assert share(list(framer.push(voice(1.0)))) > 0.8
    assert share(list(framer.push(np.zeros(2 * RATE, np.int16)))) < 0.3


def test_a_server_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve.sys, "executable", "/bin/true")
    with pytest.raises(EChatError, match="did not start"), serve._serving(1):
        raise AssertionError


@pytest.mark.slow
@pytest.mark.timeout(170)
def test_fifty_sessions_are_heard_answered_and_unhurt_by_one_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A minute of it; how late frames are is for a machine that does nothing else."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench", "serve", "--sessions", "50", "--seconds", "60", "--json"])
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sent"] == 50 * 3000
    assert (found["dropped"], found["lost"], found["errors"]) == (0, 0, 0)
    assert found["answered"] == found["asked"] == 500
    assert found["refused"] == "503 1013"
    assert found["grown_mb"] < 32
