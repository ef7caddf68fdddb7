"""Has OpenAI's Python clients do what a dialogue says, by their own methods."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.sdk.server.clients.dialogue import DETECTION, WEATHER, Pause, Send, Steps, Told, Until

WITHIN = 30.0  # seconds for an answer, on a busy machine

NEW_NAMES = {
    "conversation.item.created": "conversation.item.added",
    "response.audio.delta": "response.output_audio.delta",
    "response.audio.done": "response.output_audio.done",
    "response.audio_transcript.delta": "response.output_audio_transcript.delta",
    "response.audio_transcript.done": "response.output_audio_transcript.done",
}


def call(connection: Any, event: Told) -> Any:
    """Send an event by the client's own method of that name."""
    *path, last = event["type"].split(".")
    for name in path:
        connection = getattr(connection, name)
    return getattr(connection, last)(**{k: v for k, v in event.items() if k != "type"})


def known(event: Any) -> Told:
    """What the client made of an event, if it knew it and its own types allow it."""
    literal = type(event).model_fields["type"].annotation.__args__
    assert event.type in literal, f"{event.type} was taken for {literal}"
    whole: Told = event.to_dict()
    type(event).model_validate(whole)
    return whole


def after(steps: Steps, given: Told | None) -> Send | Until | Pause | None:
    """The next step; None at the end."""
    try:
        return steps.send(given)
    except StopIteration:
        return None


async def lead(connection: Any, steps: Steps, told: list[Told]) -> None:
    """Do what the dialogue says, by an asynchronous client."""
    given: Told | None = None
    while (step := after(steps, given)) is not None:
        given = None
        match step:
            case Send(event):
                await call(connection, event)
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Until(kind, count):
                async with asyncio.timeout(WITHIN):
                    while len(found := [e for e in told if e["type"] == kind]) < count:
                        told.append(known(await connection.recv()))
                given = found[count - 1]


def lead_blocking(connection: Any, steps: Steps, told: list[Told], *, beta: bool = False) -> None:
    """Do what the dialogue says, by a blocking client."""
    given: Told | None = None
    while (step := after(steps, given)) is not None:
        given = None
        match step:
            case Send(event):
                call(connection, in_beta(event) if beta else event)
            case Pause(seconds):
                time.sleep(seconds)
            case Until(kind, count):
                while len(found := [e for e in told if e["type"] == kind]) < count:
                    event = known(connection.recv())
                    event["type"] = NEW_NAMES.get(event["type"], event["type"])
                    told.append(event)
                given = found[count - 1]


def in_beta(event: Told) -> Told:
    """The dialogue's one event that was called otherwise in the beta."""
    if event["type"] != "session.update":
        return event
    flat = {
        "modalities": ["text", "audio"],
        "instructions": "Be kind.",
        "voice": "alloy",
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
        "turn_detection": DETECTION,
        "tools": [WEATHER],
        "temperature": 0.8,
    }
    return {"type": "session.update", "session": flat}
