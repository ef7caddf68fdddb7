"""What a session's user may see and change: consents, what is kept, how they sounded, and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from echat_memory import GuestMemory, SQLMemory, in_words
from echat_sdk.consent import REMEMBERED, RUN, Purpose, barred_in
from echat_sdk.cues import Cue, Cues
from echat_sdk.server.caller import Caller
from echat_sdk.testing import FakeModel, Line
from tests.sdk.server.realtime.talk import RESPOND, SPOKEN, Client, converse, typed, update

SAD = Cues(emotion=Cue("sad", 0.8, {"sad": 0.8, "neutral": 0.2}))
AGREE = {"type": "echat.consent.update", "purposes": sorted(REMEMBERED), "state": "granted"}


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[SQLMemory]:
    with closing(SQLMemory(tmp_path / "echat.db", unasked=RUN)) as opened:
        yield opened


def test_a_session_tells_what_was_agreed_to_before_anything_is_heard(memory: SQLMemory) -> None:
    client = converse(FakeModel(), [], memory=memory)
    ours = client.of("session.created")[0]["session"]["echat"]
    assert ours["purposes"] == {str(purpose): "unknown" for purpose in Purpose}
    assert ours["allowed"] == sorted(RUN)


def test_who_agrees_is_remembered_and_who_does_not_is_not(memory: SQLMemory) -> None:
    converse(FakeModel(Line("I am Ada")), [*SPOKEN], memory=memory)
    assert memory.show("ada") == []
    client = converse(FakeModel(Line("I am Ada")), [AGREE, *SPOKEN], memory=memory)
    told = client.of("echat.consent.updated")[0]
    assert told["purposes"]["long_term_memory"] == "granted"
    (kept,) = memory.show("ada")
    assert kept.turn.transcript == "I am Ada"


def test_a_refusal_deletes_what_was_kept(memory: SQLMemory) -> None:
    refuse = {**AGREE, "purposes": ["store_transcript"], "state": "withdrawn"}
    client = converse(FakeModel(), [AGREE, typed("hello"), RESPOND, refuse], memory=memory)
    assert client.of("echat.consent.updated")[1]["allowed"] == sorted(
        REMEMBERED - {"store_transcript"}
    )


def test_nobody_is_listened_to_who_refuses(memory: SQLMemory) -> None:
    refuse = {**AGREE, "purposes": ["process_voice"], "state": "denied"}
    client = converse(FakeModel(), [refuse, *SPOKEN], memory=memory)
    assert "response.output_audio.delta" not in client.kinds
    assert "ConsentError" in {error["code"] for error in client.errors}


def test_cues_that_were_refused_are_not_told(memory: SQLMemory) -> None:
    refuse = {**AGREE, "purposes": ["infer_emotion"], "state": "denied"}
    client = converse(FakeModel(Line("x", cues=SAD)), [refuse, *SPOKEN], memory=memory)
    told = client.of("conversation.item.input_audio_transcription.completed")[0]["echat"]
    assert told["cues"]["emotion"] == {
        "label": "unknown",
        "confidence": 0.0,
        "why": "not consented",
    }


def test_what_is_kept_is_told_and_forgotten(memory: SQLMemory) -> None:
    async def script(client: Client) -> None:
        client.send(AGREE, typed("My dog is called Rex."), RESPOND)
        await client.until("response.done")
        client.send({"type": "echat.memory.retrieve"})
        known = await client.until("echat.memory.retrieved")
        assert known["turns"] == 1
        assert any("Rex" in fact for fact in known["facts"])
        client.send({"type": "echat.memory.forget", "scope": "all"})
        assert (await client.until("echat.memory.forgotten"))["turns"] == 1

    converse(FakeModel(), script, memory=memory)
    assert memory.show("ada") == []


def test_one_turn_or_today_may_be_forgotten(memory: SQLMemory) -> None:
    async def script(client: Client) -> None:
        client.send(AGREE)
        for number in (1, 2, 3):
            client.send(typed(f"number {number}"), RESPOND)
            done = await client.until("response.done", number)
        turn_id = done["response"]["echat"]["turn_id"]
        client.send({"type": "echat.memory.forget", "scope": "turn", "turn_id": turn_id})
        await client.until("echat.memory.forgotten")
        assert [kept.turn.transcript for kept in memory.show("ada")] == ["number 1", "number 2"]
        client.send({"type": "echat.memory.forget", "scope": "today"})
        await client.until("echat.memory.forgotten", 2)

    converse(FakeModel(), script, memory=memory)
    assert memory.show("ada") == []


def test_mood_and_trace_come_after_each_turn_to_who_asks(memory: SQLMemory) -> None:
    async def script(client: Client) -> None:
        client.send(AGREE, update(echat={"events": ["mood", "trace"]}))
        await client.speak(1, pause=3)
        trace = await client.until("echat.trace")
        assert trace["response_id"] == client.of("response.done")[0]["response"]["id"]
        assert trace["words"]
        mood = await client.until("echat.mood")
        assert "days" in mood["mood"]
        client.send({"type": "echat.trace.retrieve"}, {"type": "echat.mood.retrieve"})
        await client.until("echat.trace.retrieved")
        await client.until("echat.mood.retrieved")

    converse(FakeModel(Line("so sad", cues=SAD)), script, memory=memory, in_words=in_words)


@pytest.mark.parametrize(
    ("event", "param"),
    [
        ({"type": "echat.consent.update", "purposes": "all", "state": "granted"}, "purposes"),
        ({"type": "echat.consent.update", "purposes": ["x"], "state": "granted"}, None),
        ({"type": "echat.consent.update", "purposes": ["train"], "state": "unknown"}, "state"),
        ({"type": "echat.memory.forget", "scope": "everything"}, "scope"),
        ({"type": "echat.memory.forget", "scope": "turn"}, "turn_id"),
        ({"type": "echat.memory.forget", "scope": "turn", "turn_id": "999"}, None),
        ({"type": "echat.trace.retrieve", "turn_id": 5}, "turn_id"),
        ({"type": "echat.trace.retrieve", "turn_id": "999"}, None),
    ],
)
def test_what_cannot_be_done_is_told(
    memory: SQLMemory, event: dict[str, Any], param: str | None
) -> None:
    client = converse(FakeModel(), [event], memory=memory)
    if event.get("turn_id") == "999" and "forget" in event["type"]:
        assert client.of("echat.memory.forgotten")[0]["turns"] == 0
        return
    (error,) = client.errors
    assert error["param"] == param


def test_a_guest_is_known_as_long_as_the_session_lasts(memory: SQLMemory) -> None:
    fake = FakeModel(Line("I am Ada"))

    async def script(client: Client) -> None:
        await client.speak(1, pause=3)
        await client.speak(1, pause=3)

    guests = converse(fake, script, memory=memory, caller=Caller("key", user=None))
    assert guests.of("session.created")[0]["session"]["echat"]["user"] is False
    assert [turn.transcript for turn in fake.recollections[1].turns] == ["I am Ada"]
    assert memory.users() == 0


def test_of_a_guest_no_mood_is_kept(memory: SQLMemory) -> None:
    client = converse(
        FakeModel(), [{"type": "echat.mood.retrieve"}], memory=GuestMemory(unasked=RUN)
    )
    assert [error["code"] for error in client.errors] == ["unsupported"]


def test_what_a_guest_answers_counts_for_the_session() -> None:
    client = converse(FakeModel(), [AGREE], memory=GuestMemory())
    told = client.of("echat.consent.updated")[0]
    assert told["allowed"] == sorted(REMEMBERED)
    assert told["deleted"] == {}


def test_a_session_tells_what_nobody_can_agree_to_here() -> None:
    memory = GuestMemory(barred=barred_in("workplace"))
    client = converse(FakeModel(), [update()], memory=memory)
    for kind in ("session.created", "session.updated"):
        told = client.of(kind)[0]["session"]["echat"]["barred"]
        assert told == ["infer_emotion", "store_emotion"]


def test_an_answer_tells_whether_it_was_a_goodbye() -> None:
    async def script(client: Client) -> None:
        for number, words in enumerate(("Goodbye!", "They said goodbye to me."), 1):
            client.send(typed(words), RESPOND)
            await client.until("response.done", number)

    client = converse(FakeModel(), script, memory=GuestMemory())
    told = [event["response"]["echat"]["farewell"] for event in client.of("response.done")]
    assert told == [True, False]
