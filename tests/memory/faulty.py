"""A SQLite driver whose k-th step fails: a statement, or a commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

KINDS = {
    "locked": sqlite3.SQLITE_BUSY,
    "full": sqlite3.SQLITE_FULL,
    "broken": sqlite3.SQLITE_IOERR | 3 << 8,  # of a write
}
_NEVER = 1 << 30


class Faults:
    """Counts the steps of all connections that are made while it is there.

    Attributes:
        steps: How many there were since `arm`.
        has_failed: Whether the step that was to fail did.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.has_failed = False
        self._at = _NEVER
        self._kind = ""

    def arm(self, at: int = _NEVER, kind: str = "broken") -> None:
        """Have the `at`-th step from now on fail, once."""
        self.steps, self.has_failed, self._at, self._kind = 0, False, at, kind

    def step(self) -> None:
        self.steps += 1
        if self.steps == self._at:
            self.has_failed = True
            error = sqlite3.OperationalError(f"made for a test: {self._kind}")
            error.sqlite_errorcode = KINDS[self._kind]
            raise error


@contextmanager
def driver(monkeypatch: Any) -> Iterator[Faults]:
    """SQLite's driver, with faults, until the end of the block."""
    faults = Faults()

    class Cursor(sqlite3.Cursor):
        def execute(self, *arguments: Any) -> Any:
            faults.step()
            return super().execute(*arguments)

    class Connection(sqlite3.Connection):
        def cursor(self, factory: Any = Cursor) -> Any:
            return super().cursor(factory)

        def commit(self) -> None:
            if self.in_transaction:
                faults.step()
            super().commit()

    connect = sqlite3.connect

    def faulty(*arguments: Any, **named: Any) -> Any:
        return connect(*arguments, factory=Connection, **named)

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", faulty)
        patch.setattr(sqlite3.dbapi2, "connect", faulty)
        yield faults
