"""Every event that the server can send, as the `openai` package's own types have it.

Unlike the package itself, which takes what it does not know for granted, this refuses any field
that its types do not have, but for `echat`, which is ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

import pytest
from openai.types.beta import realtime as old
from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel

from echat_sdk.errors import GenerationError
from echat_sdk.server.realtime import beta
from echat_sdk.testing import FakeModel, Line
from tests.sdk.server.realtime.talk import (
    RESPOND,
    SPOKEN,
    Client,
    Told,
    append,
    converse,
    manual,
    sound,
    typed,
    update,
)

NEVER = {
    "conversation.item.created": "of the beta, whose clients are sent it",
    "conversation.item.input_audio_transcription.segment": "speakers are not told apart",
    "input_audio_buffer.dtmf_event_received": "of telephone calls",
    "mcp_list_tools.completed": "tools of MCP servers are not taken; functions are",
    "mcp_list_tools.failed": "the same",
    "mcp_list_tools.in_progress": "the same",
    "output_audio_buffer.cleared": "of WebRTC, where the server plays",
    "output_audio_buffer.started": "the same",
    "output_audio_buffer.stopped": "the same",
    "rate_limits.updated": "neither requests nor tokens are counted",
    "response.mcp_call.completed": "tools of MCP servers are not taken; functions are",
    "response.mcp_call.failed": "the same",
    "response.mcp_call.in_progress": "the same",
    "response.mcp_call_arguments.delta": "the same",
    "response.mcp_call_arguments.done": "the same",
}
"""Events of OpenAI's that are never sent over a WebSocket, and why."""

WEATHER = {"type": "function", "name": "weather", "description": "The weather."}
ASKS = Line("the weather, please", calls="weather")


def kinds(union: Any) -> dict[str, type[BaseModel]]:
    """The types of a union of events, by the names of the events."""
    models = get_args(get_args(union)[0])
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in models}


EVENTS = kinds(RealtimeServerEvent)


class Deaf(FakeModel):
    """Fails whenever it is to say what it heard."""

    def listen(self, *, lang: Any = "auto") -> Any:
        hearing = super().listen(lang=lang)

        def fail() -> Any:
            raise GenerationError("nothing was heard")

        hearing.heard = fail  # type: ignore[method-assign]
        return hearing


async def spoken(client: Client) -> None:
    """A turn, its answer cut, and what else is asked of items."""
    client.send(*SPOKEN)
    done = await client.until("response.done")
    item = done["response"]["output"][0]["id"]
    at = {"item_id": item, "content_index": 0}
    client.send({"type": "conversation.item.truncate", **at, "audio_end_ms": 100})
    client.send({"type": "conversation.item.retrieve", "item_id": item})
    client.send({"type": "conversation.item.delete", "item_id": item})
    await client.until("conversation.item.deleted")
    client.send({"type": "input_audio_buffer.clear"}, {"type": "nothing.known"})
    await client.until("error")


async def written(client: Client) -> None:
    """In writing, with a function, and cancelled."""
    client.send(update(tools=[WEATHER], output_modalities=["text"]))
    client.send(typed(ASKS.transcript), RESPOND)
    done = await client.until("response.done")
    (call,) = done["response"]["output"]
    given = {"type": "function_call_output", "call_id": call["call_id"], "output": "It rains."}
    client.send({"type": "conversation.item.create", "item": given}, RESPOND)
    await client.until("response.done", 2)
    apart = {"conversation": "none", "output_modalities": ["text"], "metadata": {"topic": "x"}}
    client.send({"type": "response.create", "response": apart})
    await client.until("response.done", 3)


async def silent(client: Client) -> None:
    """Nobody says anything until the agent asks why."""
    detection = {"type": "server_vad", "idle_timeout_ms": 5000}
    client.send(update(audio={"input": {"turn_detection": detection}}))
    await client.until("response.done")


async def unheard(client: Client) -> None:
    """What is committed cannot be written down."""
    client.send(manual(), append(sound(1)), {"type": "input_audio_buffer.commit"})
    await client.until("conversation.item.input_audio_transcription.failed")


async def transcribed(client: Client) -> None:
    """A session that only writes down."""
    client.send({"type": "session.update", "session": {"type": "transcription"}}, *SPOKEN)
    await client.until("conversation.item.input_audio_transcription.completed")
    await asyncio.sleep(1)


@cache
def told() -> tuple[Told, ...]:
    """What sessions tell that between them see all there is."""
    sessions = (
        converse(FakeModel(Line("hello", ("I hear you.", " Go on."))), spoken),
        converse(FakeModel(ASKS), written),
        converse(FakeModel(), silent),
        converse(Deaf(), unheard),
        converse(FakeModel(), transcribed),
        converse(FakeModel(Line("x", ("One.",), error=RuntimeError())), [typed("hello"), RESPOND]),
    )
    events = [event for session in sessions for _, event in session.told]
    return tuple({"event_id": "event_x", **event} for event in events)


def unknown(value: Any, where: str = "") -> Iterator[str]:
    """Fields that the types do not have, wherever they are."""
    match value:
        case BaseModel():
            yield from (f"{where}.{name}" for name in value.model_extra or ())
            for name in type(value).model_fields:
                yield from unknown(getattr(value, name), f"{where}.{name}")
        case list():
            for each in value:
                yield from unknown(each, f"{where}[]")


def test_every_event_of_openais_is_sent_or_there_is_a_reason_why_not() -> None:
    sent = {event["type"] for event in told() if not event["type"].startswith("echat.")}
    assert len(EVENTS) == 46
    assert sent == EVENTS.keys() - NEVER.keys()


@pytest.mark.parametrize("kind", sorted(EVENTS.keys() - NEVER.keys()))
def test_an_event_is_as_openais_types_have_it_and_no_more(kind: str) -> None:
    # Which OpenAI sends, too, and its documents show; its types lack them.
    allowed = {".session.id", ".session.object"}
    for event in told():
        if event["type"] == kind:
            more = unknown(EVENTS[kind].model_validate(event))
            assert {each for each in more if not each.endswith(".echat")} <= allowed


def test_a_client_of_the_beta_is_told_what_its_types_have() -> None:
    events = kinds(old.RealtimeServerEvent)
    # Of a secret that only HTTP tells, which the type demands all the same.
    del events["transcription_session.updated"]
    sent = set()
    for event in told():
        for each in beta.for_client(event):
            if each["type"] in ("session.created", "session.updated"):
                each["session"]["model"] = "gpt-realtime"  # it knows none but OpenAI's
            if each["type"] in events:
                events[each["type"]].model_validate(each)
            sent.add(each["type"])
    never = {"rate_limits.updated", *(kind for kind in events if "output_audio_buffer" in kind)}
    assert events.keys() - sent == never
    new = {kind for kind in sent if not kind.startswith(("echat.", "transcription_session."))}
    assert new - events.keys() == {"input_audio_buffer.timeout_triggered"}
