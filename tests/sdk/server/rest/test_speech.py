from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx2
import numpy as np
import openai
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI

from echat_sdk.cues import ReplyEmotion
from echat_sdk.errors import GenerationError, UnsupportedError
from echat_sdk.server.caller import Caller, Scope
from echat_sdk.server.rest import RestLimits
from echat_sdk.server.rest.encoders import Format
from echat_sdk.server.rest.speech import parts
from echat_sdk.testing import FakeModel
from echat_sdk.turn import SpeechDelta
from tests.sdk.server.rest.serving import app_of, http_of, listening, openai_of

SAMPLES = 24_000 * 3 // 20  # what the fake model makes of three words
ASK = {"model": "fake", "input": "one two three", "voice": "alloy"}


class Voiced(FakeModel):
    """Notes how it was asked to speak."""

    def __init__(self, *, rate: int = 24_000) -> None:
        super().__init__(voices=("heart",))
        self.asked: list[tuple[str, ReplyEmotion, str | None]] = []
        self.sample_rate = rate

    def say(
        self, text: str, *, emotion: ReplyEmotion, voice: str | None = None
    ) -> Iterator[SpeechDelta]:
        self.asked.append((text, emotion, voice))
        return super().say(text, emotion=emotion)


@pytest.mark.parametrize("kind", ["wav", "flac", "opus", "mp3"])
async def test_each_format_can_be_read_back(kind: Format) -> None:
    async with openai_of(app_of()) as client:
        speech = await client.audio.speech.create(
            model="tts-1", voice="alloy", input="one two three", response_format=kind
        )
    samples, rate = soundfile.read(io.BytesIO(speech.content), dtype="int16")
    assert rate == 24_000
    assert len(samples) == pytest.approx(SAMPLES, abs=0 if kind in ("wav", "flac") else 1200)
    assert np.abs(samples).max() > 1000


async def test_raw_pcm_is_at_24_khz_whatever_the_model_makes() -> None:
    async with http_of(app_of(Voiced(rate=22_050))) as http:
        answer = await http.post("/v1/audio/speech", json={**ASK, "response_format": "pcm"})
    assert answer.headers["content-type"] == "audio/pcm"
    assert len(answer.content) == pytest.approx(2 * SAMPLES, abs=4)


async def test_without_a_format_it_is_mp3_as_clients_expect() -> None:
    async with http_of(app_of()) as http:
        answer = await http.post("/v1/audio/speech", json=ASK)
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.headers["x-request-id"].startswith("req_")


async def test_an_emotion_and_a_voice_of_ours_reach_the_model() -> None:
    model = Voiced()
    async with openai_of(app_of(model)) as client:
        for voice in ("heart", "marin"):
            await client.audio.speech.create(
                model="fake",
                voice=voice,
                input="Hi.",
                instructions="Speak like a pirate.",
                extra_body={"echat": {"emotion": "happy"}},
            )
        await client.audio.speech.create(model="fake", voice={"id": "heart"}, input="Hi.")
    assert model.asked == [
        ("Hi.", ReplyEmotion.HAPPY, "heart"),
        ("Hi.", ReplyEmotion.HAPPY, None),
        ("Hi.", ReplyEmotion.NEUTRAL, "heart"),
    ]


