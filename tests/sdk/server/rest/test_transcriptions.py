from __future__ import annotations

import io
import json
import struct
import time
import tracemalloc
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import openai
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from echat_memory import GuestMemory
from echat_sdk.consent import RUN, Purpose
from echat_sdk.cues import Cue, Cues
from echat_sdk.server.caller import Caller
from echat_sdk.server.rest import RestLimits
from echat_sdk.server.rest.timing import Timed, segments_of
from echat_sdk.testing import FakeHearing, FakeModel, Line, RAMMemory
from echat_sdk.turn import LangChoice
from tests.sdk.server.rest.serving import app_of, http_of, openai_of

SAD = Cues(emotion=Cue("sad", 0.9), gender=Cue("female", 0.8))


def sound(seconds: float = 1.0, kind: str = "WAV", rate: int = 16_000) -> bytes:
    body = io.BytesIO()
    soundfile.write(body, np.zeros(int(seconds * rate), np.int16), rate, format=kind)
    return body.getvalue()


def hears(words: str = "I am fine.") -> FakeModel:
    return FakeModel(Line(words, cues=SAD))


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
async def test_a_recording_is_told_in_words_with_how_it_was_said(kind: str) -> None:
    async with openai_of(app_of(hears())) as client:
        told = await client.audio.transcriptions.create(
            model="whisper-1", file=(f"x.{kind.lower()}", sound(kind=kind))
        )
    assert told.text == "I am fine."
    ours = (told.model_extra or {})["echat"]
    assert ours["lang"] == "en"
    assert ours["seconds"] == pytest.approx(1.0, abs=0.1)
    assert ours["cues"]["emotion"]["label"] == "sad"


async def test_each_form_is_as_clients_read_it() -> None:
    async with openai_of(app_of(hears())) as client:
        create = client.audio.transcriptions.create
        text: Any = await create(model="fake", file=("x.wav", sound()), response_format="text")
        verbose = await create(
            model="fake",
            file=("x.wav", sound()),
            response_format="verbose_json",
            timestamp_granularities=["segment"],
            language="en-GB",
        )
        stream = await create(model="fake", file=("x.wav", sound()), stream=True)
        events = [each async for each in stream]
    assert text == "I am fine.\n"
    assert (verbose.text, verbose.language, verbose.duration) == ("I am fine.", "english", 1.0)
    assert [each.type for each in events] == ["transcript.text.delta", "transcript.text.done"]
    assert {getattr(events[0], "delta", ""), getattr(events[1], "text", "")} == {"I am fine."}


class Timing(FakeModel):
    """Tells when each word was said."""

    def __init__(self, words: str, times: str) -> None:
        super().__init__(Line(words))
        self._times = times

    def understand(self, hearing: object, tasks: Sequence[str]) -> str:
        return self._times if list(tasks) == ["srwt"] else super().understand(hearing, tasks)


TIMES = "<0.0>I<0.2><0.2>am<0.4><0.4>fine<0.8><0.9>And<1.0><2.5>you<2.9>"


async def test_words_and_segments_are_told_with_their_times() -> None:
    async with openai_of(app_of(Timing("I am fine. And you?", TIMES))) as client:
        told = await client.audio.transcriptions.create(
            model="fake",
            file=("x.wav", sound()),
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
        )
    assert [(word.word, word.start, word.end) for word in told.words or ()][-2:] == [
        ("And", 0.9, 1.0),
        ("you", 2.5, 2.9),
    ]
    assert [(part.start, part.end, part.text) for part in told.segments or ()] == [
        (0.0, 0.8, "I am fine."),
        (0.9, 1.0, " And"),
        (2.5, 2.9, " you?"),
    ]


@pytest.mark.parametrize("asked", ["segment", "word"])
async def test_of_times_there_are_those_that_were_asked_for(asked: Any) -> None:
    async with openai_of(app_of(Timing("I am fine. And you?", TIMES))) as client:
        told = await client.audio.transcriptions.create(
            model="fake",
            file=("x.wav", sound()),
            response_format="verbose_json",
            timestamp_granularities=[asked],
        )
    assert (told.segments is not None, told.words is not None) == (
        asked == "segment",
        asked == "word",
    )


