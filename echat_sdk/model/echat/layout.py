"""A whole sequence of ids: its segments, and the vectors that the network reads and learns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from echat_sdk.model.echat.vocab import BLANK, IGNORED


class Part(StrEnum):
    """What a segment of a sequence is."""

    SYSTEM = "system"
    USER = "user"
    PROMPT = "prompt"
    AUDIO = "audio"
    ASSISTANT = "assistant"
    TEXT = "text"
    SPEECH = "speech"
    TURN = "turn"


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of ids that belong together.

    Attributes:
        part: What it is.
        ids: Combined ids; each audio embedding is one placeholder.
        supervised: Whether the model is to learn to write it.
        hidden: Places in `ids` without attention and without loss: slots nobody knows.
    """

    part: Part
    ids: tuple[int, ...]
    supervised: bool = False
    hidden: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Layout:
    """A whole sequence: its segments, and the vectors that are made of them, each of length L."""

    segments: tuple[Segment, ...]

    def __len__(self) -> int:
        return sum(len(segment.ids) for segment in self.segments)

    @property
    def ids(self) -> tuple[int, ...]:
        """Combined ids; `BLANK` where hidden."""
        return tuple(
            BLANK if place in segment.hidden else token
            for segment in self.segments
            for place, token in enumerate(segment.ids)
        )

    @property
    def labels(self) -> tuple[int, ...]:
        """What each position itself should be, `IGNORED` where unsupervised; the loss shifts."""
        return tuple(
            token if segment.supervised and place not in segment.hidden else IGNORED
            for segment in self.segments
            for place, token in enumerate(segment.ids)
        )

    @property
    def attention_mask(self) -> tuple[int, ...]:
        """1 where attended, 0 where hidden. There are no pads inside a sequence."""
        return tuple(
            int(place not in segment.hidden)
            for segment in self.segments
            for place in range(len(segment.ids))
        )

    @property
    def position_ids(self) -> tuple[int, ...]:
        """Counted over what is attended; a hidden place takes none and is given 1."""
        positions, count = [], 0
        for attended in self.attention_mask:
            positions.append(count if attended else 1)
            count += attended
        return tuple(positions)

    def ends(self, part: Part) -> tuple[int, ...]:
        """Where each segment of a kind ends: places at which a cache may be cut."""
        ends, place = [], 0
        for segment in self.segments:
            place += len(segment.ids)
            if segment.part is part:
                ends.append(place)
        return tuple(ends)

    @property
    def system_end(self) -> int:
        """The length of the system prompt, which all sessions of a mode share."""
        return next(iter(self.ends(Part.SYSTEM)), 0)

    @property
    def audio_end(self) -> int:
        """Where the last of the user's audio ends; 0 without audio."""
        return next(reversed(self.ends(Part.AUDIO)), 0)

    @property
    def text_end(self) -> int:
        """Where the last answer's text ends, its end mark included; 0 without an answer.

        In serial order speech follows: cutting here evicts it.
        """
        return next(reversed(self.ends(Part.TEXT)), 0)


@dataclass(frozen=True, slots=True)
class PastTurn:
    """A turn that is over.

    Attributes:
        answer: What the model wrote, combined ids in their order; cut where it was interrupted.
        audio: Embeddings of the user's audio.
        prompt: The text of the user's message.
    """

    answer: tuple[int, ...]
    audio: int = 0
    prompt: tuple[int, ...] = ()
