"""Every message in JSON: what may be in it, and how it is read and written.

A control message has an id of its sender's choice, which is its idempotency key: one that comes
twice is done once, and each is answered by an `answer` (a `hello` that is taken, by a `welcome`).
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from echat_plugins.mqtt.frame import MOST

PROTOCOL = 1

Id = Annotated[str, Field(min_length=8, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
Share = Annotated[float, Field(ge=0, le=1)]
Signed = Annotated[float, Field(ge=-1, le=1)]
Number = Annotated[int, Field(ge=0, le=MOST)]
CodecName = Literal["pcm16", "opus"]
LangName = Literal["auto", "en", "zh"]
Code = Literal[
    "malformed", "too_large", "too_many", "no_session", "refused", "full", "failed", "late"
]

MOST_TOOLS = 32
MOST_TEXT = 2000
MOST_OUTPUT = 8000


def new_id() -> str:
    """An id that nobody else has."""
    return secrets.token_urlsafe(12)


class MessageError(ValueError):
    """Bytes that are no message; says what was expected, and repeats nothing of them."""


class Message(BaseModel):
    """What all have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def render(self) -> bytes:
        """As it goes over the wire."""
        return self.model_dump_json(exclude_none=True).encode()


class Command(Message):
    """A control message: it asks for something, under an id of its own."""

    id: Id = Field(description="Of its sender's choice; the same where it is sent again.")


class Sound(Message):
    """How a device speaks and listens."""

    codec: CodecName = Field(default="pcm16", description="Of its microphone's frames and of ours.")
    frame_ms: Literal[20, 60] = Field(default=20, description="Length of a frame.")
    hold_ms: int = Field(
        default=80, ge=0, le=500, description="What its speaker holds against jitter."
    )


class Offer(Message):
    """A function of a device's, which an agent may have called."""

    name: str = Field(max_length=64)
    description: str = Field(default="", max_length=200)
    parameters: dict[str, JsonValue] = Field(
        default_factory=dict, description="JSON schema of an object of simple values."
    )
    examples: dict[str, dict[str, JsonValue]] = Field(
        default_factory=dict, max_length=6, description="What people say to mean it."
    )
    looks_only: bool = Field(default=False, description="Whether it changes nothing.")
    deadline: float = Field(default=5.0, gt=0, le=8, description="Seconds that it may take.")
    calls_per_minute: int = Field(default=30, ge=1, le=600)


# --- in/control: from a device --------------------------------------------------------------------


class Hello(Command):
    """A device is there and wants an agent; the first of all it says."""

    type: Literal["hello"] = "hello"
    protocol: Literal[1] = 1
    stream: Number = Field(description="Of the frames that it will send.")
    session: Id | None = Field(default=None, description="That it was given, to go on with it.")
    sound: Sound = Sound()
    lang: LangName | None = None
    tools: list[Offer] = Field(default_factory=list, max_length=MOST_TOOLS)


class Bye(Command):
    """A conversation ends."""

    type: Literal["bye"] = "bye"
    reason: Literal["done", "idle", "gone", "replaced", "ending", "failed"] = "done"


class Tell(Command):
    """Typed words, taken as if they had been spoken."""

    type: Literal["tell"] = "tell"
    text: str = Field(min_length=1, max_length=MOST_TEXT)


class Interrupt(Command):
    """The agent shall stop what it says or thinks."""

    type: Literal["interrupt"] = "interrupt"


class Mute(Command):
    """The agent shall not listen, or listen again."""

    type: Literal["mute"] = "mute"
    muted: bool = True


class Answer(Message):
    """What came of a command; of a `call`, what it returned. It is not answered itself."""

    type: Literal["answer"] = "answer"
    to: str = Field(max_length=64, description="The command's id; empty where none was read.")
    ok: bool = True
    output: str | None = Field(
        default=None,
        max_length=MOST_OUTPUT,
        description="Of a call: a sentence to be said, or JSON.",
    )
    code: Code | None = Field(default=None, description="Why not, for a program.")
    message: str | None = Field(default=None, max_length=400, description="Why not, for a person.")


# --- out/control: to a device ---------------------------------------------------------------------


