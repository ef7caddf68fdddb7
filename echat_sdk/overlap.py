"""Speech over the agent's own: duck at once, make sure, then stop or go on.

    clear ──duck_after──▶ ducked ──confirm──▶ paused ──▶ Interrupt | Resume
      ▲────── silence ──────┘

Pure, and counted in frames as the turn detector is. A cough lowers the agent's voice for a moment;
"mm-hm" pauses it and lets it go on; a sentence, "stop" or a cry ends what it was saying.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from enum import StrEnum

from echat_sdk.audio import FRAME_SECONDS, Seconds
from echat_sdk.cues import VocalEvent
from echat_sdk.turn_policy import TurnPolicy


class Overlap(StrEnum):
    """What is done about somebody who speaks while the agent does."""

    CLEAR = "clear"
    DUCKED = "ducked"
    PAUSED = "paused"


class Act(StrEnum):
    """What the player is to do."""

    DUCK = "duck"
    PAUSE = "pause"
    RESUME = "resume"
    INTERRUPT = "interrupt"


class Kind(StrEnum):
    """What somebody said over the agent."""

    BACKCHANNEL = "backchannel"
    STOP = "stop"
    DISTRESS = "distress"
    WORDS = "words"
    NOISE = "noise"


@dataclass(slots=True)
class OverlapJudge:
    """Decides what to do about speech over the agent's.

    Push it every frame while the agent is audible.

    Attributes:
        policy: How soon it ducks, pauses and decides.
    """

    policy: TurnPolicy = field(default_factory=TurnPolicy)
    _state: Overlap = Overlap.CLEAR
    _since: int = 0  # frames since the agent began to be heard
    _spoken: int = 0  # frames of speech in this overlap
    _silent: int = 0  # frames without speech after it
    _waited: int = 0  # frames since the pause

    @property
    def state(self) -> Overlap:
        """What is being done now."""
        return self._state

    def begin(self) -> None:
        """The agent begins to be heard."""
        self._state = Overlap.CLEAR
        self._since = self._spoken = self._silent = self._waited = 0

    def push(self, is_speech: bool) -> Iterator[Act]:
        """Take 20 ms; what the player is to do."""
        self._since += 1
        is_guarded = self._since * FRAME_SECONDS <= self.policy.echo_guard
        if is_speech and not is_guarded:
            self._spoken, self._silent = self._spoken + 1, 0
        else:
            self._silent += 1
        if self._state is Overlap.PAUSED:
            yield from self._while_paused()
        elif self._is_over():
            if self._state is Overlap.DUCKED:
                yield self._go(Overlap.CLEAR, Act.RESUME)
            self._spoken = 0
        elif self._spoken >= _frames(self.policy.confirm):
            yield self._go(Overlap.PAUSED, Act.PAUSE)
        elif self._state is Overlap.CLEAR and self._spoken >= _frames(self.policy.duck_after):
            yield self._go(Overlap.DUCKED, Act.DUCK)

    def judge(self, kind: Kind) -> Iterator[Act]:
        """Take what the words over the agent's were, once they are known."""
        if self._state is Overlap.CLEAR:
            return
        if kind in (Kind.WORDS, Kind.STOP, Kind.DISTRESS):
            yield self._go(Overlap.CLEAR, Act.INTERRUPT)
        elif self._state is Overlap.PAUSED:
            yield self._go(Overlap.CLEAR, Act.RESUME)

    def _while_paused(self) -> Iterator[Act]:
        self._waited += 1
        # Who speaks so long has taken the floor, whatever the words are.
        if self._spoken >= _frames(3 * self.policy.confirm):
            yield self._go(Overlap.CLEAR, Act.INTERRUPT)
        elif self._waited >= _frames(self.policy.decide):
            yield self._go(Overlap.CLEAR, Act.RESUME)

    def _is_over(self) -> bool:
        return self._silent >= max(1, _frames(self.policy.soft_end))

    def _go(self, state: Overlap, act: Act) -> Act:
        self._state = state
        self._waited = 0
        if state is Overlap.CLEAR:
            self._spoken = self._silent = 0
        return act


