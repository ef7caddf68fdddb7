"""What happens in a live conversation, as its host sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from echat_sdk.agent.ear import Ear
from echat_sdk.agent.exchange import Answer
from echat_sdk.audio import Seconds
from echat_sdk.errors import EChatError
from echat_sdk.tools import ToolCall
from echat_sdk.turn import Finding, Heard, SpeechDelta, TextDelta, ThinkDelta, Thought, Turn


class State(StrEnum):
    """What the agent is doing."""

    LISTENING = "listening"
    HEARING = "hearing"
    THINKING = "thinking"
    SPEAKING = "speaking"
    OVERLAPPED = "overlapped"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The agent does something else now."""

    state: State


@dataclass(frozen=True, slots=True)
class UserStarted:
    """The user has begun to speak.

    Attributes:
        goes_on: Whether it is still the same turn, since nobody has answered it aloud yet.
        is_over_agent: Whether the agent is speaking, so that it may be no turn at all.
        at: Sound that was heard before, from the beginning of the conversation.
    """

    goes_on: bool = False
    is_over_agent: bool = False
    at: Seconds = 0.0


@dataclass(frozen=True, slots=True)
class UserStopped:
    """The user's turn has ended.

    Attributes:
        pause: How long was waited for more.
        dropped: Answers that were begun unheard in this turn, and dropped since it went on.
        at: Sound that was heard until the pause, from the beginning of the conversation.
        ear: What was said; the same in every event that tells of this turn by it.
    """

    pause: Seconds
    dropped: int = 0
    at: Seconds = 0.0
    ear: Ear | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TurnHeardOut:
    """A turn has ended that nobody answers until the host says so.

    Attributes:
        ear: What was said, for `Live.heard` and `Live.answer`.
    """

    ear: Ear


@dataclass(frozen=True, slots=True)
class HeardLate:
    """What was said in a turn whose answer was cut off before its words were known.

    Attributes:
        heard: The words and cues.
        ear: What was said.
    """

    heard: Heard
    ear: Ear = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class SilenceBroken:
    """Nobody has said anything for long, and the agent asks why; what it says comes next.

    Attributes:
        lasted: How long.
        at: Sound that was heard until now, from the beginning of the conversation.
    """

    lasted: Seconds
    at: Seconds


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """Somebody asked for a tool, and it runs now."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class ToolReturned:
    """A tool has ended, or has failed as `finding.error` says."""

    finding: Finding


@dataclass(frozen=True, slots=True)
class AnswerMade:
    """All of an answer is there; it is still being said.

    Attributes:
        turn: The exchange, with all words of the answer.
        turn_id: The store's id of it.
        ear: What it answers.
    """

    turn: Turn
    turn_id: str
    ear: Ear | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """An exchange has ended: complete, interrupted or failed, as its turn says.

    Attributes:
        answer: The exchange; `turn.reply` holds the words that were heard, and no more.
        ear: What it answers.
    """

    answer: Answer
    ear: Ear | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Settled:
    """Nothing more comes of what the host interrupted, who asked to be told."""


@dataclass(frozen=True, slots=True)
class Dismissed:
    """What somebody said over the agent was no turn: "mm-hm", a cough, its own echo."""


@dataclass(frozen=True, slots=True)
class Aside:
    """The next piece of what the agent says of its own accord, or of its host's: no answer."""

    delta: TextDelta | SpeechDelta


@dataclass(frozen=True, slots=True)
class AsideEnded:
    """What the agent said of its own accord has ended, or was cut off.

    Attributes:
        heard: The words that were heard.
    """

    heard: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A turn is over, and nothing was said to it: there were no words in it, or it failed.

    Attributes:
        error: Why it failed; None where nothing was said.
    """

    error: EChatError | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """Something went wrong, and the conversation goes on unless the state says that it ended."""

    error: EChatError


Event = (
    StateChanged
    | UserStarted
    | UserStopped
    | TurnHeardOut
    | SilenceBroken
    | Heard
    | HeardLate
    | ThinkDelta
    | Thought
    | TextDelta
    | SpeechDelta
    | ToolCalled
    | ToolReturned
    | AnswerMade
    | TurnFinished
    | Settled
    | Dismissed
    | Aside
    | AsideEnded
    | Unanswered
    | Failed
)
