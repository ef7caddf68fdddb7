"""A server of Wyoming in this loop, on a free port, for the library's own client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import numpy as np
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.event import Event, Eventable

from echat_plugins.wyoming_server import Wyoming, WyomingOptions
from echat_sdk.agent.service import Service
from echat_sdk.audio import Hertz, Waveform
from echat_sdk.protocols import Memory, SpeechModel
from echat_sdk.testing import FakeModel, RAMMemory
from echat_sdk.testing.audio import ScriptedVAD

Client = Callable[[], AsyncClient]
"""Makes a client of a server."""

WITHIN = 60.0
"""Seconds that a test waits for an event; a quick one ends before, by its own time limit."""


def service_of(model: SpeechModel | None = None, memory: Memory | None = None) -> Service:
    return Service(model or FakeModel(), memory or RAMMemory(), RAMMemory, ScriptedVAD, lang="en")


@asynccontextmanager
async def serving(
    service: Service | None = None, *, socket: Path | None = None, **options: object
) -> AsyncIterator[Client]:
    """A server that listens; what makes clients of it."""
    transport = Wyoming(WyomingOptions.model_validate({"port": 0, "socket": socket, **options}))
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(transport.run(service or service_of()), name="wyoming")
        async with asyncio.timeout(WITHIN):
            port = await transport.listening()
        uri = f"unix://{socket}" if socket else f"tcp://127.0.0.1:{port}"
        try:
            yield partial(AsyncClient.from_uri, uri, WITHIN, WITHIN)
        finally:
            serving.cancel()


async def send(client: AsyncClient, *events: Eventable) -> None:
    for event in events:
        await client.write_event(event.event())


async def until(client: AsyncClient, last: str) -> list[Event]:
    """All events up to the first of a type, or up to an error."""
    events: list[Event] = []
    while not events or events[-1].type not in (last, "error"):
        event = await client.read_event()
        assert event is not None, f"it hung up after {[each.type for each in events]}"
        events.append(event)
    return events


def sound_of(events: list[Event]) -> Waveform:
    chunks = [each.payload or b"" for each in events if AudioChunk.is_type(each.type)]
    return np.frombuffer(b"".join(chunks), "<i2").astype(np.int16)


def utterance(samples: Waveform, rate: Hertz = 16_000, channels: int = 1) -> list[Eventable]:
    """As Home Assistant sends one."""
    form = {"rate": rate, "width": 2, "channels": channels}
    sound = np.repeat(samples[:, None], channels, axis=1).astype("<i2").tobytes()
    size = 1024 * 2 * channels
    pieces = [sound[start : start + size] for start in range(0, len(sound), size)]
    return [
        AudioStart(**form),
        *(AudioChunk(audio=piece, **form) for piece in pieces),
        AudioStop(),
    ]


def said(text: str, conversation: str | None = None) -> Transcript:
    """What somebody said, as a pipeline passes it on to whoever answers."""
    context = None if conversation is None else {"conversation_id": conversation}
    return Transcript(text, context=context)