@pytest.mark.parametrize(
    ("change", "param", "told"),
    [
        ({"voice": "bob"}, "voice", "heart"),
        ({"response_format": "aac"}, "response_format", "'wav'"),
        ({"speed": 1.5}, "speed", "only 1.0"),
        ({"input": "a" * 4097}, "input", "4,096"),
        ({"input": " \n\x00 "}, "input", "no words"),
        ({"echat": {"emotion": "cheesy"}}, "echat.emotion", "joyful"),
        ({"echat": {"mood": "happy"}}, "echat.mood", "not permitted"),
        ({"input": None}, "input", "valid string"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_what_can(
    change: dict[str, object], param: str, told: str
) -> None:
    async with http_of(app_of(FakeModel(voices=("heart",)))) as http:
        answer = await http.post("/v1/audio/speech", json={**ASK, **change})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["type"]) == (
        400,
        param,
        "invalid_request_error",
    )
    assert told in error["message"]


async def test_a_model_that_is_not_served_is_not_found() -> None:
    async with openai_of(app_of()) as client:
        with pytest.raises(openai.NotFoundError, match="fake is served") as raised:
            await client.audio.speech.create(model="fakke", voice="alloy", input="Hi.")
    assert raised.value.code == "model_not_found"


async def test_what_a_voice_cannot_speak_is_told_before_any_sound() -> None:
    class Mute(FakeModel):
        def say(self, *_: object, **__: object) -> Iterator[SpeechDelta]:
            raise UnsupportedError("no voice for Chinese is installed")

    async with openai_of(app_of(Mute())) as client:
        with pytest.raises(openai.BadRequestError, match="no voice for Chinese"):
            await client.audio.speech.create(model="fake", voice="alloy", input="你好")


async def test_events_carry_the_same_sound() -> None:
    ask = {**ASK, "response_format": "pcm", "stream_format": "sse"}
    async with http_of(app_of()) as http:
        text = (await http.post("/v1/audio/speech", json=ask)).text
    events = [json.loads(line.removeprefix("data: ")) for line in text.split("\n\n") if line]
    sound = b"".join(base64.b64decode(e["audio"]) for e in events if "audio" in e)
    assert len(sound) == 2 * SAMPLES
    assert events[-1]["type"] == "speech.audio.done"
    assert events[-1]["usage"]["input_tokens"] == 4


class Slow(FakeModel):
    """Speaks two clauses, the second when it is let; then it fails if it is to."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.goes_on = threading.Event()
        self.is_closed = threading.Event()
        self._error = error

    def say(self, *_: object, **__: object) -> Iterator[SpeechDelta]:
        try:
            for _ in range(2):
                yield SpeechDelta(np.full(24_000, 7, np.int16), self.sample_rate, "clause")
                self.goes_on.wait(10)
            if self._error:
                raise self._error
        finally:
            self.is_closed.set()


def test_speech_is_heard_while_the_rest_is_made() -> None:
    model = Slow()
    with listening(app_of(model)) as url, OpenAI(api_key="x", base_url=f"{url}/v1") as client:
        create = client.audio.speech.with_streaming_response.create
        with create(model="tts-1", voice="ash", input="Hi.", response_format="wav") as speech:
            blocks = speech.iter_bytes(4096)
            first = next(blocks)
            assert not model.goes_on.is_set()
            model.goes_on.set()
            whole = first + b"".join(blocks)
    assert soundfile.info(io.BytesIO(whole)).samplerate == 24_000
    assert len(whole) == 44 + 2 * 48_000


WAV = {"response_format": "wav"}


@contextmanager
def begun(model: Slow, limits: RestLimits) -> Iterator[str]:
    """A server that is in the middle of an answer."""
    with (
        listening(app_of(model, limits=limits)) as url,
        httpx2.stream("POST", f"{url}/v1/audio/speech", json=ASK | WAV) as answer,
        closing(answer.iter_bytes()) as blocks,
    ):
        next(blocks)
        yield url


def test_who_goes_away_stops_the_model_and_frees_the_place() -> None:
    model = Slow()
    with listening(app_of(model, limits=RestLimits(threads=1, waiting=0))) as url:
        with httpx2.stream("POST", f"{url}/v1/audio/speech", json=ASK | WAV) as answer:
            next(answer.iter_bytes())
        model.goes_on.set()
        assert model.is_closed.wait(5)
        status = 0
        for _ in range(500):  # until the server has seen it, too
            status = httpx2.post(f"{url}/v1/audio/speech", json=ASK | WAV).status_code
            if status != 503:
                break
    assert status == 200


def test_half_an_answer_is_not_taken_for_a_whole_one() -> None:
    model = Slow(GenerationError("the stream broke"))
    model.goes_on.set()
    with (
        listening(app_of(model)) as url,
        pytest.raises(httpx2.RemoteProtocolError),
    ):
        httpx2.post(f"{url}/v1/audio/speech", json=ASK | WAV)


async def test_half_an_answer_in_events_ends_with_the_error() -> None:
    model = Slow(GenerationError("ada said so"))
    model.goes_on.set()
    async with http_of(app_of(model)) as http:
        ask = ASK | WAV | {"stream_format": "sse"}
        text = (await http.post("/v1/audio/speech", json=ask)).text
    last = json.loads(text.strip().split("\n\n")[-1].removeprefix("data: "))
    assert last["error"]["type"] == "server_error"
    assert "ada" not in text


def test_beyond_the_queue_requests_are_told_to_come_again() -> None:
    model = Slow()
    limits = RestLimits(threads=1, waiting=0)
    with begun(model, limits) as url:
        busy = httpx2.post(f"{url}/v1/audio/speech", json=ASK)
        model.goes_on.set()
    assert (busy.status_code, busy.json()["error"]["code"]) == (503, "overloaded")
    assert busy.headers["retry-after"] == "1"


def test_one_key_does_not_take_every_place() -> None:
    model = Slow()
    with begun(model, RestLimits(per_key=1)) as url:
        more = httpx2.post(f"{url}/v1/audio/speech", json=ASK)
        model.goes_on.set()
    assert (more.status_code, more.json()["error"]["type"]) == (429, "rate_limit_error")


async def test_a_key_for_chat_does_not_speak() -> None:
    app = app_of(caller=Caller("k", frozenset({Scope.CHAT})))
    async with openai_of(app) as client:
        with pytest.raises(openai.PermissionDeniedError, match="audio"):
            await client.audio.speech.create(model="fake", voice="alloy", input="Hi.")


async def test_whom_no_door_let_in_is_not_answered() -> None:
    async with openai_of(app_of(caller=None)) as client:
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()


@given(st.text(st.sampled_from("ab .!?。\n"), max_size=120), st.integers(5, 40))
def test_a_long_text_is_said_in_parts_and_nothing_of_it_is_lost(text: str, most: int) -> None:
    said = list(parts(text, most))
    assert "".join("".join(said).split()) == "".join(text.split())
    assert all(0 < len(part) <= most for part in said)
