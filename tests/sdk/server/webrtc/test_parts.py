"""What a call is made of: the offer, the track and the events about its sound; on virtual time."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from echat_sdk.agent.events import State
from echat_sdk.agent.service import Service
from echat_sdk.cli import run
from echat_sdk.server import app
from echat_sdk.server.caller import Caller
from echat_sdk.server.door import Access
from echat_sdk.server.realtime.faults import Fault
from echat_sdk.server.tickets import ClientSecrets
from echat_sdk.server.webrtc.offer import checked
from echat_sdk.server.webrtc.routes import MISSING
from echat_sdk.server.webrtc.sounding import Sounding
from echat_sdk.server.webrtc.track import CallLine, SpeechTrack
from echat_sdk.testing import FakeModel, RAMMemory, virtual_time
from tests.sdk.server.realtime.talk import LoudVAD

OFFER = """v=0
o=- 1 1 IN IP4 0.0.0.0
s=-
t=0 0
a=group:BUNDLE 0 1
m=audio 9 UDP/TLS/RTP/SAVPF 96
a=candidate:1 1 udp 2130706431 203.0.113.9 9999 typ host
a=candidate:2 1 udp 2130706431 0d5b1b2c.local 9999 typ host
a=end-of-candidates
a=ice-ufrag:abcd
a=ice-pwd:abcdefghijklmnopqrstuvwx
a=fingerprint:sha-256 00
a=setup:actpass
a=recvonly
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
a=sctp-port:5000
"""


def test_an_offer_is_taken_without_the_addresses_that_it_names() -> None:
    sdp = checked(OFFER)
    assert "candidate" not in sdp
    assert "203.0.113.9" not in sdp
    assert sdp.count("\r\n") == OFFER.count("\n") - 3


@pytest.mark.parametrize(
    "wrong",
    [
        OFFER.replace("recvonly", "sendonly"),
        OFFER.replace("recvonly", "inactive"),
        OFFER.replace("m=application", "m=video"),
        OFFER + "m=video 9 UDP/TLS/RTP/SAVPF 97\n",
        OFFER.replace("a=fingerprint", "a=x"),
        "x" * 70_000,
    ],
)
def test_an_offer_of_something_else_is_refused(wrong: str) -> None:
    with pytest.raises(Fault):
        checked(wrong)


@given(st.text(max_size=300) | st.lists(st.sampled_from(OFFER.splitlines())).map("\n".join))
def test_no_text_raises_anything_but_a_fault(text: str) -> None:
    with suppress(Fault):
        checked(text)


def test_the_track_speaks_at_its_time_and_falls_silent_at_once() -> None:
    heard: list[tuple[float, bool]] = []

    async def main() -> None:
        track = SpeechTrack(24_000)
        loop = asyncio.get_running_loop()

        async def listen() -> None:
            while True:
                frame = await track.recv()
                heard.append((loop.time(), bool(frame.to_ndarray().any())))

        async def speak() -> None:
            for _ in range(100):
                await track.put(np.ones(480, np.int16))

        async with asyncio.TaskGroup() as group:
            listening = group.create_task(listen(), name="listening")
            speaking = group.create_task(speak(), name="speaking")
            await asyncio.sleep(0.99)
            speaking.cancel()
            track.drop()
            await asyncio.sleep(0.51)
            listening.cancel()
            track.stop()
            await track.put(np.ones(48_000, np.int16))  # nobody waits for a track that ended

    virtual_time.run(main())
    steps = np.diff([at for at, _ in heard])
    assert np.allclose(steps, 0.02)
    assert len(heard) == pytest.approx(75, abs=2)
    loud = [at - heard[0][0] for at, is_loud in heard if is_loud]
    assert 0.95 < max(loud) < 1.0


def test_answers_that_are_read_take_no_sound() -> None:
    sounds: list[str] = []

    async def main() -> None:
        line = CallLine(24_000, lambda: sounds.append("sound"), lambda: sounds.append("dropped"))
        line.speaks = False
        await line.play(np.ones(480, np.int16))
        line.speaks = True
        await line.play(np.ones(480, np.int16))
        line.flush()
        await line.close()

    virtual_time.run(main())
    assert sounds == ["sound", "dropped"]


class Told:
    """What a `Sounding` tells, and how much was heard."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.heard = 0.0
        self.sounding = Sounding(self.send, lambda: self.heard, self.truncate)

    def send(self, event: dict[str, Any]) -> None:
        self.events.append(f"{event['type'].rpartition('.')[2]} {event['response_id']}")

    def truncate(self, item: str, heard: float) -> None:
        self.events.append(f"truncate {item} {heard:g}")

    def part(self, response: str) -> None:
        part = {"type": "audio", "transcript": ""}
        self.sounding.told(
            {
                "type": "response.content_part.added",
                "response_id": response,
                "item_id": f"of-{response}",
                "part": part,
            }
        )

    def done(self, response: str) -> None:
        self.sounding.told({"type": "response.done", "response": {"id": response}})