# What listeners say to mean "go on", and what they say to mean "stop".
_BACKCHANNEL = (
    r"(?:(?:oh |ah |yeah |ok |okay )*"
    r"(?:m+|m+-?hm+|hm+|uh[- ]huh|aha|ah|oh|yeah|yes|yep|yup|ok|okay|right|all right|sure|wow"
    r"|really|true|exactly|of course|i see|got it|go on)"
    r"|嗯+哼?|哦+|噢+|喔+|啊+|呃+|对+|对啊|是+|是的|是啊|好+|好的|好啊|行|没错|真的吗?|哇"
    r"|这样啊|原来如此|明白|懂了)"
)
_BACKCHANNELS = re.compile(rf"{_BACKCHANNEL}(?: {_BACKCHANNEL})*")
_STOPS = re.compile(
    r"^(?:(?:please |ok |okay |no |hey )*"
    r"(?:stop|wait|hold on|hang on|shut up|be quiet|quiet|enough|pause|one moment|just a moment)"
    r"(?: (?:it|that|please|a (?:second|minute|moment)|talking|now))*"
    r"|(?:请|你)?(?:停|停下|停一下|别说了|等等|等一下|等会儿|打住|安静|闭嘴|够了|先别说)[吧了啊]*)$"
)
_DISTRESS = re.compile(
    r"^(?:(?:oh|ah|no|please|my god|god|somebody|someone) )*"
    r"(?:help|ow+|ouch|argh|i fell|i've fallen|it hurts|that hurts|fire)"
    r"(?: (?:me|please|help|somebody|someone|ow+|ouch))*$"
    r"|^(?:啊+|哎呀?|天哪|快)*(?:救命|救救?我|好?疼死?了?|好?痛死?了?|着火了?|我?摔倒?了)[啊呀]*$"
)
_CRIES = frozenset({VocalEvent.CRY, VocalEvent.SCREAM})
_MOST_BACKCHANNEL: Seconds = 1.2
_MOST_LETTERS = 80  # longer than any word of these kinds

_WORD = re.compile(r"[\u4e00-\u9fff]|[^\s\u4e00-\u9fff]+")
_LEAST_ECHO = 3  # words, or Chinese characters
_SAME = 0.75  # of them
_MOST_OWN = 2000  # characters of the agent's words that are compared


def kind_of(
    transcript: str, seconds: Seconds, *, own: str = "", event: str = VocalEvent.OTHER
) -> Kind:
    """What words over the agent's were.

    Args:
        transcript: What was heard; empty for no words.
        seconds: How long somebody spoke.
        own: What the agent is saying. Its own words, heard again, are its echo and thus noise.
        event: Label of what else the voice did; who cries is in distress, whatever the words are.
    """
    words = _plain(transcript[:_MOST_LETTERS])
    if event in _CRIES or _DISTRESS.match(words):
        return Kind.DISTRESS
    if not words or _is_echo(words, own):
        return Kind.NOISE
    if _STOPS.match(words):
        return Kind.STOP
    if seconds <= _MOST_BACKCHANNEL and _BACKCHANNELS.fullmatch(words):
        return Kind.BACKCHANNEL
    return Kind.WORDS


def _plain(text: str) -> str:
    """Letters and digits in small, one space between words."""
    kept = (c if unicodedata.category(c)[0] in "LNM" or c in "-'" else " " for c in text.casefold())
    return " ".join("".join(kept).split())


def _is_echo(words: str, own: str) -> bool:
    """Whether most of the words are the agent's, in its order.

    A word or two prove nothing: "really?" and "you do?" are said back to people all the time.
    """
    heard, said = (_WORD.findall(text) for text in (words, _plain(own[-_MOST_OWN:])))
    if len(heard) < _LEAST_ECHO:
        return False
    blocks = SequenceMatcher(None, said, heard, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) >= _SAME * len(heard)


def _frames(seconds: Seconds) -> int:
    return round(seconds / FRAME_SECONDS)