@given(
    st.lists(st.sampled_from(["I", "am", "fine", "I am", "好", "呢"]), max_size=6),
    st.sampled_from([" ", ". ", "! ", "", "。"]),
    st.lists(st.floats(0, 9).map(lambda at: round(at, 1)), min_size=8, max_size=8),
    st.booleans(),
)
def test_segments_are_the_transcript_one_after_the_other(
    said: list[str], between: str, times: list[float], is_mended: bool
) -> None:
    at = sorted(times)
    words = [Timed(word, at[i], at[i + 1]) for i, word in enumerate(said)]
    transcript = between.join(["else"] * len(said) if is_mended else said)
    segments = segments_of(transcript, words)
    if words:
        assert "".join(each["text"] for each in segments) == transcript
        assert (segments[0]["start"], segments[-1]["end"]) == (words[0].start, words[-1].end)
    starts = [each["start"] for each in segments]
    assert starts == sorted(starts)
    assert [each["id"] for each in segments] == [*range(len(segments))]


async def test_the_language_that_is_told_is_the_one_that_is_heard() -> None:
    asked: list[str] = []

    class Listener(FakeModel):
        def listen(self, *, lang: LangChoice = "auto") -> FakeHearing:
            asked.append(lang)
            return super().listen(lang=lang)

    async with openai_of(app_of(Listener(Line("x")), lang="auto")) as client:
        for lang in ("zh", "Chinese", "zh-TW", "en"):
            await client.audio.transcriptions.create(
                model="fake", file=("x.wav", sound()), language=lang
            )
        await client.audio.transcriptions.create(model="fake", file=("x.wav", sound()))
        with pytest.raises(openai.BadRequestError, match="'en' or 'zh'"):
            await client.audio.transcriptions.create(
                model="fake", file=("x.wav", sound()), language="de"
            )
    assert asked == ["zh", "zh", "zh", "en", "auto"]


@pytest.mark.parametrize("user", [None, "ada"])
async def test_cues_are_told_as_far_as_somebody_agreed(user: str | None) -> None:
    inferred: list[frozenset[str]] = []

    class Discreet(FakeHearing):
        def infer_only(self, cues: Collection[str]) -> None:
            inferred.append(frozenset(cues))

    class Model(FakeModel):
        def listen(self, *, lang: LangChoice = "auto") -> FakeHearing:
            return Discreet(self, Line("I am fine.", cues=SAD), "en")

    memory = GuestMemory(unasked=RUN - {Purpose.INFER_EMOTION})
    async with openai_of(app_of(Model(), memory, caller=Caller("k", user=user))) as client:
        told = await client.audio.transcriptions.create(model="fake", file=("x.wav", sound()))
    cues = (told.model_extra or {})["echat"]["cues"]
    assert cues["emotion"] == {"label": "unknown", "confidence": 0.0, "why": "not consented"}
    assert cues["gender"]["label"] == "female"
    assert inferred == [frozenset({"gender", "age"})]


async def test_nobody_is_heard_who_did_not_agree() -> None:
    async with openai_of(app_of(hears(), GuestMemory())) as client:
        with pytest.raises(openai.PermissionDeniedError, match="consent") as raised:
            await client.audio.transcriptions.create(model="fake", file=("x.wav", sound()))
    assert raised.value.code == "consent_required"


