"""What a decoder may not write next, and when it must stop. Values: each request holds its own.

Upstream has the same three rules; there the repetition rule never fires and the others live on
the model, where two requests would share them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from echat_sdk.model.echat.vocab import AGE_LABELS, AGE_SLOT, SILENT_CODE, SPEECH_CODES, Vocab

WINDOW, TIMES = 8, 5
SILENT_WINDOW, SILENT_TIMES = 13, 10
MAX_TOKENS = 2000


@dataclass(frozen=True, slots=True)
class Repetition:
    """No speech code 5 times in the last 8; the code of silence 10 times in the last 13.

    A run of 5 (of 10) is such a window, so runs need no rule of their own.

    Attributes:
        tail: The last codes, newest last.
        banned: Codes that may not come next.
    """

    tail: tuple[int, ...] = ()
    banned: tuple[int, ...] = ()

    def after(self, code: int) -> Repetition:
        """The state once `code` is written; the end mark and above are not counted."""
        tail = (*self.tail[1 - SILENT_WINDOW :], code)
        # Of all other codes there are now as many as before, or fewer.
        banned = tuple(one for one in {code, *self.banned} if _is_too_often(one, tail))
        return Repetition(tail, banned)


def _is_too_often(code: int, tail: tuple[int, ...]) -> bool:
    if code == SILENT_CODE:
        return tail.count(code) >= SILENT_TIMES
    return code < SPEECH_CODES and tail[-WINDOW:].count(code) >= TIMES


@dataclass(frozen=True, slots=True)
class AgeSlot:
    """After `年龄为:<` one of the age labels must come; once in an answer.

    Attributes:
        tail: The last text ids.
        used: Whether it has fired.
        allowed: The only ids that may come next; None for any.
    """

    tail: tuple[int, ...] = ()
    used: bool = False
    allowed: frozenset[int] | None = None

    def after(self, token: int) -> AgeSlot:
        """The state once a text token is written."""
        if self.used:
            return self if self.allowed is None else replace(self, allowed=None)
        tail = (*self.tail[1 - len(AGE_SLOT) :], token)
        if tail == AGE_SLOT:
            return AgeSlot(tail, used=True, allowed=AGE_LABELS)
        return AgeSlot(tail)


@dataclass(frozen=True, slots=True)
class Stop:
    """An answer in text and speech is over at the second begin-or-end mark after its text's end.

    Attributes:
        vocab: The id space.
        max_tokens: Most ids in an answer, text and speech together.
        written: Ids so far.
        text_over: Whether the text has ended.
        marks: Speech marks since then.
    """

    vocab: Vocab
    max_tokens: int = MAX_TOKENS
    written: int = 0
    text_over: bool = False
    marks: int = 0

    @property
    def reason(self) -> Literal["end", "length"] | None:
        """Why to stop, or None."""
        if self.marks > 1:
            return "end"
        return "length" if self.written >= self.max_tokens else None

    def after(self, token: int) -> Stop:
        """The state once `token` is written."""
        text_over = self.text_over or token == self.vocab.text_end
        marks = self.marks + (text_over and token == self.vocab.speech_bos)
        return Stop(self.vocab, self.max_tokens, self.written + 1, text_over, marks)
