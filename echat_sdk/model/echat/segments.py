"""An answer made of several requests to a server that knows nothing of its grammar.

A request goes on while one head writes and its rule stands. A token that the rule of its own place
does not let pass ends it, and the next request begins there, so nothing is ever taken against the
rule; what the server wrote beyond that is dropped. Forced tokens are put in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from echat_sdk.errors import GenerationError
from echat_sdk.model.echat.completions import Written
from echat_sdk.model.echat.decoding import Decoding, Token
from echat_sdk.model.echat.interleave import Head
from echat_sdk.model.echat.sampling import Rule, Sampler

Ask = Callable[[Tensor, Decoding, Rule, Sampler], Generator[Written, None, None]]
"""Asks a server to go on: behind these embeddings, from here, by this rule, drawn so."""

Lookup = Callable[[Sequence[int]], Tensor]
"""The embeddings of combined ids. Shape [L, H]."""


@dataclass(frozen=True, slots=True, eq=False)
class ReadEmbeds:
    """What was read so far, as it is sent again.

    Attributes:
        embeds: Shape [L, H].
    """

    embeds: Tensor

    @property
    def place(self) -> None:
        """None: its memory counts against nobody's but the conversation's own."""

    @property
    def length(self) -> int:
        """Positions held."""
        return len(self.embeds)

    @property
    def nbytes(self) -> int:
        """Bytes of the positions held."""
        return self.embeds.nbytes

    def crop(self, length: int) -> ReadEmbeds:
        """The first positions alone; a view.

        Raises:
            ValueError: more positions are asked for than there are.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot crop {self.length} positions to {length}")
        return ReadEmbeds(self.embeds[:length])

    def compact(self) -> ReadEmbeds:
        """The same in memory of its own."""
        return ReadEmbeds(self.embeds.clone())


class SegmentedStream(Iterator[Token]):
    """The tokens of one answer, as they come. Used from one thread at a time.

    Args:
        prompt: What the answer follows. Shape [L, H].
        decoding: Where it begins.
        sampler: How tokens are drawn.
        ask: Asks the server.
        lookup: Embeds what was written.
        positions: Of a conversation at most.
        keeps: Whether `parked` will be asked for.
    """

    def __init__(
        self,
        prompt: Tensor,
        decoding: Decoding,
        sampler: Sampler,
        *,
        ask: Ask,
        lookup: Lookup,
        positions: int,
        keeps: bool,
    ) -> None:
        self._prompt = prompt
        self._decoding = decoding
        self._sampler = sampler
        self._ask = ask
        self._lookup = lookup
        self._positions = positions
        self._keeps = keeps
        self._written: list[int] = []
        self._is_over = False
        self._tokens = self._decoded()

    def __next__(self) -> Token:
        """The next token.

        Raises:
            GenerationError: the server failed, or wrote what it was told not to.
        """
        return next(self._tokens)

    def close(self) -> None:
        """End the request; the server sees its connection close."""
        self._tokens.close()
        self._is_over = True

    @property
    def decoding(self) -> Decoding:
        """Where the answer stands: its phase, counters and how it ended."""
        return self._decoding

    @property
    def parked(self) -> ReadEmbeds:
        """What was read and written, the last token left out.

        Raises:
            ValueError: the request goes on, or was not started to keep it.
        """
        if not self._is_over or not self._keeps:
            raise ValueError("only a request that ended, and was started with keeps=True, is kept")
        return ReadEmbeds(self._behind(self._written[:-1]))

    def _decoded(self) -> Generator[Token, None, None]:
        while not self._decoding.is_done:
            sole = self._sole()
            if sole is None:
                yield from self._segment()
            else:
                yield self._take(sole, 1.0)
        self._is_over = True

    def _sole(self) -> int | None:
        """The next token where there is only one that it may be."""
        allowed = None if self._is_text else self._decoding.rule().allowed
        if allowed is not None and len(allowed) == 1:
            return next(iter(allowed)) + self._decoding.order.vocab.text_rows
        return self._decoding.forced

    def _segment(self) -> Iterator[Token]:
        """One request, as far as it goes."""
        head, rule = self._decoding.head, self._decoding.rule()
        behind = self._behind(self._written)
        taken = 0
        with closing(self._ask(behind, self._decoding, rule, self._sampler)) as written:
            for one in written:
                if not self._may_be(one.id):
                    break
                taken += 1
                yield self._take(one.id, self._probability(one))
                now = self._decoding
                if now.is_done or now.forced is not None or now.head is not head:
                    return
                # A rule that was narrowed is watched over here; one that was widened is asked anew.
                if rule.allowed is not None or not set(rule.banned) <= set(now.rule().banned):
                    return
        if not taken:
            raise GenerationError(
                "the vLLM server wrote nothing, or a token that it was told not to; is the "
                "checkpoint that it serves this one, as `echat models export` wrote it?"
            )

    def _take(self, token: int, probability: float) -> Token:
        phase = self._decoding.phase
        self._written.append(token)
        self._decoding = self._decoding.after(token)
        if not self._decoding.is_done and self._length >= self._positions:
            self._decoding = self._decoding.cut()
        return Token(token, phase, probability)

    def _may_be(self, token: int) -> bool:
        """Whether a token may stand where the answer stands."""
        vocab, rule = self._decoding.order.vocab, self._decoding.rule()
        row = token if self._is_text else vocab.code(token)
        rows = vocab.text_rows if self._is_text else vocab.speech_rows
        is_open = rule.allowed is None or row in rule.allowed
        return 0 <= row < rows and row not in rule.banned and is_open

    def _probability(self, one: Written) -> float:
        """What the text head alone gave a token, or less; NaN for a code, whose bias is not there.

        The server tells the probability among the ids of both heads. What the likeliest ids of
        speech have of it is given back to the text; what the others have, nobody tells.
        """
        if not self._is_text or one.id not in one.likely:
            return math.nan
        rows = self._decoding.order.vocab.text_rows
        speech = sum(math.exp(log) for token, log in one.likely.items() if token >= rows)
        return min(1.0, math.exp(one.likely[one.id]) / max(1 - speech, 1e-9))

    def _behind(self, ids: Sequence[int]) -> Tensor:
        return torch.cat((self._prompt, self._lookup(ids))) if ids else self._prompt

    @property
    def _is_text(self) -> bool:
        return self._decoding.head is Head.TEXT

    @property
    def _length(self) -> int:
        return len(self._prompt) + len(self._written)