@pytest.mark.parametrize("is_early", [True, False])
def test_sound_starts_after_its_part_and_stops_after_its_response(is_early: bool) -> None:
    told = Told()
    for step in ("sound", "part") if is_early else ("part", "sound"):
        told.part("r1") if step == "part" else told.sounding.sounds()
    told.sounding.state(State.SPEAKING)
    told.done("r1")
    told.sounding.sounds()
    assert told.events == ["started r1"]
    told.sounding.state(State.OVERLAPPED)
    told.sounding.state(State.LISTENING)
    told.sounding.state(State.HEARING)
    assert told.events == ["started r1", "stopped r1"]


def test_what_is_cut_is_cleared_after_the_speech_that_cut_it_and_then_truncated() -> None:
    told = Told()
    told.part("r1")
    told.sounding.sounds()
    told.heard = 1.5
    told.sounding.dropped()
    assert told.events == ["started r1"]
    told.sounding.told({"type": "input_audio_buffer.speech_started"})
    assert told.events[1:] == ["cleared r1"]
    told.done("r1")
    assert told.events[2:] == ["truncate of-r1 1.5"]
    told.sounding.state(State.HEARING)
    told.part("r2")
    told.sounding.sounds()
    assert told.events[3:] == ["started r2"]


def test_what_is_cut_after_its_response_was_done_is_told_as_the_agent_falls_silent() -> None:
    told = Told()
    told.part("r1")
    told.sounding.sounds()
    told.done("r1")
    told.sounding.dropped()
    told.sounding.dropped()
    told.sounding.state(State.LISTENING)
    assert told.events == ["started r1", "cleared r1", "truncate of-r1 0"]


def test_a_response_that_goes_on_in_another_is_stopped_first() -> None:
    told = Told()
    told.part("r1")
    told.sounding.sounds()
    told.done("r1")
    told.part("r2")
    told.sounding.sounds()
    told.done("r2")
    told.sounding.state(State.LISTENING)
    assert told.events == ["started r1", "stopped r1", "started r2", "stopped r2"]


@pytest.mark.parametrize(
    ("calls", "told"),
    [({}, "takes no calls"), ({"calls": MISSING}, 'pip install "echat-sdk[webrtc]"')],
)
def test_a_server_that_takes_no_calls_says_why(calls: dict[str, str], told: str) -> None:
    service = Service(FakeModel(), RAMMemory(), RAMMemory, LoudVAD)
    access = Access(ClientSecrets(1, 1), nobody=Caller("nobody"))
    built = app.build(service, access=access, **calls)
    with TestClient(built, base_url="http://localhost") as client:
        answer = client.post("/v1/realtime/calls", content="v=0")
    assert answer.status_code == 501
    assert told in answer.json()["error"]["message"]


@pytest.mark.parametrize("address", ["here", "127.0.0.1:80", "-"])
def test_calls_are_taken_at_an_address_and_not_at_a_name(
    address: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("ECHAT_HOME", str(tmp_path))
    service = Service(FakeModel(), RAMMemory(), RAMMemory, LoudVAD)
    monkeypatch.setattr("echat_sdk.cli.serve.opened", lambda settings: nullcontext(service))
    assert run(["serve", "--port", "0", "--call-address", address]) == 2
    assert "expected an IP address" in capsys.readouterr().err
