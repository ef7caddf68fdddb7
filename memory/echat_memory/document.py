"""The form of an exported memory: one JSON document with all that is kept of one person. Pure.

`MemoryDocument` is the whole of it and gives the JSON Schema; `exporting` writes it and `importing`
reads it an entry at a time, so that neither ever holds more than some of it. Ids count within the
document alone: a store's own would tell how much it keeps of others.

A document of a form that is not ours in every value is refused: what is in it becomes rows that a
model is told of later.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from echat_memory.facts import FactKind
from echat_memory.rows import MODEL, USER_REPORT, storable
from echat_sdk.consent import ConsentState, checked
from echat_sdk.cues import Age, Emotion, Gender, ReplyEmotion, Style, VocalEvent
from echat_sdk.errors import ConsentError
from echat_sdk.pause_profile import PauseProfile
from echat_sdk.turn import TurnStatus

FORMAT = "echat-memory"
VERSION = 1
"""A newer one is refused. Every change of the models below is a new version."""

MAX_WORDS = 1_000_000
"""Characters of a transcript, a thought or a reply."""

_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
_REPLY_EMOTIONS = [emotion.word for emotion in ReplyEmotion]


def _in_range(moment: datetime) -> datetime:
    if not _FIRST <= moment <= _LAST:
        raise ValueError("expected a time between the years 1970 and 9999")
    return moment.astimezone(UTC)


def _is_reply_emotion(word: str) -> str:
    if word not in _REPLY_EMOTIONS:
        raise ValueError(f"expected one of {', '.join(_REPLY_EMOTIONS)}")
    return word


def _is_purpose(purpose: str) -> str:
    try:
        return checked(purpose)
    except ConsentError:
        raise ValueError("expected a purpose, such as infer_emotion or share_plugin:ID") from None


def _is_answer(state: ConsentState) -> ConsentState:
    if state is ConsentState.UNKNOWN:
        raise ValueError("expected an answer: denied, granted, withdrawn or expired")
    return state


Id = Annotated[int, Field(ge=1, le=2**31 - 1, description="Counts within this document.")]
Moment = Annotated[AwareDatetime, AfterValidator(_in_range)]
Words = Annotated[str, Field(max_length=MAX_WORDS), AfterValidator(storable)]
Name = Annotated[str, Field(max_length=1000), AfterValidator(storable)]
ShortName = Annotated[str, Field(max_length=64), AfterValidator(storable)]
Code = Annotated[str, Field(max_length=32), AfterValidator(storable)]
Share = Annotated[float, Field(ge=0, le=1 + 1e-6, description="0 to 1, but for rounding.")]
Affect = Annotated[float, Field(ge=-1, le=1)]
Unknown = Literal["unknown"]


class Entry(BaseModel):
    """A part of the document. Frozen, strict; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Person(Entry):
    """Whose memory it is."""

    id: Annotated[str, Field(min_length=1), AfterValidator(storable)] = Field(
        description="As the program that exported it knows them."
    )
    created_at: Moment
    last_seen_at: Moment


class SessionEntry(Entry):
    """One sitting: turns with no long gap between them."""

    id: Id
    started_at: Moment
    ended_at: Moment


class _Label(Entry):
    confidence: Share
    abstained: Name = Field(description="Why the label is unknown.")


class EmotionEntry(_Label):
    """How a turn sounded, or what the person said that they felt."""

    source: Literal["model", "user_report"]
    label: Emotion | Unknown
    distribution: dict[Emotion | Unknown, Share]
    valence: Affect | None = Field(description="From unpleasant to pleasant.")
    arousal: Affect | None = Field(description="From calm to excited.")

    @model_validator(mode="after")
    def _is_whole(self) -> EmotionEntry:
        if (self.valence is None) != (self.arousal is None):
            raise ValueError("expected valence and arousal to be both numbers, or both null")
        if self.source == USER_REPORT and self.label == "unknown":
            raise ValueError("expected a label: somebody's own word is never unknown")
        return self


class GenderEntry(_Label):
    """The apparent gender of the voice."""

    kind: Literal["gender"]
    label: Gender | Unknown
    distribution: dict[Gender | Unknown, Share]


class AgeEntry(_Label):
    """The apparent age group of the voice."""

    kind: Literal["age"]
    label: Age | Unknown
    distribution: dict[Age | Unknown, Share]


