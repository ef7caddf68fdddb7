"""A client's side of a session, on virtual time: what it sends when, and all that it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from echat_sdk.agent.service import Service
from echat_sdk.audio import AudioFrame, Seconds
from echat_sdk.protocols import Memory, SpeechModel
from echat_sdk.server.caller import Caller
from echat_sdk.server.realtime import wire
from echat_sdk.server.realtime.codec import PCM16, WireFormat
from echat_sdk.server.realtime.faults import Fault
from echat_sdk.server.realtime.session import Session
from echat_sdk.testing import RAMMemory, virtual_time

Told = dict[str, Any]
RATE = 24_000
_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


class LoudVAD:
    """Takes what is loud for speech: resampling leaves a little noise in silence."""

    def is_speech(self, frame: AudioFrame) -> bool:
        return bool(np.abs(frame.samples).mean() > 200)

    def reset(self) -> None:
        """Nothing is carried."""


def sound(seconds: Seconds, form: WireFormat = PCM16) -> str:
    """A voice, as the detector of these tests hears one."""
    time = np.arange(round(seconds * form.rate)) / form.rate
    return form.encode((8000 * np.sin(2 * np.pi * 300 * time)).astype(np.int16))


def quiet(seconds: Seconds, form: WireFormat = PCM16) -> str:
    return form.encode(np.zeros(round(seconds * form.rate), np.int16))


def append(audio: str) -> Told:
    return {"type": "input_audio_buffer.append", "audio": audio}


def typed(text: str) -> Told:
    item = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": text}],
    }
    return {"type": "conversation.item.create", "item": item}


def update(**session: Any) -> Told:
    return {"type": "session.update", "session": {"type": "realtime", **session}}


def manual() -> Told:
    return update(audio={"input": {"turn_detection": None}})


RESPOND: Told = {"type": "response.create"}
SPOKEN = [append(sound(1)), append(quiet(2))]
"""A turn that is spoken and ends."""

ODD_FUNCTIONS: list[Told] = [
    {"parameters": 5},
    {"parameters": {"properties": []}},
    {"parameters": {"required": 5}},
    {"parameters": {"required": ["x"] * 100}},
    {"parameters": {"properties": {str(number): {} for number in range(100)}}},
    {"parameters": {"properties": {"x": {"enum": [str(number) for number in range(2000)]}}}},
    {"parameters": {"properties": {"x": {"enum": 5}}}},
    {"parameters": {"properties": {"x": {"type": [[]]}}}},
    {"parameters": {"properties": {"class": {"type": "string"}}}},
    {"parameters": {"properties": {"model_dump": {"type": "string"}}}},
    {"parameters": {"properties": {"_x": {"type": "string"}}}},
    {"echat": 5},
    {"echat": {"examples": [1]}},
    {"echat": {"examples": {"do it": 5}}},
]
"""What makes a function one that cannot be offered."""


@dataclass
class Listener:
    """Who is told what happens, in a session or a call.

    Attributes:
        told: Events and when they came.
    """

    patience: ClassVar[Seconds] = 120

    told: list[tuple[Seconds, Told]] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, event: Told) -> None:
        self.told.append((asyncio.get_running_loop().time(), event))
        self.came.set()

    async def until(self, kind: str, count: int = 1) -> Told:
        """Wait for the so manyth event of a kind."""
        async with asyncio.timeout(self.patience):
            while len(found := self.of(kind)) < count:
                self.came.clear()
                await self.came.wait()
        return found[count - 1]

    def of(self, kind: str) -> list[Told]:
        return [event for _, event in self.told if event["type"] == kind]

    @property
    def kinds(self) -> list[str]:
        """Kinds of what was told, deltas of one kind in a row once."""
        kinds: list[str] = []
        for _, event in self.told:
            if not (kinds and kinds[-1] == event["type"] and kinds[-1].endswith("delta")):
                kinds.append(event["type"])
        return kinds


@dataclass
class Client(Listener):
    """Who talks in a session."""

    put: asyncio.Queue[Told | None] = field(default_factory=asyncio.Queue)

    def take(self, event: Told) -> None:
        json.dumps(event)
        super().take(event)

    def send(self, *events: Told) -> None:
        for event in events:
            self.put.put_nowait(event)

    async def speak(self, seconds: Seconds, pause: Seconds = 0.0) -> None:
        """Speak as a microphone does: 100 ms at a time, as time passes."""
        for audio, length in ((sound(0.1), seconds), (quiet(0.1), pause)):
            for _ in range(round(length / 0.1)):
                self.send(append(audio))
                await asyncio.sleep(0.1)

    @property
    def errors(self) -> list[Told]:
        return [event["error"] for event in self.of("error")]

    def text(self) -> str:
        """The words of all answers."""
        kinds = ("response.output_audio_transcript.delta", "response.output_text.delta")
        return "".join(event["delta"] for _, event in self.told if event["type"] in kinds)


def valid(event: Told) -> None:
    """Whether the event is as OpenAI's own types have it."""
    if not event["type"].startswith("echat."):
        _EVENT.validate_python({"event_id": "event_x", **event}, strict=False)


def converse(
    model: SpeechModel,
    script: Sequence[Told] | Callable[[Client], Any] = (),
    *,
    memory: Memory | None = None,
    caller: Caller | None = None,
    **served: Any,
) -> Client:
    """Run a session on virtual time; every event is checked against OpenAI's types.

    Args:
        model: Hears and answers.
        script: Events that are sent at once, or a coroutine function that is the client.
        memory: Keeps.
        caller: Whose session it is; somebody known.
        served: More of the `Service`.
    """
    service = Service(model, memory or RAMMemory(), RAMMemory, LoudVAD, **served)
    made: list[Client] = []

    async def main() -> None:
        client = Client()
        made.append(client)
        session = Session(
            service, caller or Caller("key", user="ada"), "echat", client.take, LoudVAD()
        )

        async def events() -> Told | None:
            while (event := await client.put.get()) is not None:
                try:
                    return wire.check(wire.parse(json.dumps(event)))
                except Fault as fault:
                    client.take(fault.as_event(event.get("event_id")))
            return None

        async def play() -> None:
            if callable(script):
                await script(client)
            else:
                client.send(*script)
                await asyncio.sleep(20)
            client.put.put_nowait(None)

        async with asyncio.timeout(600), asyncio.TaskGroup() as group:
            group.create_task(play(), name="client")
            await session.run(events)

    virtual_time.run(main())
    for _, event in made[0].told:
        valid(event)
    return made[0]
