"""What a client may hold, and what it cannot break."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest

from echat_sdk.agent.ear import Ear
from echat_sdk.agent.lines import LINES
from echat_sdk.agent.service import Service
from echat_sdk.bridge import Worker
from echat_sdk.server.caller import Caller
from echat_sdk.server.limits import Limits
from echat_sdk.server.realtime import wire
from echat_sdk.server.realtime.codec import PCM16
from echat_sdk.server.realtime.endpoint import Realtime
from echat_sdk.server.realtime.faults import Fault
from echat_sdk.server.realtime.items import MOST_HEARD, Conversation, Item, from_client
from echat_sdk.testing import FakeHearing, FakeModel, Line, RAMMemory, virtual_time
from tests.sdk.server.realtime.talk import (
    ODD_FUNCTIONS,
    RESPOND,
    Client,
    LoudVAD,
    Told,
    append,
    converse,
    manual,
    quiet,
    sound,
    typed,
    update,
)

COMMIT = {"type": "input_audio_buffer.commit"}


@pytest.mark.parametrize("given", ODD_FUNCTIONS)
def test_a_function_of_an_odd_shape_is_refused_and_the_session_goes_on(given: Told) -> None:
    tool = {"type": "function", "name": "look", **given}
    client = converse(FakeModel(), [update(tools=[tool]), typed("hello"), RESPOND])
    assert [error["param"] for error in client.errors] == ["tools"]
    assert client.text()


@pytest.mark.parametrize("ms", ["100", 1.5, True, None, -5, 10**400])
def test_a_time_that_is_none_truncates_nothing(ms: Any) -> None:
    async def script(client: Client) -> None:
        client.send(typed("hello"), RESPOND)
        item = (await client.until("response.done"))["response"]["output"][0]["id"]
        cut = {"type": "conversation.item.truncate", "item_id": item, "content_index": 0}
        client.send({**cut, "audio_end_ms": ms})
        await client.until("error")

    client = converse(FakeModel(), script)
    assert [error["param"] for error in client.errors] == ["audio_end_ms"]


def test_what_is_said_unasked_is_a_response_that_is_active_and_can_be_cancelled() -> None:
    async def script(client: Client) -> None:
        client.send(RESPOND, RESPOND)
        await client.until("error")
        client.send({"type": "response.cancel"}, typed("hello"), RESPOND)
        await client.until("response.done", 2)

    client = converse(FakeModel(), script)
    assert [error["code"] for error in client.errors] == [
        "conversation_already_has_active_response"
    ]
    done = [event["response"]["status"] for event in client.of("response.done")]
    assert done == ["cancelled", "completed"]


def test_what_is_cut_off_before_a_word_of_it_was_said_takes_no_later_line_along() -> None:
    detection = {"type": "server_vad", "idle_timeout_ms": 5000}
    idle = update(audio={"input": {"turn_detection": detection}})
    client = converse(FakeModel(), [idle, RESPOND, {"type": "response.cancel"}])
    assert client.of("input_audio_buffer.timeout_triggered")
    done = [event["response"]["status"] for event in client.of("response.done")]
    assert done[:2] == ["cancelled", "completed"]
    assert LINES["there"]["en"] in client.text()


def test_silence_that_is_to_be_answered_ends_its_response() -> None:
    async def script(client: Client) -> None:
        client.send(manual(), append(quiet(1)), COMMIT, RESPOND)
        await client.until("response.done")
        client.send(typed("hello"), RESPOND)
        await client.until("response.done", 2)

    client = converse(FakeModel(Line("")), script)
    assert client.of("response.done")[0]["response"]["output"] == []


class Deaf(FakeModel):
    """Fails as a stranger's code does."""

    def listen(self, **given: Any) -> FakeHearing:
        raise RuntimeError("my grandmother's secret recipe")


def test_a_model_that_fails_in_a_way_of_its_own_ends_no_session() -> None:
    apart = {"type": "response.create", "response": {"conversation": "none"}}
    script = [manual(), append(sound(1)), COMMIT, RESPOND, apart, {"type": "echat.memory.retrieve"}]
    client = converse(Deaf(), script)
    assert client.of("conversation.item.input_audio_transcription.failed")
    assert {e["response"]["status"] for e in client.of("response.done")} <= {"failed", "completed"}
    assert len(client.of("response.created")) == len(client.of("response.done"))
    assert client.of("echat.memory.retrieved")
    assert "grandmother" not in str(client.told)


