"""Where one answer stands: thought, text, speech, done. A value, advanced a token at a time.

`Interleave` says which head writes next; this adds what keeps an answer within its grammar and its
limits: the thought's budget, the guards, the marks that may not come, the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from echat_sdk.model.echat.guards import MAX_TOKENS, AgeSlot, Repetition
from echat_sdk.model.echat.interleave import Head, Interleave, Piece
from echat_sdk.model.echat.sampling import Rule
from echat_sdk.model.echat.vocab import END_OF_TEXT, THINK_END, Vocab

THINK_BUDGET = 320
"""Tokens of a thought before its end is written for it; upstream's longest are near 200."""

_THINK = "<think>"

Ended = Literal["", "stop", "length", "full"]


class Phase(StrEnum):
    """What a token belongs to."""

    THINK = "think"
    TEXT = "text"
    SPEECH = "speech"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was drawn.

    Attributes:
        id: Combined id.
        phase: What it belongs to.
        probability: What the network gave it, before any rule or preset; 1 for a forced one.
    """

    id: int
    phase: Phase
    probability: float = 1.0


@dataclass(frozen=True, slots=True)
class Decoding:
    """One answer so far. Begin with `Decoding.of`.

    Attributes:
        order: Which head writes next.
        max_tokens: Text and speech together.
        think_budget: Tokens of the thought.
        penalises: Whether the ids written are remembered, for a repetition penalty.
        written: Tokens so far.
        codes_written: Speech codes so far.
        opening: The first letters, until they tell whether the model thinks at all.
        thought: Tokens of the thought so far.
        forced_ids: Ids that come next whatever the model says.
        seen: Text ids so far, if `penalises`.
        repetition: Watches the speech.
        age: Watches the age slot of a thought.
        ended: How the answer ended: by itself (`stop`), at `max_tokens` (`length`), or because the
            conversation holds no more (`full`). Empty while it goes on.
        was_forced: Whether the end of the thought was written for the model.
    """

    order: Interleave
    max_tokens: int = MAX_TOKENS
    think_budget: int = THINK_BUDGET
    penalises: bool = False
    written: int = 0
    codes_written: int = 0
    opening: str = ""
    thought: int = 0
    forced_ids: tuple[int, ...] = ()
    seen: frozenset[int] = frozenset()
    repetition: Repetition = field(default_factory=Repetition)
    age: AgeSlot = field(default_factory=AgeSlot)
    ended: Ended = ""
    was_forced: bool = False

    @classmethod
    def of(
        cls,
        vocab: Vocab,
        *,
        speaks: bool,
        interleaves: bool = False,
        thinks: Piece | None = None,
        begins_with_speech: bool = False,
        max_tokens: int = MAX_TOKENS,
        think_budget: int = THINK_BUDGET,
        penalises: bool = False,
    ) -> Decoding:
        """The start of an answer.

        Args:
            vocab: The id space.
            speaks: Whether speech belongs to it.
            interleaves: Whether text and speech come in turn.
            thinks: Given when a thought may come first: reads the letters of a token.
            begins_with_speech: Text to speech, whose prompt ends with the begin mark.
            max_tokens: Text and speech together.
            think_budget: Tokens of the thought.
            penalises: Whether a repetition penalty will be asked for.
        """
        if begins_with_speech:
            order = Interleave.speech_only(vocab)
        elif not speaks:
            order = replace(Interleave.text_only(vocab), piece=thinks)
        elif interleaves:
            order = Interleave.interleaved(vocab, think=thinks)
        else:
            order = replace(Interleave.serial(vocab), piece=thinks)
        return cls(order, max_tokens, think_budget, penalises)

    @property
    def head(self) -> Head:
        """Who writes the next token."""
        return self.order.head

    @property
    def phase(self) -> Phase:
        """What the next token belongs to."""
        if self.is_done:
            return Phase.DONE
        if self.order.head is Head.SPEECH:
            return Phase.SPEECH
        return Phase.THINK if self.order.piece is not None else Phase.TEXT

    @property
    def is_done(self) -> bool:
        """Whether no token follows."""
        return bool(self.ended)

    @property
    def forced(self) -> int | None:
        """The next token if it is not for the model to choose."""
        return self.forced_ids[0] if self.forced_ids else None

    def rule(self) -> Rule:
        """What the next token may be, in the ids of the head that writes it."""
        vocab = self.order.vocab
        if self.order.head is Head.SPEECH:
            mark = vocab.speech_codes
            if self.order.begins_speech:
                return Rule(allowed=(mark,))
            ends = self.order.may_end_speech
            return Rule(banned=self.repetition.banned if ends else {*self.repetition.banned, mark})
        marks = {vocab.im_start, vocab.im_end, END_OF_TEXT} - {vocab.text_end}
        return Rule(
            banned=[mark for mark in marks if mark < vocab.text_rows],
            allowed=self.age.allowed,
            seen=self.seen,
        )

    def after(self, token: int) -> Decoding:
        """The answer once `token`, a combined id, is written."""
        order = self.order.after(token)
        if self.order.head is Head.SPEECH:
            is_code = token != self.order.vocab.speech_bos
            state = replace(
                self,
                order=order,
                codes_written=self.codes_written + is_code,
                repetition=self.repetition.after(self.order.vocab.code(token)),
            )
        else:
            state = self._after_text(token, order)
        written = self.written + 1
        ended: Ended = "stop" if order.done else "length" if written >= self.max_tokens else ""
        return replace(state, written=written, ended=ended, forced_ids=state.forced_ids)

    def cut(self) -> Decoding:
        """The answer, ended here because the conversation holds no more."""
        return replace(self, ended="full")

    def _after_text(self, token: int, order: Interleave) -> Decoding:
        seen = self.seen | {token} if self.penalises else self.seen
        state = replace(
            self, order=order, seen=seen, age=self.age.after(token), forced_ids=self.forced_ids[1:]
        )
        if order.piece is None:
            return state
        thought = self.thought + 1
        opening = self.opening
        if len(opening) < len(_THINK):
            opening = (opening + order.piece(token))[: len(_THINK)]
            if not _THINK.startswith(opening):  # this model answers at once
                return replace(state, order=order.without_thought(thought), opening=opening)
        if thought >= self.think_budget and not state.forced_ids:
            return replace(
                state, thought=thought, opening=opening, forced_ids=THINK_END, was_forced=True
            )
        return replace(state, thought=thought, opening=opening)
