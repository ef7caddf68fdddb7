"""One spoken dialogue for every client: what is said, awaited, and must have come of it.

It knows no client: it yields what is to be done next, so that blocking and asynchronous clients run
the same one. `node/dialogue.mjs` is its twin.
"""

from __future__ import annotations

import base64
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import pytest

from echat_sdk.audio import Seconds
from echat_sdk.cues import Cue, Cues
from echat_sdk.testing import FakeModel, Line
from tests.sdk.server.clients.served import USER, Served

Told = dict[str, Any]

STORY = tuple(f" This is sentence {n} of it." for n in range(1, 17))  # 96 words: 4.8 s
HAPPY = Cues(emotion=Cue("happy", 0.9, {"happy": 0.9, "neutral": 0.1}))
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a town.",
    "parameters": {
        "type": "object",
        "properties": {"town": {"type": "string"}},
        "required": ["town"],
    },
}
CLEAR = "The sky over Oslo is clear."
HEARD: Seconds = 1.2  # of the story, before it is interrupted
DETECTION = {"type": "server_vad", "silence_duration_ms": 800}
_PIECE = 4800  # bytes: 100 ms
_QUIET = bytes(48_000 * 2)


MUST = frozenset(
    {
        "session.created",
        "session.updated",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.truncated",
        "conversation.item.retrieved",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio_transcript.done",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    }
)
"""Kinds of events that every client must have been told."""


def scripted() -> FakeModel:
    """Hears and answers the dialogue, whatever the sound of it is."""
    return FakeModel(
        Line("Guess what, I got the job.", ("That is wonderful.", " Tell me more."), HAPPY),
        Line("Tell me a story.", STORY),
        Line("Wait, I meant something else.", ("All right.",)),
        Line("What is the weather in Oslo?", calls="weather", arguments={"town": "Oslo"}),
        Line("Tell me another one.", STORY, pace=0.2),
        Line("Do you remember me?", ("Of course I do.",)),
    )


@dataclass(frozen=True, slots=True)
class Send:
    """Send an event, as it is called today."""

    event: Told


@dataclass(frozen=True, slots=True)
class Until:
    """Wait until this many events of a kind have come; the last of them is given."""

    kind: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Pause:
    """Let time pass: what was said is heard."""

    seconds: Seconds


Steps = Generator[Send | Until | Pause, Any, None]


@dataclass
class Dialogue:
    """The dialogue, and what came of it.

    Attributes:
        told: All events that came in the first session, in order.
        found: What was found out.
    """

    told: list[Told] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)

    def first(self, glad: bytes, other: bytes) -> Steps:
        """The first session."""
        found = self.found
        yield Until("session.created")
        session = {
            "type": "realtime",
            "instructions": "Be kind.",
            "audio": {"input": {"turn_detection": DETECTION}},
            "tools": [WEATHER],
        }
        yield Send({"type": "session.update", "session": session})
        yield Until("session.updated")

        yield from say(glad)
        heard = yield Until("conversation.item.input_audio_transcription.completed")
        done = yield Until("response.done")
        found["heard"] = heard["transcript"]
        found["answer"] = self.words()
        found["seconds"] = self.seconds()
        found["answered"] = done["response"]["status"]
        yield Pause(found["seconds"] + 0.1)

        yield from say(glad)
        yield Until("response.output_audio.delta", len(self.of("response.output_audio.delta")) + 1)
        done = yield Until("response.done", 2)
        item = done["response"]["output"][0]
        yield Pause(HEARD)
        yield from say(other)
        yield Until("input_audio_buffer.speech_started", 3)
        cut = {"item_id": item["id"], "content_index": 0, "audio_end_ms": round(1000 * HEARD)}
        yield Send({"type": "conversation.item.truncate", **cut})
        yield Until("conversation.item.truncated")
        yield Send({"type": "conversation.item.retrieve", "item_id": item["id"]})
        kept = yield Until("conversation.item.retrieved")
        found["played"] = HEARD
        found["told"] = item["content"][0]["transcript"]
        found["kept"] = kept["item"]["content"][0]["transcript"]
        yield Until("response.done", 3)
        yield Pause(0.3)

        yield from say(glad)
        done = yield Until("response.done", 4)
        (call,) = done["response"]["output"]
        found["called"] = [call["name"], call["arguments"]]
        given = {"type": "function_call_output", "call_id": call["call_id"], "output": CLEAR}
        before = len(self.told)
        yield Send({"type": "conversation.item.create", "item": given})
        yield Send({"type": "response.create"})
        yield Until("response.done", 5)
        found["result"] = self.words(before)
        yield Pause(0.5)

        text = [{"type": "input_text", "text": "Tell me another one."}]
        typed = {"type": "message", "role": "user", "content": text}
        begun = len(self.of("response.output_audio.delta")) + 1
        yield Send({"type": "conversation.item.create", "item": typed})
        yield Send({"type": "response.create"})
        yield Until("response.output_audio.delta", begun)
        yield Send({"type": "response.cancel"})
        done = yield Until("response.done", 6)
        found["cancelled"] = done["response"]["status"]
        found["reason"] = done["response"]["status_details"]["reason"]
        found["errors"] = [event["error"] for event in self.of("error")]
        found["kinds"] = sorted({event["type"] for event in self.told})

    def second(self, glad: bytes) -> Steps:
        """Another session of the same user, after the first."""
        yield Until("session.created")
        yield from say(glad)
        yield Until("response.done")
        self.found["again"] = self.words()

    def of(self, kind: str) -> list[Told]:
        return [event for event in self.told if event["type"] == kind]

    def words(self, since: int = 0) -> str:
        """What the agent said."""
        kind = "response.output_audio_transcript.delta"
        return "".join(event["delta"] for event in self.told[since:] if event["type"] == kind)

    def seconds(self) -> Seconds:
        """How long it sounds."""
        deltas = self.of("response.output_audio.delta")
        return sum(len(base64.b64decode(event["delta"])) for event in deltas) / 48_000


def say(sound: bytes) -> Steps:
    """Say something, and then nothing for a while."""
    sound += _QUIET
    for at in range(0, len(sound), _PIECE):
        audio = base64.b64encode(sound[at : at + _PIECE]).decode("ascii")
        yield Send({"type": "input_audio_buffer.append", "audio": audio})


def check(found: Told, model: FakeModel, server: Served, must: frozenset[str] = MUST) -> None:
    """What must have come of the dialogue, whoever led it."""
    assert found["errors"] == []
    assert found["heard"] == "Guess what, I got the job."
    assert found["answer"] == "That is wonderful. Tell me more."
    assert found["seconds"] == 0.3  # six words of the fake voice
    assert found["answered"] == "completed"
    story = "".join(STORY)
    assert found["told"] == story
    assert story.startswith(found["kept"])
    # A word is 50 ms, and a sentence is cut where a word ends.
    assert len(found["kept"].split()) == pytest.approx(20 * found["played"], abs=1.5)
    assert found["called"] == ["weather", '{"town": "Oslo"}']
    assert found["result"] == CLEAR
    assert (found["cancelled"], found["reason"]) == ("cancelled", "client_cancelled")
    assert must.issubset(found["kinds"])
    assert found["again"] == "Of course I do."
    remembered = [turn.transcript for turn in model.recollections[-1].turns]
    assert "Guess what, I got the job." in remembered
    kept = {each.turn.transcript: each.turn for each in server.memory.show(USER)}
    assert kept["Guess what, I got the job."].cues.emotion.label == "happy"
    assert kept["Tell me a story."].reply == found["kept"]
