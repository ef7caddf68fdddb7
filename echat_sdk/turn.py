"""The values that flow through a conversation. Pure: no clock, no ids, no input or output.

A `Turn` is the only record: the memory row, the plugin event and the training sample are made from
it. Ids belong to the store.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from echat_sdk.cues import Cues, ReplyEmotion

if TYPE_CHECKING:
    from datetime import datetime

    from echat_sdk.audio import Hertz, Seconds, Waveform

Lang = Literal["en", "zh"]
LangChoice = Literal["auto", "en", "zh"]
ThinkStyle = Literal["tag", "language", "off"]


class TurnStatus(StrEnum):
    """How a turn ended; `OPEN` while it has not (or never did, because the process died)."""

    OPEN = "open"
    COMPLETE = "complete"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Heard:
    """What was said and how; comes once in a reply, before the first `TextDelta`.

    Attributes:
        transcript: The words; empty when no speech was heard.
        lang: Language of the words.
        cues: What the voice said beside them.
        seconds: Length of the utterance.
    """

    transcript: str
    lang: Lang
    cues: Cues
    seconds: Seconds = 0.0


@dataclass(frozen=True, slots=True)
class ThinkDelta:
    """The next piece of the thought, markers included. Never spoken, never shown as the reply."""

    text: str


@dataclass(frozen=True, slots=True)
class SafetyEvent:
    """That the words of a turn told of a danger, and what was done about it. It holds no words.

    Attributes:
        category: What seems to be at stake, as the detector calls it.
        severity: `concern`, `risk` or `imminent`, as far as the category tells it.
        detector: What decided, with its version.
        action: What was done.
    """

    category: str
    severity: str
    detector: str
    action: str


@dataclass(frozen=True, slots=True)
class Thought:
    """The end of thinking; comes once, before the text.

    Attributes:
        reply_emotion: The emotion that the answer will carry.
        strategy: The move that was chosen, in a model's own words (`loss`, `fact`, `tool`); may be
            empty.
        safety: The danger that the words tell of; None for none.
    """

    reply_emotion: ReplyEmotion
    strategy: str = ""
    safety: SafetyEvent | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the answer's words."""

    text: str


@dataclass(frozen=True, slots=True)
class SpeechDelta:
    """The next piece of the answer's speech.

    Attributes:
        samples: int16 mono. Shape [S].
        sample_rate: Samples a second.
        text: The words that this piece speaks; what an interruption keeps is counted in them.
    """

    samples: Waveform
    sample_rate: Hertz
    text: str = ""


Delta = Heard | ThinkDelta | Thought | TextDelta | SpeechDelta


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds from the end of the utterance until each thing was there; None if it never was."""

    heard: Seconds | None = None
    think: Seconds | None = None
    first_text: Seconds | None = None
    first_audio: Seconds | None = None
    done: Seconds | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange: what a person said, how, what the agent thought and answered."""

    transcript: str
    lang: Lang = "en"
    cues: Cues = field(default_factory=Cues)
    think: str = ""
    reply: str = ""
    reply_emotion: ReplyEmotion = ReplyEmotion.NEUTRAL
    strategy: str = ""
    status: TurnStatus = TurnStatus.COMPLETE
    timings: Timings = field(default_factory=Timings)
    seconds: Seconds = 0.0
    model: str = ""
    safety: SafetyEvent | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What a tool gave for this turn: data for the answer, never instructions.

    Attributes:
        tool: Its name.
        words: A sentence that can be said as it is; empty where there is none.
        data: What it found, as JSON; empty where it found nothing to tell of.
        error: Why it gave nothing: the type of its error, or `late`; empty where it did.
    """

    tool: str
    words: str = ""
    data: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Episode:
    """An earlier turn that fits the words just heard: data, never instructions.

    Attributes:
        said: What the user told then, cut short; sentences that only tell.
        when: How long ago, in words ("12 days ago").
        sounded: The apparent emotion with which it was said, as in `cues.Emotion`; empty where it
            is not known.
    """

    said: str
    when: str
    sounded: str = ""


@dataclass(frozen=True, slots=True)
class Recollection:
    """What a model is given before it answers.

    Attributes:
        turns: The last turns with this user, oldest first.
        mood: A line on how the user has been of late, in words that hedge; may be empty.
        facts: What the user told of their life, best fit first, as third-person lines
            ("their dog is called Rex"). Data, never instructions.
        episodes: Earlier turns that fit the words just heard, best fit first; none of `turns`.
        questions: What is worth asking, because two things told may not both hold.
        helped: A line on what kind of answer seemed to help before, in words that hedge.
        key: Opaque; the same for the same conversation, so that a model may keep its caches under
            it. Empty where there is none.
        finding: What a tool gave that this turn asked for; None where it asked for none.
        context: What plugins say that an answer should know, as lines. Data, never instructions.
    """

    turns: tuple[Turn, ...] = ()
    mood: str = ""
    facts: tuple[str, ...] = ()
    episodes: tuple[Episode, ...] = ()
    questions: tuple[str, ...] = ()
    helped: str = ""
    key: str = ""
    finding: Finding | None = None
    context: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What a memory has of somebody, as far as they may be told of it.

    Attributes:
        turns: How many turns it keeps.
        held: How many it holds in RAM alone, until the conversation is over.
        since: When the oldest of what it keeps was told; None where nothing is kept.
        facts: What they told of their life, as in `Recollection`.
        mood: How they sounded lately, as in `Recollection`.
    """

    turns: int = 0
    held: int = 0
    since: datetime | None = None
    facts: tuple[str, ...] = ()
    mood: str = ""
