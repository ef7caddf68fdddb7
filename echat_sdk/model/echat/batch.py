"""One step of all requests together: prompts are read, tokens drawn and written.

What fails is done again for each request alone, so that only the one whose fault it was ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from echat_sdk.model.echat.interleave import Head
from echat_sdk.model.echat.request import FAULTS, Request
from echat_sdk.model.echat.runner import Runner
from echat_sdk.model.echat.sampling import Draws, draw_rows
from echat_sdk.model.echat.seats import Seats

_Drawn = tuple[int, float] | None
"""A token in the ids of its head, and its probability; the token is -1 where none can be drawn."""


class Batch:
    """The requests that have rows. Those that end here keep their rows until they are taken out.

    Args:
        runner: Does the tensor work.
        seats: Who has which row.
        most: Positions of a conversation at most.
    """

    def __init__(self, runner: Runner, seats: Seats, most: int) -> None:
        self._runner = runner
        self._seats = seats
        self._most = most

    def read(self, left: int) -> None:
        """Read some of the newcomers' prompts; the shortest first, their packets come first.

        Args:
            left: Positions that may be read.
        """
        newcomers = sorted(self._seats.reading, key=lambda request: request.unread)
        for request in newcomers:
            request.piece = min(request.unread, left)
            left -= request.piece
        read = list(self._together([one for one in newcomers if one.piece], self._prefill))
        for request, _ in read:
            request.has_read()
        for request, drawn in read:
            if not request.unread:
                self._seats.begin(request)
                self._write(request, drawn)

    def decode(self) -> None:
        """One token for each running request."""
        for request, drawn in self._together(list(self._seats.running), self._stepped):
            request.has_read()
            request.turns += 1
            self._write(request, drawn)

    def _together(
        self, requests: Sequence[Request], forward: Callable[[Sequence[Request]], Tensor]
    ) -> Iterator[tuple[Request, _Drawn]]:
        """What each draws; where the forward fails, each alone: that shows whose fault it was."""
        if not requests:
            return
        try:
            drawn = self._drawn(requests, forward(requests))
        except FAULTS as error:
            if len(requests) == 1:
                requests[0].fail(error)
                return
            for request in requests:
                yield from self._together([request], self._prefill)
        else:
            yield from zip(requests, drawn, strict=True)

    def _stepped(self, requests: Sequence[Request]) -> Tensor:
        return self._runner.step([one.last for one in requests], [one.length for one in requests])

    def _prefill(self, requests: Sequence[Request]) -> Tensor:
        rows, placeholder = self._seats.rows, self._runner.model.config.vocab.audio_placeholder
        return self._runner.prefill(
            [(rows.index(one), one.length, one.next_part(placeholder)) for one in requests]
        )

    def _drawn(self, requests: Sequence[Request], hidden: Tensor) -> list[_Drawn]:
        """What each request draws; None where its prompt goes on, or its token is forced.

        A head is read from memory once for all rows that write with it, and the device is waited
        for when all are drawn.
        """
        heads = ((Head.TEXT, self._runner.text_scores), (Head.SPEECH, self._runner.speech_scores))
        found = []
        for head, score in heads:
            rows = [row for row, one in enumerate(requests) if one.draws_with is head]
            if rows:
                rules = [requests[row].decoding.rule() for row in rows]
                samplers = [requests[row].sampler for row in rows]
                draws = Draws.of(samplers, rules, hidden.device)
                found.append((rows, draw_rows(score(hidden[rows]), draws)))
        drawn: list[_Drawn] = [None] * len(requests)
        for rows, tokens in found:
            for row, token in zip(rows, tokens.read(), strict=True):
                drawn[row] = token
        return drawn

    def _write(self, request: Request, drawn: _Drawn) -> None:
        """The next token of a request, and whether it was the last."""
        decoding = request.decoding
        if decoding.is_done:
            request.is_over = True
            return
        if drawn is None:
            assert decoding.forced is not None, "all but a forced token is drawn"
            token, probability = decoding.forced, 1.0
        else:
            token, probability = drawn
        if token < 0:
            no_token = ValueError("its scores are not numbers, or no token is allowed")
            request.fail(no_token)
            return
        if drawn is not None and decoding.head is Head.SPEECH:
            token += self._runner.model.config.vocab_size
        request.write(token, probability, most=self._most)
