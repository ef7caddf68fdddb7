"""Calls over loopback, in real time: what is said, heard, told, interrupted and ended."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soxr
from openai import AsyncOpenAI

from echat_sdk.audio import Seconds, Waveform
from echat_sdk.cues import ReplyEmotion
from echat_sdk.io.wav import read_audio
from echat_sdk.server.caller import EVERYTHING
from echat_sdk.server.keys import Keys
from echat_sdk.server.limits import Limits
from echat_sdk.testing import FakeModel, Line, RAMMemory
from echat_sdk.turn import SpeechDelta
from tests.sdk.server.realtime.talk import RESPOND, typed, update
from tests.sdk.server.webrtc.calling import RATE, Phone, calling, http, serving

pytestmark = pytest.mark.slow
SDP = {"content-type": "application/sdp"}


class Voice(FakeModel):
    """Speaks each clause as a noise of its own, so that what was heard can be found in it."""

    def __init__(self, *lines: Line, lasts: Seconds = 0.8) -> None:
        super().__init__(*lines)
        self.lasts = lasts
        self.spoken: dict[str, Waveform] = {}

    def say(
        self, text: str, *, emotion: ReplyEmotion, voice: str | None = None
    ) -> Iterator[SpeechDelta]:
        noise = np.random.default_rng(len(text)).normal(0, 4000, round(self.lasts * 24_000))
        # Opus keeps a voice's band.
        spectrum = np.fft.rfft(noise)
        spectrum[np.fft.rfftfreq(len(noise), 1 / 24_000) > 3000] = 0
        samples = np.clip(np.fft.irfft(spectrum, len(noise)), -30_000, 30_000).astype(np.int16)
        self.spoken[text] = samples
        yield SpeechDelta(samples, self.sample_rate, text)


def likeness(heard: Waveform, said: Waveform) -> float:
    """The best correlation of what was said (24 kHz) with a part of what was heard (48 kHz)."""
    wanted = soxr.resample(said, 24_000, RATE).astype(np.float64)
    length = 1 << (len(heard) + len(wanted)).bit_length()
    product = np.fft.rfft(heard, length) * np.conj(np.fft.rfft(wanted, length))
    found = np.fft.irfft(product, length)[: len(heard)]
    total = np.concatenate(([0.0], np.cumsum(heard.astype(np.float64) ** 2)))
    power = total[len(wanted) :] - total[: -len(wanted)]
    norms = np.sqrt(np.maximum(power, 1e6)) * np.linalg.norm(wanted)
    return float(np.max(found[: len(norms)] / norms))


def spoken_wav() -> Waveform:
    samples = soxr.resample(read_audio(Path("examples/audio/sad.wav")), 16_000, RATE)
    found: Waveform = samples.astype(np.int16)
    return found


def voice(seconds: Seconds) -> Waveform:
    time = np.arange(round(seconds * RATE)) / RATE
    return (8000 * np.sin(2 * np.pi * 300 * time)).astype(np.int16)


def loud_after(phone: Phone, at: Seconds) -> Seconds:
    """For how long something was heard from then on."""
    loud = [when for when, piece in phone.heard if when > at and np.abs(piece).mean() > 100]
    return loud[-1] - at if loud else 0.0


async def test_what_is_spoken_is_answered_aloud_and_told_in_order() -> None:
    model = Voice(Line("My dog died.", ("I am so sorry.",)))
    async with serving(model) as served:
        async with calling(served, {"type": "realtime", "instructions": "Be kind."}) as phone:
            phone.microphone.say(spoken_wav())
            await phone.until("output_audio_buffer.stopped")
            await asyncio.sleep(0.3)  # the last of it is on its way
            assert phone.of("session.created")[0]["session"]["instructions"] == "Be kind."
            assert served.seats == 1
        await served.emptied()
    kinds = phone.kinds
    expected = [
        "session.created",
        "conversation.created",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "response.output_item.added",
        "response.content_part.added",
        "output_audio_buffer.started",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
        "output_audio_buffer.stopped",
    ]
    at = -1
    for kind in expected:
        at = kinds.index(kind, at + 1)
    assert "response.output_audio.delta" not in kinds
    assert "error" not in kinds
    response = phone.of("response.done")[0]["response"]["id"]
    assert {
        phone.of(f"output_audio_buffer.{what}")[0]["response_id"] for what in ("started", "stopped")
    } == {response}
    assert likeness(phone.sound, model.spoken["I am so sorry."]) > 0.9
    text = served.metrics.text().decode()
    assert "echat_sessions_begun_total 1.0" in text
    assert "echat_sessions 0.0" in text


async def test_an_interruption_empties_the_track_and_what_was_heard_is_kept() -> None:
    memory = RAMMemory()
    words = " ".join(f"word{n}" for n in range(60))
    model = Voice(Line("Tell me a story.", (words,)), Line("Stop!", ("Yes.",)), lasts=6.0)
    async with serving(model, memory=memory) as served, calling(served) as phone:
        phone.send(typed("Tell me a story."), RESPOND)
        await phone.until("output_audio_buffer.started")
        await asyncio.sleep(1)
        phone.microphone.say(voice(1.6))
        await phone.until("output_audio_buffer.cleared")
        cleared = phone.at("output_audio_buffer.cleared")
        truncated = await phone.until("conversation.item.truncated")
        started = phone.of("output_audio_buffer.started")
        if len(started) == 1:
            await asyncio.sleep(0.3)
        assert len(phone.of("output_audio_buffer.started")) == 1
        assert loud_after(phone, cleared) < 0.2
        assert phone.at("input_audio_buffer.speech_started") <= cleared
    assert 800 < truncated["audio_end_ms"] < 3000
    done = phone.of("response.done")[0]["response"]
    assert done["id"] == phone.of("output_audio_buffer.cleared")[0]["response_id"]
    kept = memory.recall("ada").turns[0]
    assert kept.reply.startswith("word0")
    assert not kept.reply.endswith("word59")


async def test_a_caller_clears_what_is_being_said() -> None:
    model = Voice(Line("hello", ("A long answer.",)), lasts=5.0)
    async with serving(model) as served, calling(served, speaks=False) as phone:
        phone.send(typed("hello"), RESPOND)
        await phone.until("output_audio_buffer.started")
        await asyncio.sleep(0.4)
        phone.send({"type": "response.cancel"}, {"type": "output_audio_buffer.clear"})
        await phone.until("output_audio_buffer.cleared")
        cleared = phone.at("output_audio_buffer.cleared")
        await phone.until("conversation.item.truncated")
        await asyncio.sleep(0.3)
        assert loud_after(phone, cleared) < 0.2
        assert "output_audio_buffer.stopped" not in phone.kinds


async def test_turns_that_the_caller_ends_are_heard_from_the_track() -> None:
    model = Voice(Line("hello", ("Hi.",)), lasts=0.3)
    manual = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    async with serving(model) as served, calling(served, manual) as phone:
        phone.microphone.say(voice(0.5))
        await asyncio.sleep(0.9)
        phone.send({"type": "input_audio_buffer.commit"}, RESPOND)
        await phone.until("output_audio_buffer.stopped")
        assert phone.of("conversation.item.input_audio_transcription.completed")


async def test_written_answers_are_not_heard_and_sound_in_events_is_refused() -> None:
    model = Voice(lasts=0.5)
    async with serving(model) as served, calling(served, speaks=False) as phone:
        phone.send(update(output_modalities=["text"]), typed("hello"), RESPOND)
        await phone.until("response.done")
        phone.send({"type": "input_audio_buffer.append", "audio": "AAAA"})
        phone.send({"type": "response.create", "response": {"conversation": "none"}})
        await phone.until("error")
        await asyncio.sleep(0.8)
        assert not any(kind.startswith("output_audio_buffer") for kind in phone.kinds)
        assert np.abs(phone.sound).max() < 100
        assert phone.of("error")[0]["error"]["param"] == "audio"


async def test_openais_client_calls_with_a_clients_secret_and_either_side_hangs_up(
    tmp_path: Path,
) -> None:
    keys = Keys(tmp_path / "keys.json")
    key, _ = keys.new("backend", scopes=EVERYTHING)
    other, _ = keys.new("other", scopes=EVERYTHING)
    async with serving(Voice(), keys=keys) as served:
        async with http(served, key) as client:
            body = {"session": {"type": "realtime", "instructions": "As ada."}}
            made = await client.post("/v1/realtime/client_secrets", json=body)
            secret = made.json()["value"]
        phone = Phone()
        openai = AsyncOpenAI(api_key=secret, base_url=f"{served.url}/v1", max_retries=0)
        answer = await openai.realtime.calls.create(
            sdp=await phone.offer(), session={"type": "realtime", "output_modalities": ["text"]}
        )
        location = answer.response.headers["location"]
        await phone.answered(answer.text)
        told = (await phone.until("session.created"))["session"]
        assert told["instructions"] == "As ada."
        assert told["output_modalities"] == ["text"]
        async with http(served, other) as stranger:
            assert (await stranger.post(f"{location}/hangup")).status_code == 404
        assert served.seats == 1
        call_id = location.rpartition("/")[2]
        await openai.realtime.calls.hangup(call_id)
        async with asyncio.timeout(5):
            await phone.closed.wait()
        await served.emptied()
        await phone.peer.close()
        await openai.close()


async def test_who_is_not_let_in_or_makes_no_sense_gets_no_call(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    key, _ = keys.new("backend", scopes=EVERYTHING)
    async with serving(Voice(), keys=keys, limits=Limits(sessions=1)) as served:
        async with http(served) as client:
            refused = await client.post("/v1/realtime/calls", content="v=0", headers=SDP)
            assert refused.status_code == 401
        phone = Phone()
        sdp = await phone.offer()
        await phone.peer.close()
        async with http(served, key) as client:
            for wrong in (
                "",
                "garbage",
                "v=0\r\n",
                sdp.replace("opus", "sopu"),
                sdp.replace("a=setup:", "a=x:"),
                sdp.replace("a=ice-pwd:", "a=x:"),
                sdp.replace("a=fingerprint:", "a=x:"),
                sdp.replace("m=application", "m=video"),
                sdp.replace("a=sendrecv", "a=sendonly"),
                sdp.replace("UDP/TLS/RTP/SAVPF 96", "UDP/TLS/RTP/SAVPF x"),
                sdp + "a=x\r\n" * 20_000,
                sdp[: len(sdp) // 2],
                sdp[::-1],
            ):
                answer = await client.post("/v1/realtime/calls", content=wrong, headers=SDP)
                assert answer.status_code == 400, wrong
                assert answer.json()["error"]["param"] == "sdp"
            files = {"sdp": (None, sdp), "session": (None, '{"audio": 5}')}
            assert (await client.post("/v1/realtime/calls", files=files)).status_code == 400
            assert (await client.post("/v1/realtime/calls", json={"sdp": sdp})).status_code == 400
            long = await client.post("/v1/realtime/calls", content=b"x" * 2**20, headers=SDP)
            assert long.status_code == 413
            assert served.seats == 0
            # Somebody who never connects has a seat for a while, and it is the only one.
            taken = await client.post("/v1/realtime/calls", content=sdp, headers=SDP)
            assert taken.status_code == 201
            full = await client.post("/v1/realtime/calls", content=sdp, headers=SDP)
            assert full.status_code == 503
            assert (await client.post(f"{taken.headers['location']}/hangup")).status_code == 200
            await served.emptied()


async def test_a_call_is_taken_on_loopback_alone_and_no_candidate_is_followed() -> None:
    async with serving(Voice()) as served:
        phone = Phone()
        sdp = await phone.offer()
        assert "a=candidate" in sdp
        async with http(served) as client:
            answer = await client.post("/v1/realtime/calls", content=sdp, headers=SDP)
        found = [line for line in answer.text.splitlines() if line.startswith("a=candidate")]
        assert found
        assert all(line.split()[4] == "127.0.0.1" and line.endswith("typ host") for line in found)
        await phone.peer.close()


async def test_sessions_end_with_the_server_and_with_their_time() -> None:
    async with serving(Voice(), limits=Limits(total_seconds=1.0)) as served:
        async with calling(served, speaks=False) as phone:
            async with asyncio.timeout(5):
                await phone.closed.wait()
        await served.emptied()
    limits = Limits(idle_seconds=0.5)
    async with serving(Voice(), limits=limits) as served, calling(served, speaks=False) as phone:
        async with asyncio.timeout(5):
            await phone.closed.wait()
    phone = Phone()
    async with serving(Voice()) as served, http(served) as client:
        answer = await client.post("/v1/realtime/calls", content=await phone.offer(), headers=SDP)
        await phone.answered(answer.text)
    async with asyncio.timeout(5):
        await phone.closed.wait()
    await phone.peer.close()


async def test_who_floods_the_channel_is_let_go() -> None:
    async with serving(Voice()) as served:
        async with calling(served, speaks=False) as phone:
            phone.send(*({"type": "nothing.known"} for _ in range(3000)))
            async with asyncio.timeout(8):
                await phone.closed.wait()
        await served.emptied()


async def test_whose_side_takes_not_even_an_error_is_hung_up_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(Voice()) as served:
        phone = Phone()
        sdp = await phone.offer(speaks=False)
        small, count = re.subn("a=max-message-size:[0-9]+", "a=max-message-size:10", sdp)
        assert count == 1
        async with http(served) as client:
            answer = await client.post("/v1/realtime/calls", content=small, headers=SDP)
        await phone.answered(answer.text)
        async with asyncio.timeout(8):
            await phone.closed.wait()
        await phone.peer.close()
        await served.emptied()
    assert not [record for record in caplog.records if record.exc_info]
