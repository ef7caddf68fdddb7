"""Sessions as OpenAI's Realtime protocol has them, each event checked against OpenAI's types."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any

import numpy as np
import pytest

from echat_sdk.cues import Cue, Cues
from echat_sdk.server.realtime.codec import WireFormat
from echat_sdk.testing import FakeHearing, FakeModel, Line, RAMMemory
from echat_sdk.turn import TurnStatus
from tests.sdk.server.realtime.talk import (
    RESPOND,
    SPOKEN,
    Client,
    append,
    converse,
    manual,
    quiet,
    sound,
    typed,
    update,
)

LONG = " ".join(["word"] * 100)  # five seconds of the fake voice


def model(*lines: Line) -> FakeModel:
    return FakeModel(*(lines or [Line("hello there", ("I hear you.", " Go on."))]))


def test_a_spoken_turn_is_told_in_the_order_that_is_documented() -> None:
    client = converse(model(), SPOKEN)
    assert client.kinds == [
        "session.created",
        "conversation.created",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    assert client.text() == "I hear you. Go on."
    (started,), (stopped,) = (
        client.of(f"input_audio_buffer.speech_{what}") for what in ("started", "stopped")
    )
    assert started["audio_start_ms"] == 0
    assert stopped["audio_end_ms"] == pytest.approx(1000, abs=80)


def test_all_events_of_a_turn_name_the_same_items_and_response() -> None:
    client = converse(model(), SPOKEN)
    committed = client.of("input_audio_buffer.committed")[0]["item_id"]
    completed = client.of("conversation.item.input_audio_transcription.completed")[0]
    assert completed["item_id"] == committed
    response = client.of("response.done")[0]["response"]
    assert {e["response_id"] for _, e in client.told if "response_id" in e} == {response["id"]}
    (item,) = response["output"]
    assert item["content"] == [{"type": "output_audio", "transcript": "I hear you. Go on."}]
    assert client.of("conversation.item.added")[1]["previous_item_id"] == committed


def test_the_sound_is_whole_whatever_the_rate_of_the_model_is() -> None:
    client = converse(model(Line("hi", (LONG,))), SPOKEN)
    pieces = [base64.b64decode(e["delta"]) for e in client.of("response.output_audio.delta")]
    assert max(map(len, pieces)) <= 2 * 24_000 * 0.5
    assert sum(map(len, pieces)) == 2 * 24_000 * 5


def test_the_answer_is_sent_as_fast_as_it_is_made_and_is_heard_as_long_as_it_lasts() -> None:
    memory = RAMMemory()
    client = converse(model(Line("hi", (LONG,))), SPOKEN, memory=memory)
    (created,) = (at for at, e in client.told if e["type"] == "response.created")
    (done,) = (at for at, e in client.told if e["type"] == "response.done")
    assert done - created < 0.1
    (turn,) = memory.recall("ada").turns
    assert turn.timings.done is not None
    assert turn.timings.done > 5


def test_cues_and_the_thought_ride_beside_the_protocol() -> None:
    cues = Cues(emotion=Cue("sad", 0.8, {"sad": 0.8, "neutral": 0.2}))
    client = converse(model(Line("hello", cues=cues)), SPOKEN)
    completed = client.of("conversation.item.input_audio_transcription.completed")[0]
    assert completed["echat"]["cues"]["emotion"]["label"] == "sad"
    told = client.of("response.done")[0]["response"]["echat"]
    assert told["reply_emotion"] == "comforting"
    assert told["timings"]["first_audio"] is not None
    assert told["turn_id"]


def test_events_of_ours_come_to_who_asks_and_to_nobody_else() -> None:
    asked = update(echat={"events": ["state", "cues", "think"]})
    client = converse(model(), [asked, *SPOKEN])
    ours = [kind for kind in client.kinds if kind.startswith("echat.")]
    assert {"echat.state", "echat.cues", "echat.think.delta", "echat.think.done"} == set(ours)
    states = [e["state"] for e in client.of("echat.state")]
    assert states == ["listening", "hearing", "thinking", "speaking", "listening", "ended"]
    assert not any(k.startswith("echat.") for k in converse(model(), SPOKEN).kinds)


def test_a_typed_turn_is_answered_when_asked_and_in_writing_if_asked() -> None:
    written = {"type": "response.create", "response": {"output_modalities": ["text"]}}
    client = converse(model(), [typed("hello"), written])
    assert client.kinds[2:] == [
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]


def test_where_answers_are_written_no_speech_is_made_of_them() -> None:
    client = converse(model(), [update(output_modalities=["text"]), *SPOKEN])
    (done,) = client.of("response.done")
    assert done["response"]["output"][0]["content"][0]["text"] == "I hear you. Go on."
    assert done["response"]["echat"]["timings"]["first_audio"] is None


def test_who_wants_an_answer_and_has_said_nothing_is_greeted() -> None:
    client = converse(model(), [RESPOND], greeting="Good day.")
    assert client.text() == "Good day."
    assert client.of("response.done")[0]["response"]["status"] == "completed"


def test_two_responses_at_once_are_refused_and_the_first_goes_on() -> None:
    client = converse(model(Line("x", (LONG,))), [typed("hello"), RESPOND, RESPOND])
    assert [e["code"] for e in client.errors] == ["conversation_already_has_active_response"]
    assert [e["response"]["status"] for e in client.of("response.done")] == ["completed"]


def test_turns_that_the_client_ends_are_written_down_and_answered_when_asked() -> None:
    commit = {"type": "input_audio_buffer.commit"}
    client = converse(model(), [manual(), append(sound(1)), commit])
    assert "response.created" not in client.kinds
    completed = client.of("conversation.item.input_audio_transcription.completed")[0]
    assert completed["transcript"] == "hello there"

    client = converse(model(), [manual(), append(sound(1)), commit, RESPOND])
    assert client.text() == "I hear you. Go on."
    assert "input_audio_buffer.speech_started" not in client.kinds
    assert len(client.of("input_audio_buffer.committed")) == 1


def test_an_empty_buffer_is_not_committed_nor_one_whose_turns_are_detected() -> None:
    commit = {"type": "input_audio_buffer.commit", "event_id": "mine"}
    (error,) = converse(model(), [manual(), commit]).errors
    assert (error["code"], error["event_id"]) == ("input_audio_buffer_commit_empty", "mine")
    (error,) = converse(model(), [commit]).errors
    assert error["code"] == "input_audio_buffer_commit_not_allowed"
    cleared = [manual(), append(sound(1)), {"type": "input_audio_buffer.clear"}, commit]
    assert [e["code"] for e in converse(model(), cleared).errors] == [
        "input_audio_buffer_commit_empty"
    ]


def test_turns_may_be_detected_and_answered_only_when_asked() -> None:
    apart = update(
        audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}}
    )

    async def script(client: Client) -> None:
        client.send(apart, *SPOKEN)
        await client.until("conversation.item.input_audio_transcription.completed")
        assert "response.created" not in client.kinds
        client.send(RESPOND)
        await client.until("response.done")

    assert converse(model(), script).text() == "I hear you. Go on."


def test_a_session_that_only_transcribes_answers_nothing() -> None:
    only = {
        "type": "session.update",
        "session": {
            "type": "transcription",
            "audio": {"input": {"turn_detection": {"type": "server_vad"}}},
        },
    }
    client = converse(model(), [only, *SPOKEN])
    assert client.of("session.updated")[0]["session"]["type"] == "transcription"
    assert len(client.of("conversation.item.input_audio_transcription.completed")) == 1
    assert "response.created" not in client.kinds


def test_the_silence_that_ends_a_turn_is_the_clients_to_set() -> None:
    def end(silence: int) -> float:
        detection = {"type": "server_vad", "silence_duration_ms": silence}

        async def script(client: Client) -> None:
            client.send(update(audio={"input": {"turn_detection": detection}}))
            await client.speak(1, pause=4)

        client = converse(model(), script)
        return next(at for at, e in client.told if e["type"].endswith("speech_stopped"))

    assert end(1500) - end(400) == pytest.approx(1.1, abs=0.12)


def test_who_speaks_over_the_agent_interrupts_it_and_only_what_was_heard_is_kept() -> None:
    memory = RAMMemory()

    async def script(client: Client) -> None:
        await client.speak(1, pause=1)
        await client.until("response.created")
        await client.speak(0, pause=1)
        await client.speak(1.5, pause=2)
        await client.until("response.done", 2)

    lines = Line("tell me", (LONG,)), Line("wait, I meant something else", ("All right.",))
    client = converse(model(*lines), script, memory=memory)
    kinds = client.kinds
    second = kinds.index("input_audio_buffer.speech_started", 4)
    assert kinds[second + 1] == "input_audio_buffer.speech_stopped"
    first, last = memory.recall("ada").turns
    assert first.status is TurnStatus.INTERRUPTED
    assert 10 < len(first.reply.split()) < 80
    assert last.reply == "All right."


def test_a_backchannel_interrupts_nobody() -> None:
    async def script(client: Client) -> None:
        client.send(update(echat={"events": ["state"]}))
        await client.speak(1, pause=1)
        await client.until("response.created")
        await client.speak(0, pause=1)
        await client.speak(0.6, pause=6)

    client = converse(model(Line("tell me", (LONG,)), Line("mm-hm")), script)
    assert len(client.of("input_audio_buffer.speech_started")) == 1
    assert len(client.of("echat.backchannel")) == 1
    assert [e["response"]["status"] for e in client.of("response.done")] == ["completed"]


def test_who_may_not_interrupt_is_not_heard_over_the_agent() -> None:
    detection = {"type": "semantic_vad", "interrupt_response": False}

    async def script(client: Client) -> None:
        client.send(update(audio={"input": {"turn_detection": detection}}))
        await client.speak(1, pause=1)
        await client.until("response.created")
        await client.speak(0, pause=1)
        await client.speak(1.5, pause=6)

    client = converse(model(Line("tell me", (LONG,)), Line("stop that now")), script)
    assert len(client.of("input_audio_buffer.speech_started")) == 1


def test_who_goes_on_before_an_answer_is_heard_goes_on_with_the_same_item() -> None:
    tool = {"type": "function", "name": "look", "description": "Look something up."}

    async def script(client: Client) -> None:
        client.send(update(tools=[tool]))
        await client.speak(1, pause=0.9)  # the answer waits for the function
        await client.speak(1, pause=3)

    client = converse(model(Line("half and half", calls="look")), script)
    items = {e["item_id"] for e in client.of("input_audio_buffer.committed")}
    assert len(items) == 1
    added = [e for e in client.of("conversation.item.added") if e["item"].get("role") == "user"]
    assert len(added) == 1
    assert len(client.of("response.function_call_arguments.done")) == 2


def test_cancel_closes_item_and_part_and_response() -> None:
    class Endless(FakeModel):
        """Pauses after its first clause until it is cut off."""

    async def script(client: Client) -> None:
        client.send(typed("hello"), RESPOND)
        await client.until("response.output_audio.delta", 1)
        client.send({"type": "response.cancel"})
        await client.until("response.done")

    client = converse(Endless(Line("x", (LONG,) * 40)), script)
    done = client.of("response.done")[0]["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "client_cancelled")
    assert done["output"][0]["status"] == "incomplete"
    tail = [kind for kind in client.kinds if not kind.startswith("echat.")][-4:]
    assert tail == [
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]


CANCEL = {"type": "response.cancel"}


def test_who_cancels_and_asks_again_at_once_gets_a_whole_answer_and_no_third() -> None:
    async def script(client: Client) -> None:
        client.send(typed("hello"), RESPOND)
        await client.until("response.output_audio.delta")
        client.send(CANCEL, typed("again"), RESPOND)
        await client.until("response.done", 2)
        await asyncio.sleep(10)

    client = converse(model(Line("x", (LONG,) * 40), Line("y", ("All right.",))), script)
    responses = [e["response"] for e in client.of("response.done")]
    assert [each["status"] for each in responses] == ["cancelled", "completed"]
    assert responses[1]["output"][0]["content"][0]["transcript"] == "All right."
    assert client.errors == []


def test_who_cancels_before_anything_was_answered_is_told_of_one_response() -> None:
    memory = RAMMemory()
    client = converse(model(), [typed("hello"), RESPOND, CANCEL], memory=memory)
    assert [e["response"]["status"] for e in client.of("response.done")] == ["cancelled"]
    (turn,) = memory.recall("ada").turns
    assert (turn.status, turn.reply) == (TurnStatus.INTERRUPTED, "")


def test_words_that_are_known_late_belong_to_the_turn_in_which_they_were_said() -> None:
    async def script(client: Client) -> None:
        client.send(*SPOKEN)
        await client.until("input_audio_buffer.committed")
        client.send(typed("and this"), RESPOND)
        await client.until("response.done")
        await asyncio.sleep(5)

    memory = RAMMemory()
    client = converse(SlowEar(Line("said before"), Line("typed")), script, memory=memory)
    spoken = client.of("input_audio_buffer.committed")[0]["item_id"]
    (told,) = client.of("conversation.item.input_audio_transcription.completed")
    assert (told["item_id"], told["transcript"]) == (spoken, "said before")
    turns = [(turn.transcript, turn.status) for turn in memory.recall("ada").turns]
    assert turns == [
        ("said before", TurnStatus.INTERRUPTED),
        ("and this", TurnStatus.COMPLETE),
    ]
    (done,) = client.of("response.done")
    assert done["response"]["status"] == "completed"
    assert done["response"]["echat"]["turn_id"] == "ram-2"


def test_who_speaks_instead_of_waiting_for_an_answer_to_what_they_typed_is_answered_alone() -> None:
    async def script(client: Client) -> None:
        client.send(typed("typed first"), RESPOND, *SPOKEN)
        await client.until("response.done", 2)

    memory = RAMMemory()
    client = converse(SlowEar(Line("then said")), script, memory=memory)
    statuses = [e["response"]["status"] for e in client.of("response.done")]
    assert statuses == ["cancelled", "completed"]
    kinds = [kind for kind in client.kinds if kind in ("response.created", "response.done")]
    assert kinds == ["response.created", "response.done"] * 2
    ids = [e["response"]["echat"]["turn_id"] for e in client.of("response.done")]
    assert ids == ["ram-1", "ram-2"]
    assert [turn.transcript for turn in memory.recall("ada").turns] == ["typed first", "then said"]


class SlowEar(FakeModel):
    """Takes a while of real time to know the words."""

    def listen(self, **given: Any) -> FakeHearing:
        hearing = super().listen(**given)
        known = hearing.heard
        hearing.heard = lambda: time.sleep(0.1) or known()  # type: ignore[method-assign,func-returns-value]
        return hearing


def test_of_a_cancelled_answer_what_the_client_says_was_heard_is_kept() -> None:
    memory = RAMMemory()

    async def script(client: Client) -> None:
        client.send(typed("hello"), RESPOND)
        item = (await client.until("response.output_item.added"))["item"]["id"]
        await asyncio.sleep(2)
        cut = {"type": "conversation.item.truncate", "item_id": item, "content_index": 0}
        client.send(CANCEL, {**cut, "audio_end_ms": 1000})
        await client.until("conversation.item.truncated")

    client = converse(model(Line("x", (LONG,) * 40)), script, memory=memory)
    assert [e["response"]["status"] for e in client.of("response.done")] == ["cancelled"]
    (turn,) = memory.recall("ada").turns
    assert len(turn.reply.split()) == 20


def test_a_greeting_may_be_cancelled() -> None:
    async def script(client: Client) -> None:
        client.send(RESPOND)
        await client.until("response.output_audio.delta")
        client.send(CANCEL)
        await client.until("response.done")

    client = converse(model(), script, greeting=LONG)
    done = client.of("response.done")[0]["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "client_cancelled")
    assert client.errors == []


def test_there_is_nothing_to_cancel_when_nothing_is_said() -> None:
    (error,) = converse(model(), [CANCEL]).errors
    assert error["code"] == "response_cancel_not_active"


def test_truncating_deletes_the_words_that_were_not_heard_here_and_in_memory() -> None:
    memory = RAMMemory()

    async def script(client: Client) -> None:
        client.send(manual(), typed("hello"), RESPOND)
        item = (await client.until("response.done"))["response"]["output"][0]["id"]
        cut = {"type": "conversation.item.truncate", "item_id": item, "content_index": 0}
        client.send({**cut, "audio_end_ms": 1000}, {**cut, "audio_end_ms": 99_000})
        client.send({"type": "conversation.item.retrieve", "item_id": item})
        await client.until("conversation.item.retrieved")

    client = converse(model(Line("x", (LONG,))), script, memory=memory)
    heard = client.of("conversation.item.retrieved")[0]["item"]["content"][0]["transcript"]
    assert len(heard.split()) == 20
    assert [e["param"] for e in client.errors] == ["audio_end_ms"]
    (turn,) = memory.recall("ada").turns
    assert turn.reply == heard


def test_a_deleted_item_is_gone_and_the_next_answer_does_not_know_it() -> None:
    fake = model()

    async def script(client: Client) -> None:
        client.send(manual(), typed("my secret"))
        item = (await client.until("conversation.item.added"))["item"]["id"]
        client.send({"type": "conversation.item.delete", "item_id": item})
        client.send({"type": "conversation.item.retrieve", "item_id": item})
        client.send(typed("hello"), RESPOND)
        await client.until("response.done")

    client = converse(fake, script)
    assert [e["code"] for e in client.errors] == ["item_not_found"]
    assert all("secret" not in t.transcript for r in fake.recollections for t in r.turns)


def test_what_the_client_put_into_the_conversation_is_known_to_the_answer() -> None:
    fake = model()
    said = {
        "type": "conversation.item.create",
        "item": {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "My name is Echo."}],
        },
    }
    converse(fake, [typed("Who are you?"), said, typed("And who am I?"), RESPOND])
    (turn,) = fake.recollections[0].turns
    assert (turn.transcript, turn.reply) == ("Who are you?", "My name is Echo.")


def test_items_are_put_where_the_client_wants_them() -> None:
    first = {**typed("one"), "item": {**typed("one")["item"], "id": "one"}}
    second = {**typed("two"), "previous_item_id": "root"}
    third = {**typed("three"), "previous_item_id": "one"}
    lost = {**typed("four"), "previous_item_id": "nowhere"}
    client = converse(model(), [first, second, third, lost])
    added = client.of("conversation.item.added")
    assert [e["previous_item_id"] for e in added] == [None, None, "one"]
    assert [e["code"] for e in client.errors] == ["item_not_found"]


def test_a_response_apart_knows_what_it_is_given_and_leaves_no_trace() -> None:
    memory = RAMMemory()
    apart = {
        "type": "response.create",
        "response": {
            "conversation": "none",
            "output_modalities": ["text"],
            "metadata": {"topic": "x"},
            "input": [typed("What is it about?")["item"]],
        },
    }
    client = converse(model(), [apart], memory=memory)
    done = client.of("response.done")[0]["response"]
    assert (done["conversation_id"], done["metadata"]) == (None, {"topic": "x"})
    assert client.text() == "I hear you. Go on."
    assert "conversation.item.added" not in client.kinds
    assert memory.recall("ada").turns == ()


def test_g711_is_heard_and_spoken() -> None:
    for name in ("audio/pcmu", "audio/pcma"):
        form = WireFormat(name)  # type: ignore[arg-type]
        audio = {"input": {"format": {"type": name}}, "output": {"format": {"type": name}}}
        script = [update(audio=audio), append(sound(1, form)), append(quiet(2, form))]
        client = converse(model(Line("hi", (LONG,))), script)
        pieces = [event["delta"] for event in client.of("response.output_audio.delta")]
        spoken = np.concatenate([asyncio.run(form.decode(piece)) for piece in pieces])
        assert len(spoken) == 5 * 8000
        assert np.abs(spoken).max() == pytest.approx(3000, rel=0.1)


def test_a_model_that_fails_ends_its_response_and_the_session_goes_on() -> None:
    fake = model(Line("x", ("One.", " Two."), error=RuntimeError("secret words")), Line("y"))

    async def script(client: Client) -> None:
        client.send(typed("hello"), RESPOND)
        await client.until("response.done")
        client.send(typed("again"), RESPOND)
        await client.until("response.done", 3)

    client = converse(fake, script)
    statuses = [e["response"]["status"] for e in client.of("response.done")]
    assert statuses[0] == "failed"
    assert statuses[-1] == "completed"
    assert all("secret words" not in str(e) for e in client.errors)


def test_a_session_begins_as_its_secret_says() -> None:
    from echat_sdk.server.caller import Caller

    caller = Caller("k", user="ada", session={"type": "realtime", "output_modalities": ["text"]})
    client = converse(model(), [typed("hello"), RESPOND], caller=caller)
    assert client.of("session.created")[0]["session"]["output_modalities"] == ["text"]
    assert "response.output_text.done" in client.kinds
