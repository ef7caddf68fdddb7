"""Which request is in which row: those that run, behind them those that still read, no gap.

A step runs over the first rows without picking them out, so rows change places when one is left.
"""

from __future__ import annotations

from echat_sdk.model.echat.request import Request
from echat_sdk.model.echat.runner import Runner


class Seats:
    """The rows of a runner.

    Args:
        runner: Holds the keys and values.
        rows: How many may be taken.
    """

    def __init__(self, runner: Runner, rows: int) -> None:
        self._runner = runner
        self._most = rows
        self.running: list[Request] = []
        self.reading: list[Request] = []

    @property
    def rows(self) -> list[Request]:
        """The requests in the order of their rows."""
        return [*self.running, *self.reading]

    @property
    def is_full(self) -> bool:
        """Whether no row is free."""
        return len(self.running) + len(self.reading) >= self._most

    def enter(self, request: Request) -> None:
        """Give a request the next row, with what it has read so far.

        Raises:
            GenerationError: no row holds as much.
            RuntimeError: out of memory.
        """
        self._runner.load(len(self.rows), request.past)
        request.past, request.turns = None, 0
        self.reading.append(request)
        if not request.unread:
            self.begin(request)

    def begin(self, request: Request) -> None:
        """Let a request that has read its prompt run."""
        at, first, row = self.reading.index(request), self.reading[0], len(self.running)
        if at:
            self._runner.swap(row, row + at, max(request.length, first.length))
            self.reading[at] = first
        self.running.append(request)
        del self.reading[0]

    def leave(self, request: Request) -> None:
        """Free a request's row; the last running one takes it, and the last reading one its."""
        row = self.rows.index(request)
        if request.error is not None:
            self._runner.clear(row)
        if row < len(self.running):
            last = self.running.pop()
            if row < len(self.running):
                self._runner.move(len(self.running), row, last.length)
                self.running[row] = last
            if self.reading:
                last = self.reading.pop()
                self._runner.move(len(self.rows) + 1, len(self.running), last.length)
                self.reading.insert(0, last)
            return
        last, at = self.reading.pop(), row - len(self.running)
        if at < len(self.reading):
            self._runner.move(len(self.rows), row, last.length)
            self.reading[at] = last
