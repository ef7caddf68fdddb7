"""One request on its way through the engine: what it has still to read, and where it stands."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, field, replace

from echat_sdk.errors import GenerationError
from echat_sdk.model.echat.decoding import Decoding, Token
from echat_sdk.model.echat.interleave import Head
from echat_sdk.model.echat.kv import ParkedKV
from echat_sdk.model.echat.parking import Place
from echat_sdk.model.echat.runner import Prompt
from echat_sdk.model.echat.sampling import Sampler

FAULTS = (RuntimeError, ValueError, MemoryError, GenerationError)
"""What one request's own numbers or size can cause; out of memory is a RuntimeError in torch."""


@dataclass(slots=True, eq=False)
class Request:
    """A request, from its start to its end.

    Attributes:
        prompt: What it reads first.
        decoding: Where its answer stands.
        sampler: How its tokens are drawn.
        past: What was read before, while it has no row.
        keeps: Whether what was read is parked at its end.
        length: Positions read.
        unread: Ids of the prompt that are still to be read.
        piece: How many of them are read in this step.
        last: The token drawn last, which the next step reads.
        turns: Steps since it got its row.
        is_over: Whether it ended, in whatever way.
        error: Why it failed.
        place: Memory set aside for what it keeps.
        outbox: Tokens that nobody took yet; filled no further than a step beyond `ahead`.
    """

    prompt: Prompt
    decoding: Decoding
    sampler: Sampler
    past: ParkedKV | None
    keeps: bool
    length: int
    unread: int
    piece: int = 0
    last: int = -1
    turns: int = 0
    is_over: bool = False
    error: GenerationError | None = None
    place: Place | None = None
    outbox: deque[Token] = field(default_factory=deque)

    @property
    def draws_with(self) -> Head | None:
        """The head that draws the next token; None where the prompt goes on, or it is forced."""
        has_next = self.unread == self.piece and not self.decoding.is_done
        return self.decoding.head if has_next and self.decoding.forced is None else None

    def next_part(self, placeholder: int) -> Prompt:
        """What it reads in this step: a piece of its prompt, or the token drawn last."""
        if not self.unread:
            return Prompt((self.last,))
        start = len(self.prompt.ids) - self.unread
        return self.prompt.part(start, start + self.piece, placeholder)

    def has_read(self) -> None:
        """The piece, or the token, is read."""
        self.length += self.piece or 1
        self.unread, self.piece = self.unread - self.piece, 0

    def write(self, token: int, probability: float, *, most: int) -> None:
        """A token is drawn. The answer is cut where `most` positions are full."""
        phase = self.decoding.phase
        self.decoding = self.decoding.after(token)
        self.last = token
        self.outbox.append(Token(token, phase, probability))
        if not self.decoding.is_done and self.length + 1 >= most:
            self.decoding = self.decoding.cut()
        self.is_over = self.decoding.is_done

    def fail(self, error: Exception) -> None:
        """End with an error that names what happened; memory errors say what to do."""
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        self.error = (
            error
            if isinstance(error, GenerationError)
            else GenerationError(f"this request failed and was dropped, others go on: {said}")
        )
        self.is_over = True

    def forked(self, sampler: Sampler | None) -> Request:
        """A second request that goes on from here; its past is the caller's to give."""
        return replace(
            self,
            sampler=copy.deepcopy(self.sampler) if sampler is None else sampler,
            turns=0,
            place=None,
            outbox=deque(self.outbox),
        )
