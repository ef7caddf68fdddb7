"""Consent by voice: heard for a yes or a no alone, once everything was told, and never for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from echat_memory import GuestMemory
from echat_sdk.consent import Purpose
from echat_sdk.cues import Cue, Cues
from echat_sdk.disclosure import VERSION
from echat_sdk.server.realtime.spoken_answer import MOST, SILENCE
from echat_sdk.testing import FakeHearing, FakeModel, Line, RAMMemory
from echat_sdk.turn import LangChoice
from tests.sdk.server.realtime.talk import (
    RESPOND,
    SPOKEN,
    Client,
    Told,
    append,
    converse,
    manual,
    quiet,
    sound,
    typed,
    update,
)

PURPOSES = ["process_voice", "infer_emotion"]
ASK: Told = {"type": "echat.consent.ask", "purposes": PURPOSES, "lang": "en"}
CANCEL: Told = {"type": "response.cancel"}
CLEAR: Told = {"type": "input_audio_buffer.clear"}
SAD = Cues(emotion=Cue("sad", 0.8, {"sad": 0.8, "neutral": 0.2}))
EVENTS = update(echat={"events": ["state", "cues", "think", "mood", "trace"]})

Script = Callable[[Client], Any]


class Discreet(FakeModel):
    """Writes down which cues it was to look for, and in which language it listened."""

    def __init__(self, *lines: Line) -> None:
        super().__init__(*lines)
        self.wanted: list[frozenset[str]] = []
        self.langs: list[LangChoice] = []

    def listen(self, *, lang: LangChoice = "auto") -> FakeHearing:
        self.langs.append(lang)
        line = super().listen(lang=lang)
        return _DiscreetHearing(self, line._line, line._lang)


class _DiscreetHearing(FakeHearing):
    def infer_only(self, cues: frozenset[str]) -> None:
        assert isinstance(self._model, Discreet)
        self._model.wanted.append(cues)


def asked(*lines: str, then: Script | None = None, ask: Told = ASK, **more: Any) -> Client:
    """A client that asks, and its user, who says each of these once it was told all."""
    memory = more.setdefault("memory", GuestMemory())
    assert memory.allowed("ada") == frozenset()

    async def script(client: Client) -> None:
        client.send(EVENTS, ask)
        for said in range(1, 1 + len(lines)):
            await client.until("response.done", said)
            await asyncio.sleep(1.5)  # a client plays what came at once
            await client.speak(0.6, pause=1)
        await client.until("echat.consent.answered")
        if then is not None:
            await then(client)

    return converse(Discreet(*(Line(words, cues=SAD) for words in lines)), script, **more)


def answer(client: Client) -> Told:
    (told,) = client.of("echat.consent.answered")
    return told


def told_nothing(client: Client) -> None:
    """Of what was said: that it was said, how it sounded, what it was."""
    kinds = [kind for kind in client.kinds if "input_audio" in kind or "cues" in kind]
    assert kinds == []
    items = [event["item"] for event in client.of("conversation.item.added")]
    assert [item["role"] for item in items if item["role"] == "user"] == []
    assert "hearing" not in [event["state"] for event in client.of("echat.state")]


def test_a_yes_is_a_consent_that_was_given_by_voice() -> None:
    memory = GuestMemory()
    client = asked("Yes, please.", memory=memory)
    assert answer(client)["state"] == "granted"
    assert answer(client)["allowed"] == sorted(PURPOSES)
    assert answer(client)["purposes"]["infer_emotion"] == "granted"
    given = memory.consents("ada").of(Purpose.PROCESS_VOICE)
    assert (given.state, given.channel, given.version) == ("granted", "voice", VERSION)
    told_nothing(client)
    assert client.errors == []


def test_what_there_is_to_know_is_told_before_and_aloud() -> None:
    client = asked("yes")
    text = client.text()
    assert "I am an AI" in text
    assert "If you agree, I judge how you feel from your voice." in text
    assert "I keep nothing" in text
    question = "May I listen to you, and judge from your voice how you feel? Please say yes or no."
    assert text.endswith(question)
    assert client.of("response.output_audio.delta")
    (done,) = client.of("response.done")
    assert done["response"]["status"] == "completed"


def test_it_is_told_and_heard_in_the_language_that_was_asked_for() -> None:
    client = asked("我同意。", ask={**ASK, "lang": "zh"})
    assert "我是人工智能" in client.text()
    assert client.text().endswith(
        "我可以听你说话，并从你的声音判断你的心情吗？请说我同意，或者我不同意。"
    )
    assert answer(client)["state"] == "granted"


def test_nothing_is_judged_of_who_answers() -> None:
    model = Discreet(Line("yes", cues=SAD))

    async def script(client: Client) -> None:
        client.send(ASK)
        await client.until("response.done")
        await client.speak(0.6, pause=1)
        await client.until("echat.consent.answered")

    converse(model, script, memory=GuestMemory())
    assert model.wanted == [frozenset()]
    assert set(model.langs) == {"en"}
    assert model.recollections == []


def test_a_no_is_kept_as_one_and_nobody_is_heard() -> None:
    memory = GuestMemory()
    client = asked("No, thank you.", memory=memory)
    assert answer(client)["state"] == "denied"
    assert answer(client)["allowed"] == []
    assert memory.consents("ada").of(Purpose.PROCESS_VOICE).state == "denied"
    told_nothing(client)


def test_who_agreed_before_takes_it_back_with_a_no() -> None:
    memory = GuestMemory()
    memory.consent("ada", "infer_emotion")
    model = FakeModel(Line("no"))

    async def script(client: Client) -> None:
        client.send(ASK)
        await client.until("response.done")
        await client.speak(0.6, pause=1)
        await client.until("echat.consent.answered")

    client = converse(model, script, memory=memory)
    assert answer(client)["purposes"]["infer_emotion"] == "withdrawn"
    assert answer(client)["purposes"]["process_voice"] == "denied"


def test_who_agreed_is_heard_and_answered_from_then_on() -> None:
    async def then(client: Client) -> None:
        await client.speak(1, pause=3)
        await client.until("response.done", 2)

    client = asked("yes", then=then)
    (heard,) = client.of("conversation.item.input_audio_transcription.completed")
    assert heard["echat"]["cues"]["emotion"]["label"] == "sad"
    assert client.errors == []


def test_something_else_is_asked_again_once() -> None:
    client = asked("What is that?", "Yes.")
    assert answer(client)["state"] == "granted"
    assert client.text().count("Please say yes or no.") == 2
    assert client.text().count("I am an AI") == 1
    told_nothing(client)


def test_something_else_twice_is_no_answer_and_changes_nothing() -> None:
    memory = GuestMemory()
    client = asked("What is that?", "I like trains.", memory=memory)
    assert answer(client)["state"] == "unanswered"
    assert set(answer(client)["purposes"].values()) == {"unknown"}
    assert memory.consents("ada").given == {}


def test_a_silence_is_no_answer() -> None:
    client = asked()
    ended = next(at for at, event in client.told if event["type"] == "response.done")
    at = next(at for at, event in client.told if event["type"] == "echat.consent.answered")
    assert answer(client)["state"] == "unanswered"
    assert SILENCE - 3 < at - ended < SILENCE + 5


def test_a_cough_is_no_answer_either() -> None:
    client = asked("")
    assert answer(client)["state"] == "unanswered"
    assert client.text().count("Please say yes or no.") == 1


def over(words: str) -> tuple[Client, float, float]:
    """Somebody says something while they are told what there is to know."""

    async def script(client: Client) -> None:
        client.send(ASK)
        await client.until("response.output_audio.delta")
        await client.speak(0.4, pause=0.7)
        await client.until("echat.consent.answered")
        await asyncio.sleep(1)

    model = FakeModel(Line(words))
    client = converse(model, script, memory=GuestMemory())
    done = next(at for at, event in client.told if event["type"] == "response.done")
    at = next(at for at, event in client.told if event["type"] == "echat.consent.answered")
    return client, done, at


def test_a_no_cuts_off_what_is_being_told() -> None:
    client, done, _ = over("no")
    assert answer(client)["state"] == "denied"
    (told,) = client.of("response.done")
    assert told["response"]["status"] == "cancelled"
    assert done < 2.5


def test_a_yes_counts_once_all_was_told() -> None:
    client, done, at = over("yes")
    assert answer(client)["state"] == "granted"
    (told,) = client.of("response.done")
    assert told["response"]["status"] == "completed"
    assert at >= done


def test_a_yes_that_may_be_the_agents_own_is_asked_about_again() -> None:
    async def script(client: Client) -> None:
        client.send(ASK)
        await client.until("response.output_audio.delta")
        await asyncio.sleep(2.0)  # of 2.35 s: it says how to answer
        await client.speak(0.2, pause=0.8)
        await client.until("response.done", 2)
        await client.speak(0.6, pause=1)
        await client.until("echat.consent.answered")

    client = converse(FakeModel(Line("yes"), Line("yes")), script, memory=GuestMemory())
    assert client.text().count("Please say yes or no.") == 2
    assert answer(client)["state"] == "granted"


def test_what_else_is_said_meanwhile_is_not_minded() -> None:
    client, _, _ = over("she is talking to you")
    assert client.text().count("Please say yes or no.") == 1
    assert answer(client)["state"] == "unanswered"


@pytest.mark.parametrize(
    ("event", "param", "code"),
    [
        ({"purposes": []}, "purposes", "invalid_value"),
        ({"purposes": "process_voice"}, "purposes", "invalid_value"),
        ({"purposes": ["process_voice", 5]}, "purposes", "invalid_value"),
        ({"purposes": ["x"]}, "purposes", "invalid_value"),
        ({"lang": "fr"}, "lang", "invalid_value"),
        ({"lang": {}}, "lang", "invalid_value"),
        ({"purposes": ["infer_emotion"]}, "purposes", "invalid_value"),
    ],
)
def test_what_cannot_be_asked_is_told(event: Told, param: str, code: str) -> None:
    barred = frozenset({Purpose.INFER_EMOTION})
    memory = GuestMemory(barred=barred)
    client = converse(FakeModel(), [{**ASK, **event, "event_id": "e1"}], memory=memory)
    (error,) = client.errors
    assert (error["param"], error["code"], error["event_id"]) == (param, code, "e1")
    assert client.of("response.created") == []


def test_where_nobody_is_asked_for_consent_nobody_is_asked_aloud() -> None:
    client = converse(FakeModel(), [ASK], memory=RAMMemory())
    assert [error["code"] for error in client.errors] == ["unsupported"]


def test_one_question_at_a_time_and_nothing_else_meanwhile() -> None:
    async def script(client: Client) -> None:
        client.send(ASK)
        await client.until("response.done")
        client.send({**ASK, "event_id": "second"}, {**RESPOND, "event_id": "answer"})
        await client.speak(0.6, pause=1)
        await client.until("echat.consent.answered")

    client = converse(FakeModel(Line("yes")), script, memory=GuestMemory())
    assert {error["event_id"]: error["code"] for error in client.errors} == {
        "second": "consent_is_asked_for",
        "answer": "consent_is_asked_for",
    }
    assert answer(client)["state"] == "granted"


def test_it_is_not_asked_while_somebody_is_answered() -> None:
    async def script(client: Client) -> None:
        client.send(typed("hello"), RESPOND)
        await client.until("response.created")
        client.send(ASK)
        await client.until("response.done")
        await asyncio.sleep(1)

    client = converse(FakeModel(), script, memory=GuestMemory())
    assert [error["code"] for error in client.errors] == [
        "conversation_already_has_active_response"
    ]
    assert client.of("echat.consent.answered") == []


@pytest.mark.parametrize("when", ["response.output_audio.delta", "response.done"])
def test_who_cancels_it_has_no_answer(when: str) -> None:
    async def script(client: Client) -> None:
        client.send(ASK)
        await client.until(when)
        client.send(CANCEL)
        await client.until("echat.consent.answered")
        client.send(typed("hello"), RESPOND)
        await client.until("response.done", 2)

    client = converse(FakeModel(Line("yes")), script, memory=GuestMemory())
    assert answer(client)["state"] == "unanswered"
    assert client.errors == []


def test_a_yes_to_what_was_cancelled_is_none() -> None:
    memory = GuestMemory()

    async def script(client: Client) -> None:
        client.send(ASK)
        await client.until("response.output_audio.delta")
        await client.speak(0.4, pause=0.7)
        client.send(CANCEL)
        await client.until("echat.consent.answered")

    client = converse(FakeModel(Line("yes")), script, memory=memory)
    assert answer(client)["state"] == "unanswered"
    assert memory.consents("ada").given == {}


def test_who_answers_by_hand_is_not_waited_for() -> None:
    agree = {"type": "echat.consent.update", "purposes": PURPOSES, "state": "granted"}

    async def script(client: Client) -> None:
        client.send(ASK)
        await client.until("response.output_audio.delta")
        client.send(agree)
        await client.until("echat.consent.updated")
        await client.speak(1, pause=3)
        await client.until("response.done", 2)

    client = converse(FakeModel(Line("hello")), script, memory=GuestMemory())
    kinds = [kind for kind in client.kinds if "consent" in kind]
    assert kinds == ["echat.consent.answered", "echat.consent.updated"]
    assert answer(client)["state"] == "unanswered"
    assert client.errors == []


@pytest.mark.parametrize("at", ["response.created", "response.done"])
def test_a_session_may_end_meanwhile(at: str) -> None:
    memory = GuestMemory()

    async def script(client: Client) -> None:
        client.send(ASK)
        await client.until(at)
        await client.speak(0.6)

    client = converse(FakeModel(Line("yes")), script, memory=memory)
    assert client.of("echat.consent.answered") == []
    assert memory.consents("ada").given == {}


def test_where_the_client_says_when_a_turn_ends_an_answer_is_heard_all_the_same() -> None:
    async def script(client: Client) -> None:
        client.send(manual(), ASK)
        await client.until("response.done")
        await client.speak(0.6, pause=1)
        await client.until("echat.consent.answered")
        client.send(append(sound(1)), {"type": "input_audio_buffer.commit"}, RESPOND)
        await client.until("response.done", 2)

    client = converse(FakeModel(Line("yes"), Line("hello")), script, memory=GuestMemory())
    assert answer(client)["state"] == "granted"
    heard = client.of("conversation.item.input_audio_transcription.completed")
    assert {event["transcript"] for event in heard} == {"hello"}
    assert client.errors == []


def test_another_way_to_take_turns_ends_the_question() -> None:
    async def script(client: Client) -> None:
        client.send(ASK)
        await client.until("response.output_audio.delta")
        client.send(manual())
        await client.until("echat.consent.answered")

    client = converse(FakeModel(Line("yes")), script, memory=GuestMemory())
    assert answer(client)["state"] == "unanswered"


def test_what_is_cleared_takes_no_question_back() -> None:
    async def script(client: Client) -> None:
        client.send(ASK, CLEAR)
        await client.until("response.done")
        client.send(CLEAR)
        await client.speak(0.6, pause=1)
        await client.until("echat.consent.answered")

    client = converse(FakeModel(Line("yes")), script, memory=GuestMemory())
    assert answer(client)["state"] == "granted"
    assert client.of("response.done")[0]["response"]["status"] == "completed"


def test_what_was_said_before_the_question_is_no_answer_to_it() -> None:
    before = [append(sound(0.1)), ASK, append(quiet(1))]
    client = converse(FakeModel(Line("yes")), before, memory=GuestMemory())
    assert answer(client)["state"] == "unanswered"


def test_a_crowd_keeps_no_question_open() -> None:
    async def script(client: Client) -> None:
        client.send(ASK)
        await client.until("response.output_audio.delta")
        for _ in range(40):
            client.send(append(sound(3)), append(quiet(2)))
        await client.until("echat.consent.answered")

    client = converse(FakeModel(Line("and then we went home")), script, memory=GuestMemory())
    assert answer(client)["state"] == "unanswered"
    at = next(at for at, event in client.told if event["type"] == "echat.consent.answered")
    assert at < MOST + 5


def test_a_written_session_writes_the_question() -> None:
    async def script(client: Client) -> None:
        client.send(update(output_modalities=["text"]), ASK)
        await client.until("response.done")
        await client.speak(0.6, pause=1)
        await client.until("echat.consent.answered")

    client = converse(FakeModel(Line("yes")), script, memory=GuestMemory())
    assert client.of("response.output_text.done")
    assert answer(client)["state"] == "granted"


def test_nobody_is_heard_in_another_way_before_they_agreed() -> None:
    client = converse(FakeModel(Line("yes")), SPOKEN, memory=GuestMemory())
    assert "ConsentError" in {error["code"] for error in client.errors}
    assert client.of("response.output_audio.delta") == []
