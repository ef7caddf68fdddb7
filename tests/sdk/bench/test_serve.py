from __future__ import annotations

import json
from contextlib import suppress

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
def test_fifty_sessions_are_heard_answered_and_unhurt_by_one_more() -> None:
    """A little of it; how late frames are is for a machine that does nothing else."""
    found = serve.run(sessions=50, seconds=12, frame_ms=40, turns=1)
    assert found.sent == 50 * 600
    assert (found.dropped, found.lost, found.errors) == (0, 0, 0)
    assert found.answered == found.asked == 100
    assert found.refused == "503 1013"
    assert found.grown_mb is not None
    assert found.grown_mb < 32


FOUND = serve.ServeBench(
    sessions=50,
    seconds=60,
    frame_ms=20,
    taken_ms=(2.0, 18.0, 38.0),
    client_ms=(0.5, 4.0, 14.0),
    lag_ms=(0.8, 13.0, 29.0),
    sent=150_000,
    dropped=0,
    asked=500,
    answered=500,
    lost=0,
    errors=0,
    refused="503 1013",
    grown_mb=1.5,
    resident_mb=108.0,
    cpu_ms=0.22,
    alone_ms=(561.0, 564.0),
    served_ms=(563.0, 569.0),
)


def test_what_was_found_is_told_to_people_and_to_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve, "run", lambda **given: FOUND)
    for more in ([], ["--json"]):
        monkeypatch.setattr("sys.argv", ["echat", "bench", "serve", *more])
        with suppress(SystemExit):
            cli.main()
    told, _, found = capsys.readouterr().out.partition("{")
    assert "0 of 150000 frames (20 ms) dropped" in " ".join(told.split())
    assert "it adds 8 ms" in told
    assert json.loads("{" + found)["added_ms"] == 8