def test_who_leaves_while_their_words_are_written_down_leaves_in_order() -> None:
    async def script(client: Client) -> None:
        client.send(manual())
        for _ in range(3):
            client.send(append(sound(1)), COMMIT)
        await client.until("input_audio_buffer.committed", 3)

    assert converse(FakeModel(), script).errors == []


def test_of_many_items_only_the_last_hold_their_sound() -> None:
    mind = Worker("test")
    conversation = Conversation()
    for number in range(20):
        ear = Ear(FakeModel().listen, mind)
        conversation.add(Item(str(number), {"type": "message", "role": "user"}, ear=ear))
    mind.close()
    assert [item.ear is not None for item in conversation] == [False] * 16 + [True] * MOST_HEARD


@pytest.mark.parametrize(
    "given",
    [
        {"type": "function_call", "name": "f", "arguments": "x" * 9000},
        {"type": "function_call", "name": "f" * 9000, "arguments": ""},
        {"type": "function_call_output", "call_id": "x" * 9000, "output": ""},
        {**typed("")["item"], "content": [{"type": "input_text", "text": "x" * 100}] * 100},
        {**typed("")["item"], "content": [{"type": "input_audio", "audio": ""}] * 9000},
    ],
)
def test_an_item_is_bounded_whatever_is_in_it(given: Told) -> None:
    with pytest.raises(Fault, match="at most 8000"):
        from_client(given)


def test_what_holds_no_sound_is_short() -> None:
    with pytest.raises(Fault, match="without sound"):
        wire.parse(json.dumps({"type": "response.create", "x": "x" * 300_000}))
    assert wire.parse(json.dumps(append("A" * 300_000)))


# --- the endpoint ---------------------------------------------------------------------------------


def told_by_endpoint(messages: list[str], limits: Limits) -> list[Told]:
    """What a client is told who sends this."""
    told: list[Told] = []
    inbox: asyncio.Queue[Any] = asyncio.Queue()

    async def take(message: Any) -> None:
        if message["type"] == "websocket.send":
            told.append(json.loads(message["text"]))

    async def main() -> None:
        inbox.put_nowait({"type": "websocket.connect"})
        for text in messages:
            inbox.put_nowait({"type": "websocket.receive", "text": text})
        service = Service(FakeModel(), RAMMemory(), RAMMemory, LoudVAD)
        state = {"caller": Caller("k", user="ada")}
        scope = {"type": "websocket", "path": "/", "query_string": b"", "headers": []}
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            serving = Realtime(service, limits)({**scope, "state": state}, inbox.get, take)
            group.create_task(serving, name="session")
            await asyncio.sleep(10)
            inbox.put_nowait({"type": "websocket.disconnect"})

    virtual_time.run(main())
    return told


def errors(told: list[Told]) -> list[Told]:
    return [event["error"] for event in told if event["type"] == "error"]


def test_an_event_that_is_nested_too_deep_is_named_in_its_error() -> None:
    text = '{"type": "response.cancel", "event_id": "mine", "x": ' + "[" * 40 + "]" * 40 + "}"
    (error,) = errors(told_by_endpoint([text], Limits()))
    assert (error["event_id"], error["code"]) == ("mine", "invalid_event")


def test_sound_within_items_counts_as_sound() -> None:
    audio = PCM16.encode(np.zeros(24_000 * 2, np.int16))
    part = {"type": "input_audio", "audio": audio}
    item = {"type": "message", "role": "user", "content": [part]}
    text = json.dumps({"type": "conversation.item.create", "item": item})
    told = told_by_endpoint([text, text], Limits(audio_burst=3, audio_rate=1))
    assert [error["code"] for error in errors(told)] == ["rate_limit_exceeded"]


def test_who_sends_nothing_for_too_long_is_let_go() -> None:
    told = told_by_endpoint([], Limits(idle_seconds=5))
    assert [event["type"] for event in told] == ["session.created", "conversation.created"]
