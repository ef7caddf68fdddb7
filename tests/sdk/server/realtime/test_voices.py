"""Which voice a session speaks with, which language it hears, and in which one it tells."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from echat_sdk.cues import Cues
from echat_sdk.testing import FakeHearing, FakeModel, Line
from echat_sdk.turn import LangChoice
from tests.sdk.server.realtime.talk import RESPOND, SPOKEN, Client, Told, converse, typed, update

USUAL, LOW, HIGH = 220, 440, 880  # Hz of the fake voices


def voiced() -> FakeModel:
    return FakeModel(
        Line("hello there", ("I hear you and I am with you.",)), voices=("low", "high")
    )


def pitch(client: Client, answer: int = 0) -> float:
    """Of what was said in one answer, in Hz."""
    item = client.of("response.content_part.added")[answer]["item_id"]
    deltas = [e for e in client.of("response.output_audio.delta") if e["item_id"] == item]
    raw = b"".join(base64.b64decode(event["delta"]) for event in deltas)
    samples = np.frombuffer(raw, np.int16)
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * 24_000 / len(samples))


def voice(name: str | dict[str, str]) -> Told:
    return update(audio={"output": {"voice": name}})


@pytest.mark.parametrize(
    ("name", "hertz"), [("low", LOW), ({"id": "high"}, HIGH), ("alloy", USUAL), ("marin", USUAL)]
)
def test_a_session_speaks_with_the_voice_that_it_asked_for(name: Any, hertz: int) -> None:
    client = converse(voiced(), [voice(name), *SPOKEN])
    assert pitch(client) == pytest.approx(hertz, abs=5)
    told = client.of("response.done")[0]["response"]["audio"]["output"]["voice"]
    assert told == (name["id"] if isinstance(name, dict) else name)


def test_a_voice_can_be_changed_between_two_turns_and_back() -> None:
    async def script(client: Client) -> None:
        for number, name in enumerate(("high", "alloy"), start=1):
            client.send(voice(name), typed("hello"), RESPOND)
            await client.until("response.done", number)

    client = converse(voiced(), script)
    assert [pitch(client, n) for n in range(2)] == pytest.approx([HIGH, USUAL], abs=5)


def test_one_response_may_have_a_voice_of_its_own() -> None:
    async def script(client: Client) -> None:
        alone = {"type": "response.create", "response": {"audio": {"output": {"voice": "high"}}}}
        apart = {**alone, "response": {**alone["response"], "conversation": "none"}}
        for number, asked in enumerate((alone, RESPOND, apart), start=1):
            client.send(typed("hello"), asked)
            await client.until("response.done", number)

    client = converse(voiced(), script)
    assert [pitch(client, n) for n in range(3)] == pytest.approx([HIGH, USUAL, HIGH], abs=5)


def test_the_greeting_has_the_voice_of_the_session_too() -> None:
    client = converse(voiced(), [voice("low"), RESPOND])
    assert pitch(client) == pytest.approx(LOW, abs=5)


def test_a_voice_that_is_none_is_refused_with_those_there_are_and_nothing_changes() -> None:
    wrong = {"type": "response.create", "response": {"audio": {"output": {"voice": "bob"}}}}
    client = converse(voiced(), [voice("bob"), wrong, typed("hello"), RESPOND])
    assert [e["param"] for e in client.errors] == [
        "session.audio.output.voice",
        "response.audio.output.voice",
    ]
    assert all("low, high" in e["message"] for e in client.errors)
    assert pitch(client) == pytest.approx(USUAL, abs=5)


def test_the_voices_that_there_are_are_told() -> None:
    client = converse(voiced(), [])
    assert client.of("session.created")[0]["session"]["echat"]["voices"] == ["low", "high"]


class Listens(FakeModel):
    """Notes in which language it was asked to hear and to read."""

    def __init__(self) -> None:
        super().__init__(Line("hello there"))
        self.langs: list[LangChoice] = []

    def listen(self, *, lang: LangChoice = "auto") -> FakeHearing:
        self.langs.append(lang)
        return super().listen(lang=lang)

    def read(self, text: str, cues: Cues, *, lang: LangChoice = "auto") -> FakeHearing:
        return super().read(text, cues, lang=lang)


def language(code: str | None) -> Told:
    transcription = None if code is None else {"model": "whisper-1", "language": code}
    return update(audio={"input": {"transcription": transcription}})


def test_the_language_of_a_sessions_transcription_is_the_one_that_is_heard() -> None:
    async def script(client: Client) -> None:
        for number, code in enumerate(("zh-CN", None), start=1):
            client.send(language(code), *SPOKEN)
            await client.until("response.done", number)

    model = Listens()
    client = converse(model, script, lang="en")
    assert model.langs == ["zh", "en"]
    told = client.of("conversation.item.input_audio_transcription.completed")
    assert [event["echat"]["lang"] for event in told] == ["zh", "en"]


def test_a_language_that_is_not_spoken_is_refused() -> None:
    client = converse(Listens(), [language("de"), update(echat={"lang": "fr"})])
    assert [e["param"] for e in client.errors] == [
        "session.audio.input.transcription.language",
        "session.echat.lang",
    ]


def test_what_the_server_itself_tells_is_in_the_readers_language() -> None:
    told = {"en": "I am an AI.", "zh": "我是人工智能。"}
    asked = [update(echat={"lang": "zh"}), update(echat={"events": ["state"]}), RESPOND]
    client = converse(FakeModel(), asked, lang="en", disclosure=told.__getitem__)
    first = client.of("session.created")[0]["session"]["echat"]
    then = [event["session"]["echat"] for event in client.of("session.updated")]
    assert first["disclosure"] == told["en"]
    assert [each["disclosure"] for each in then] == [told["zh"]] * 2
    assert client.text().startswith("你好")
