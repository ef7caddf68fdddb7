"""What a voice says beside the words: labels, how sure we are of them, and *unknown*.

The label sets are those of OSUM-EChat (arXiv 2508.09600). What a person feels and what the agent
answers with are two different sets; they are never mixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Self

UNKNOWN = "unknown"


class Emotion(StrEnum):
    """The apparent emotion of the speaker: OSUM's eight labels."""

    SAD = "sad"
    ANGER = "anger"
    NEUTRAL = "neutral"
    HAPPY = "happy"
    SURPRISE = "surprise"
    FEAR = "fear"
    DISGUST = "disgust"
    OTHER = "other"


class Gender(StrEnum):
    """The apparent gender of a voice."""

    FEMALE = "female"
    MALE = "male"


class Age(StrEnum):
    """The apparent age group of a voice."""

    CHILD = "child"
    ADULT = "adult"
    OLD = "old"


class VocalEvent(StrEnum):
    """A sound of the voice that is not a word."""

    LAUGH = "laugh"
    COUGH = "cough"
    CRY = "cry"
    SCREAM = "screaming"
    SIGH = "sigh"
    THROAT_CLEARING = "throat clearing"
    SNEEZE = "sneeze"
    OTHER = "other"


class Style(StrEnum):
    """The speaking style, in OSUM's own (Chinese) labels."""

    NEWS = "新闻科普"
    HORROR = "恐怖故事"
    FAIRY_TALE = "童话故事"
    SERVICE = "客服"
    POETRY = "诗歌散文"
    AUDIOBOOK = "有声书"
    CASUAL = "日常口语"
    OTHER = "其他"


class ReplyEmotion(StrEnum):
    """The emotion that the answer is spoken with: OSUM-EChat's eleven reply tags."""

    JOYFUL = "愉悦"
    SORRY = "抱歉"
    HAPPY = "开心"
    ANGRY = "愤怒"
    SURPRISED = "惊讶"
    DISGUSTED = "厌恶"
    SAD = "悲伤"
    AFRAID = "害怕"
    TEARFUL = "哭腔"
    COMFORTING = "安慰鼓励"
    NEUTRAL = "中立"

    @property
    def word(self) -> str:
        """The English word for this emotion, as the command line takes and prints it."""
        return self.name.lower()

    @classmethod
    def from_word(cls, word: str) -> Self:
        """The emotion that an English word (`happy`) or a tag (`开心`) names.

        Raises:
            ValueError: no such emotion; the message lists them.
        """
        for member in cls:
            if word.strip().lower() in (member.word, member.value):
                return member
        raise ValueError(f"no reply emotion {word!r}; one of {', '.join(m.word for m in cls)}")


@dataclass(frozen=True, slots=True)
class Cue:
    """One label with its confidence; `label == "unknown"` is an answer, and beats a guess.

    Attributes:
        label: A value of the cue's enum, or `unknown`.
        confidence: Calibrated probability of the label, 0 to 1; 0 when unknown.
        distribution: Probability of each label, summing to 1; empty where there is none.
        why: For an unknown, the reason in a few words ("speech shorter than 0.8 s").
    """

    label: str = UNKNOWN
    confidence: float = 0.0
    distribution: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    why: str = ""

    @property
    def is_known(self) -> bool:
        """Whether the label is more than `unknown`."""
        return self.label != UNKNOWN

    def to_json(self) -> dict[str, Any]:
        """A JSON object; empty parts are left out."""
        out: dict[str, Any] = {"label": self.label, "confidence": round(self.confidence, 4)}
        if self.distribution:
            out["distribution"] = {k: round(v, 4) for k, v in self.distribution.items()}
        if self.why:
            out["why"] = self.why
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The cue that `to_json` wrote."""
        return cls(
            label=str(data.get("label", UNKNOWN)),
            confidence=float(data.get("confidence", 0.0)),
            distribution=MappingProxyType(dict(data.get("distribution", {}))),
            why=str(data.get("why", "")),
        )


@dataclass(frozen=True, slots=True)
class Cues:
    """All that one utterance's voice said beside the words."""

    emotion: Cue = field(default_factory=Cue)
    gender: Cue = field(default_factory=Cue)
    age: Cue = field(default_factory=Cue)
    events: Cue = field(default_factory=Cue)
    style: Cue = field(default_factory=Cue)

    def to_json(self) -> dict[str, Any]:
        """A JSON object with one object a cue."""
        return {name: getattr(self, name).to_json() for name in self.__slots__}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The cues that `to_json` wrote; missing ones are unknown."""
        return cls(**{n: Cue.from_json(data[n]) for n in cls.__slots__ if n in data})


ANCHORS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        Emotion.HAPPY: (0.76, 0.48),
        Emotion.ANGER: (-0.51, 0.59),
        Emotion.FEAR: (-0.64, 0.60),
        Emotion.SAD: (-0.63, -0.27),
        Emotion.DISGUST: (-0.60, 0.35),
        Emotion.SURPRISE: (0.40, 0.67),
        Emotion.NEUTRAL: (0.0, 0.0),
    }
)
"""(valence, arousal) of each label: Russell & Mehrabian 1977, rounded. `other` has no place."""


def affect(emotion: Cue) -> tuple[float, float] | None:
    """Valence and arousal of a turn, each in [-1, 1]; None for an emotion that is not known.

    The mean over the distribution where there is one, else the place of the label.
    """
    if not emotion.is_known:
        return None
    shares = emotion.distribution or {emotion.label: 1.0}
    placed = [(p, ANCHORS[label]) for label, p in shares.items() if label in ANCHORS]
    weight = sum(p for p, _ in placed)
    if weight <= 0:
        return None
    valence = sum(p * v for p, (v, _) in placed) / weight
    arousal = sum(p * a for p, (_, a) in placed) / weight
    return valence, arousal