class EventEntry(_Label):
    """A sound of the voice that is not a word."""

    kind: Literal["events"]
    label: VocalEvent | Unknown
    distribution: dict[VocalEvent | Unknown, Share]


class StyleEntry(_Label):
    """The speaking style."""

    kind: Literal["style"]
    label: Style | Unknown
    distribution: dict[Style | Unknown, Share]


CueEntry = Annotated[GenderEntry | AgeEntry | EventEntry | StyleEntry, Field(discriminator="kind")]


class RememberedEntry(Entry):
    """What a reply was given, by the ids of this document."""

    facts: tuple[Id, ...]
    episodes: tuple[Id, ...] = Field(description="Earlier turns that fitted.")
    turns: Annotated[int, Field(ge=0, le=10_000)] = Field(description="Of the last turns.")
    mood: bool
    helped: Literal["", "listening", "asking", "comfort", "sharing", "brightness", "calm"]


class PlanEntry(Entry):
    """Why a turn was answered as it was."""

    strategy: ShortName
    remembered: RememberedEntry | None


class TurnEntry(Entry):
    """One exchange."""

    id: Id
    session: Id
    seq: Annotated[int, Field(ge=1, le=2**31 - 1)] = Field(description="Within its session.")
    created_at: Moment
    status: TurnStatus
    lang: Literal["en", "zh"]
    transcript: Words
    seconds: Annotated[float, Field(ge=0)] = Field(description="0 for what was typed.")
    think: Words
    reply: Words
    reply_emotion: Annotated[
        str, AfterValidator(_is_reply_emotion), Field(json_schema_extra={"enum": _REPLY_EMOTIONS})
    ]
    model: Name
    timings: dict[Literal["heard", "think", "first_text", "first_audio", "done"], float]
    emotions: tuple[EmotionEntry, ...] = Field(max_length=2)
    cues: tuple[CueEntry, ...] = Field(max_length=4)
    plan: PlanEntry | None

    @model_validator(mode="after")
    def _names_nothing_twice(self) -> TurnEntry:
        sources = [emotion.source for emotion in self.emotions]
        kinds = [cue.kind for cue in self.cues]
        if len({*sources}) < len(sources) or len({*kinds}) < len(kinds):
            raise ValueError("has two emotions of one source, or two cues of one kind")
        return self


class FactEntry(Entry):
    """Something that the person told about their life."""

    id: Id
    turn: Id | None = Field(description="Where it was told; null once that is gone.")
    kind: FactKind
    subject: Name
    value: Name
    valid_from: Moment
    valid_to: Moment | None = Field(description="Null: it still holds.")
    superseded_by: Id | None = Field(description="The fact that took its place.")
    trust: Share
    extractor: ShortName

    @model_validator(mode="after")
    def _is_superseded_once_over(self) -> FactEntry:
        if self.superseded_by is not None and (
            self.valid_to is None or self.superseded_by == self.id
        ):
            raise ValueError("expected a fact that was superseded to be over, and not by itself")
        return self


class ConsentEntry(Entry):
    """What the person answered; the last answer to a purpose counts."""

    purpose: Annotated[str, AfterValidator(_is_purpose)]
    state: Annotated[ConsentState, AfterValidator(_is_answer)]
    version: Code = Field(description="Of the text that they were shown or told.")
    channel: Code = Field(description="How they were asked.")
    at: Moment
    expires_at: Moment | None


class SafetyEntry(Entry):
    """A turn whose words told of a danger, and what was done about it."""

    turn: Id | None
    category: Code
    severity: Annotated[str, Field(max_length=16), AfterValidator(storable)]
    detector: ShortName
    action: ShortName
    at: Moment


class MemoryDocument(Entry):
    """All that is kept of one person.

    Left out are the pseudonym under which a store finds them and the keys that their words are
    encrypted with: they are the store's secrets and tell nothing of the person.
    """

    format: Literal["echat-memory"]
    version: Literal[1]
    exported_at: Moment
    user: Person
    sessions: tuple[SessionEntry, ...]
    turns: tuple[TurnEntry, ...]
    facts: tuple[FactEntry, ...]
    pauses: PauseProfile | None = Field(description="How they pause within a turn, in seconds.")
    consents: tuple[ConsentEntry, ...] = Field(max_length=10_000)
    safety_events: tuple[SafetyEntry, ...]


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a document, in which `memory/export.schema.json` is written."""
    found = MemoryDocument.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


assert {MODEL, USER_REPORT} == {"model", "user_report"}