async def test_nothing_that_was_heard_is_kept() -> None:
    memory = RAMMemory()
    async with openai_of(app_of(hears(), memory, caller=Caller("k", user="ada"))) as client:
        await client.audio.transcriptions.create(model="fake", file=("x.wav", sound()))
    assert memory.known("ada").turns == 0


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "srt"}, "response_format"),
        ({"include[]": "logprobs"}, "include"),
        ({"timestamp_granularities[]": "year"}, "timestamp_granularities.0"),
        (
            {"timestamp_granularities[]": "word", "response_format": "verbose_json"},
            "timestamp_granularities",
        ),
        ({"timestamp_granularities[]": "word"}, None),
        ({"known_speaker_names[]": "ada"}, "known_speaker_names"),
        ({"stream": "maybe"}, "stream"),
    ],
)
async def test_what_cannot_be_told_is_refused(fields: dict[str, str], param: str | None) -> None:
    async with http_of(app_of()) as http:
        answer = await http.post(
            "/v1/audio/transcriptions",
            data={"model": "fake", **fields},
            files={"file": ("x.wav", sound())},
        )
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def forged(**fields: tuple[int, str, int]) -> bytes:
    body = bytearray(sound())
    for at, layout, value in fields.values():
        struct.pack_into(layout, body, at, value)
    return bytes(body)


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (b"", "empty"),
        (b"hello", "not a sound file"),
        (forged(rate=(24, "<I", 2**31)), "samples a second"),
        (forged(channels=(22, "<H", 200)), "channels"),
        (forged(size=(40, "<I", 2**31)), "limit is 2:00"),
        (sound(0.02), "at least 0.1 s"),
        (b"\x00\x00\x00\x18ftypM4A " + bytes(99), "AAC"),
    ],
)
async def test_what_is_no_recording_is_refused_without_a_path(file: bytes, told: str) -> None:
    async with openai_of(app_of(hears())) as client:
        with pytest.raises(openai.BadRequestError, match=told) as raised:
            await client.audio.transcriptions.create(model="fake", file=("x.wav", file))
    assert (raised.value.param, raised.value.code) == ("file", "invalid_audio")
    assert "/" not in raised.value.message.replace("[", "")


async def test_a_bomb_of_compressed_silence_takes_no_memory() -> None:
    bomb = sound(1800.0, "FLAC", 48_000)  # half an hour: 172 MB of samples
    assert len(bomb) < 400_000
    async with openai_of(app_of(hears())) as client:
        tracemalloc.start()
        with pytest.raises(openai.BadRequestError, match="limit is 2:00"):
            await client.audio.transcriptions.create(model="fake", file=("x.flac", bomb))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < 20 * 2**20


async def test_an_upload_that_is_too_long_is_refused_before_it_is_read() -> None:
    limits = RestLimits(upload_bytes=10_000)
    async with http_of(app_of(limits=limits)) as http:
        claimed = await http.post("/v1/audio/transcriptions", content=bytes(10_001))

        async def endless() -> Any:
            while True:
                yield bytes(1000)

        unclaimed = await http.post("/v1/audio/transcriptions", content=endless())
    assert (claimed.status_code, unclaimed.status_code) == (413, 413)
    assert claimed.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize(
    "how", ["no boundary", "no file", "two files", "many fields", "one name", "json"]
)
async def test_a_form_that_is_none_is_refused(how: str) -> None:
    wav = ("x.wav", sound())
    async with http_of(app_of()) as http:
        post = http.post
        url = "/v1/audio/transcriptions"
        match how:
            case "no boundary":
                head = {"content-type": "multipart/form-data"}
                answer = await post(url, content=b"--x", headers=head)
            case "no file":
                answer = await post(url, data={"model": "fake"}, files={"other": wav})
            case "two files":
                answer = await post(url, files=[("file", wav), ("file", wav)])
            case "one name":
                part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n'
                head = {"content-type": "multipart/form-data; boundary=x"}
                began = time.perf_counter()
                answer = await post(url, content=part * 400_000 + b"--x--", headers=head)
                assert time.perf_counter() - began < 3
            case "many fields":
                many = {f"f{i}": "x" for i in range(50)}
                answer = await post(url, data=many, files={"file": wav})
            case _:
                answer = await post(url, json={"model": "fake"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_silence_has_no_words() -> None:
    async with http_of(app_of(hears(""))) as http:
        answer = await http.post(
            "/v1/audio/transcriptions",
            data={"model": "fake"},
            files={"file": ("x.wav", sound())},
        )
    assert json.loads(answer.text)["text"] == ""
