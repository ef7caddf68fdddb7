"""The order of text and speech: serial, or six text tokens and eighteen codes in turn.

Eighteen codes are 0.72 s of speech. In training the order is a rearrangement of two known
sequences (`interleave`); in decoding it is a schedule that says which head writes the next token
(`Interleave`). Both let a thought pass before anything is spoken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from echat_sdk.model.echat.vocab import THINK_END, Vocab

TEXT_RUN = 6
SPEECH_RUN = 18

Piece = Callable[[int], str]
"""The text of one token id."""

_END_OF_THOUGHT = re.compile(r"<think end>|</think(?: end)?>")
_TAIL = 15
"""Characters in which an end mark may lie, less what one token adds."""


@dataclass(frozen=True, slots=True)
class SpeechTooShort:
    """Why a sample cannot be interleaved: three codes for each text token are the least.

    Attributes:
        text: Text tokens, a thought and the end mark counted.
        speech: Speech tokens, both end marks counted.
    """

    text: int
    speech: int

    def __str__(self) -> str:
        return (
            f"{self.speech} speech tokens for {self.text} text tokens: "
            f"interleaving needs at least {3 * self.text}; leave the sample out or shorten its text"
        )


def after_thought(text: Sequence[int], piece: Piece | None = None) -> int:
    """How many tokens a thought takes, its end mark included; 0 where no thought ends.

    Args:
        text: Text ids.
        piece: Reads the letters of a token, so that an end mark is found however it is cut (`>` and
            a following `<` are one token). Without it only the mark's own four ids are an end,
            as upstream has it.
    """
    if piece is None:
        width = len(THINK_END)
        starts = range(len(text) - width + 1)
        return next((i + width for i in starts if tuple(text[i : i + width]) == THINK_END), 0)
    tail = ""
    for place, token in enumerate(text, start=1):
        tail += piece(token)
        if _END_OF_THOUGHT.search(tail):
            return place
        tail = tail[-_TAIL:]
    return 0


def interleave(
    text: Sequence[int], speech: Sequence[int], *, thought: int = 0
) -> tuple[int, ...] | SpeechTooShort:
    """Text and speech in turn, as a streaming model is trained to write them.

    Args:
        text: Text ids, end mark included.
        speech: Speech ids, begin and end included.
        thought: How many of the text tokens come first, unbroken: see `after_thought`.

    Returns:
        All of both, or why the sample cannot be interleaved.
    """
    if 3 * len(text) > len(speech):
        return SpeechTooShort(text=len(text), speech=len(speech))
    out, spoken = list(text[:thought]), 0
    for start in range(thought, len(text), TEXT_RUN):
        out += text[start : start + TEXT_RUN]
        out += speech[spoken : spoken + SPEECH_RUN]
        spoken += SPEECH_RUN
    return (*out, *speech[spoken:])


class Head(Enum):
    """Which head writes the next token."""

    TEXT = "text"
    SPEECH = "speech"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Interleave:
    """The schedule of one answer: `head` writes the next token, `after` takes it.

    A value: a fork of a request keeps the old one. Start with `text_only`, `serial`, `interleaved`
    or `speech_only`.

    Attributes:
        vocab: The id space.
        head: Who writes the next token.
        speaks: Whether speech belongs to the answer.
        turns: Whether the heads take turns; otherwise all text comes first.
        left: Tokens left of the present run.
        text_over: Whether the text has ended.
        begun: Whether speech has begun: its first token is the begin mark.
        piece: Reads the letters of a token while a thought is awaited, else None.
        tail: The last letters of the thought.
    """

    vocab: Vocab
    head: Head = Head.TEXT
    speaks: bool = True
    turns: bool = False
    left: int = 0
    text_over: bool = False
    begun: bool = False
    piece: Piece | None = None
    tail: str = ""

    @classmethod
    def text_only(cls, vocab: Vocab) -> Interleave:
        """Text up to its end mark."""
        return cls(vocab, speaks=False)

    @classmethod
    def serial(cls, vocab: Vocab) -> Interleave:
        """All text, then all speech."""
        return cls(vocab)

    @classmethod
    def interleaved(cls, vocab: Vocab, *, think: Piece | None = None) -> Interleave:
        """Six text tokens, eighteen of speech, in turn.

        Args:
            vocab: The id space.
            think: Given when a thought comes first, which is written unbroken: reads the letters
                of a token.
        """
        return cls(vocab, turns=True, left=TEXT_RUN, piece=think)

    @classmethod
    def speech_only(cls, vocab: Vocab, *, begun: bool = True) -> Interleave:
        """Speech alone, after a prompt that ends with its begin mark (`begun`) or not."""
        return cls(vocab, head=Head.SPEECH, text_over=True, begun=begun)

    @property
    def begins_speech(self) -> bool:
        """Whether the next token must be the begin mark."""
        return self.head is Head.SPEECH and not self.begun

    @property
    def may_end_speech(self) -> bool:
        """Whether speech may end now: it has begun, and no text is left to be spoken."""
        return self.head is Head.SPEECH and self.begun and self.text_over

    @property
    def done(self) -> bool:
        """Whether the answer is complete."""
        return self.head is Head.NONE

    def after(self, token: int) -> Interleave:
        """The schedule once `token` is written.

        Where speech ends before the text does, the rest of the text is written in one run.
        """
        if self.head is Head.NONE:
            return self
        if self.head is Head.TEXT:
            return self._after_text(token)
        return self._after_speech(token)

    def without_thought(self, written: int) -> Interleave:
        """The schedule where no thought comes after all: what is written belongs to the answer.

        Args:
            written: Text tokens so far.
        """
        order = replace(self, piece=None, tail="")
        for _ in range(written):
            if order.head is Head.TEXT:
                order = order._count(Head.SPEECH, SPEECH_RUN)
        return order

    def _after_text(self, token: int) -> Interleave:
        if token == self.vocab.text_end:
            head = Head.SPEECH if self.speaks else Head.NONE
            return replace(self, head=head, text_over=True, piece=None, tail="")
        if self.piece is not None:
            tail = self.tail + self.piece(token)
            if _END_OF_THOUGHT.search(tail):
                return replace(self, piece=None, tail="")
            return replace(self, tail=tail[-_TAIL:])
        return self._count(Head.SPEECH, SPEECH_RUN)

    def _after_speech(self, token: int) -> Interleave:
        if not self.begun:
            return replace(self, begun=True)._count(Head.TEXT, TEXT_RUN)
        if token != self.vocab.speech_bos:
            return self._count(Head.TEXT, TEXT_RUN)
        if self.text_over:
            return replace(self, head=Head.NONE)
        return replace(self, head=Head.TEXT, speaks=False, turns=False)

    def _count(self, other: Head, run: int) -> Interleave:
        """One token less of the present run; when it is spent, the other head's begins."""
        if not self.turns or self.text_over:
            return self
        if self.left > 1:
            return replace(self, left=self.left - 1)
        return replace(self, head=other, left=run)