class Welcome(Message):
    """The answer to a `hello` that is taken."""

    type: Literal["welcome"] = "welcome"
    to: Id
    session: Id
    stream: Number = Field(description="Of the frames that will be sent.")
    sound: Sound
    tools: list[str] = Field(description="That the agent may have called.")
    refused: str | None = Field(
        default=None, max_length=400, description="Why the tools are not taken."
    )
    disclosure: str = Field(
        default="", max_length=2000, description="What people are to be told first."
    )
    agent: str = Field(default="", max_length=200, description="The model's name.")


class Flush(Command):
    """Somebody spoke over the agent: these frames are not to be heard."""

    type: Literal["flush"] = "flush"
    stream: Number
    first: Number = Field(description="Sequence number of the first of them.")
    end: Number = Field(description="Sequence number after the last of them.")


class Call(Command):
    """The agent has a device's function called."""

    type: Literal["call"] = "call"
    name: str = Field(max_length=64)
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    within: float = Field(gt=0, le=8, description="Seconds until nobody waits any more.")


# --- out/event, out/affect, presence --------------------------------------------------------------

StateName = Literal["listening", "hearing", "thinking", "speaking", "overlapped", "ended"]


class StateEvent(Message):
    """The agent does something else now."""

    type: Literal["state"] = "state"
    state: StateName


class HeardEvent(Message):
    """What the agent heard: words, and how they may have sounded."""

    type: Literal["heard"] = "heard"
    transcript: str
    lang: Literal["en", "zh"]
    sounds: str = Field(
        default="unknown", description="The apparent emotion; a guess, or `unknown`."
    )
    confidence: Share = 0.0


class TextEvent(Message):
    """The next piece of what it says, in words."""

    type: Literal["text"] = "text"
    text: str


class TurnEvent(Message):
    """An exchange is over.

    Attributes:
        reply: The words that were heard, and no more.
    """

    type: Literal["turn"] = "turn"
    status: Literal["open", "complete", "interrupted", "failed"]
    reply: str


class ToolEvent(Message):
    """A function is called, or has ended."""

    type: Literal["tool"] = "tool"
    name: str
    stage: Literal["called", "returned", "failed"]


class FailedEvent(Message):
    """Something went wrong; the conversation goes on."""

    type: Literal["failed"] = "failed"
    error: str = Field(description="The kind of the error.")


FaceName = Literal["neutral", "happy", "tender", "sad", "surprise", "concern"]


class Affect(Message):
    """How the agent's face, lights and servos should be now. Lost ones are not sent again."""

    type: Literal["affect"] = "affect"
    at: Number = Field(description="The timestamp of the sound that it goes with.")
    state: StateName
    valence: Signed = Field(description="Of the agent's own expression: unpleasant to pleasant.")
    arousal: Signed = Field(description="Of the same: calm to stirred.")
    emotion: FaceName = Field(description="The agent's own expression; says nothing of the user.")
    gaze: Literal["user", "away"]
    gesture: Literal["none", "nod", "tilt"]
    mouth: Share = Field(description="How far it is open.")


class Presence(Message):
    """Whether a device, or the server, is there. Retained; it holds nothing else."""

    type: Literal["presence"] = "presence"
    online: bool
    instance: Id | None = Field(default=None, description="Made anew with each start of a server.")


InControl = Annotated[Hello | Bye | Tell | Interrupt | Mute | Answer, Field(discriminator="type")]
OutControl = Annotated[Welcome | Answer | Flush | Call | Bye, Field(discriminator="type")]
Event = Annotated[
    StateEvent | HeardEvent | TextEvent | TurnEvent | ToolEvent | FailedEvent,
    Field(discriminator="type"),
]

IN_CONTROL: TypeAdapter[Any] = TypeAdapter(InControl)
OUT_CONTROL: TypeAdapter[Any] = TypeAdapter(OutControl)
EVENT: TypeAdapter[Any] = TypeAdapter(Event)
AFFECT: TypeAdapter[Any] = TypeAdapter(Affect)
PRESENCE: TypeAdapter[Any] = TypeAdapter(Presence)

T = TypeVar("T")


def read(kind: TypeAdapter[T], payload: bytes) -> T:
    """The message that these bytes are.

    Raises:
        MessageError: they are none.
    """
    try:
        return kind.validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"])
        raise MessageError(f"{where or 'message'}: {first['type'][:60]}") from None


class _Bare(BaseModel):
    id: Id


def id_of(payload: bytes) -> str:
    """The id that a message which cannot be taken bears; empty where none can be read."""
    try:
        return _Bare.model_validate_json(payload).id
    except ValidationError:
        return ""
