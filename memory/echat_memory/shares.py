"""What each user's key needs that is not in the database, so that erasing reaches copies of it.

A backup of the database holds every user's key as it was, wrapped; with the KEK alone it would
open for ever. So a share, 32 random bytes a user, takes part in the wrapping and is kept here, in a
small file of its own. To destroy a share is to make that user's words unreadable in every copy of
the database, old and new. What it does not reach is a copy of this very file made before: keep
those apart from the database's, and for days, not years.

Shares alone open nothing.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from echat_memory import sqlite
from echat_sdk.audio import Seconds
from echat_sdk.errors import StoreError

SHARE_BYTES = 32
_STORE = 0  # no user has it
_TABLES = """
CREATE TABLE IF NOT EXISTS shares (user_id INTEGER PRIMARY KEY, share BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS state (is_converted INTEGER NOT NULL);
"""


class Shares:
    """The file of shares. One thread at a time.

    Args:
        path: The file.
        create: Make it where it is missing.
        timeout: How long another process that writes is waited for.

    Raises:
        StoreError: it is missing, damaged, or cannot be written.
    """

    def __init__(self, path: Path, *, create: bool, timeout: Seconds = 2.0) -> None:
        self._path = path
        if not create and not path.exists():
            raise StoreError(
                f"{path} is missing: without it the words in the store cannot be read. Put it back "
                "from a backup."
            )
        sqlite.create_file(path)
        with self._plain_errors():
            self._connection = sqlite3.connect(
                path, timeout=timeout, isolation_level=None, check_same_thread=False
            )
            for pragma in sqlite.PRAGMAS:
                self._connection.execute(f"PRAGMA {pragma}")
        if create:
            with self._writing():
                for statement in filter(str.strip, _TABLES.split(";")):
                    self._connection.execute(statement)
                self._connection.execute(
                    "INSERT OR IGNORE INTO shares VALUES (?, ?)", (_STORE, _fresh())
                )
        if not self._has_table() or self.of(_STORE) is None:
            raise StoreError(f"{path} holds no shares of a store; put it back from a backup")

    @property
    def is_converted(self) -> bool:
        """Whether every row is encrypted, so that a plain one is not to be believed."""
        with self._plain_errors():
            return self._connection.execute("SELECT 1 FROM state").fetchone() is not None

    @is_converted.setter
    def is_converted(self, value: bool) -> None:
        with self._writing():
            self._connection.execute("DELETE FROM state")
            if value:
                self._connection.execute("INSERT INTO state VALUES (1)")

    def of(self, user_id: int) -> bytes | None:
        """The share of a user; None where it was destroyed."""
        with self._plain_errors():
            row = self._connection.execute(
                "SELECT share FROM shares WHERE user_id = ?", (user_id,)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def make(self, user_id: int) -> bytes:
        """The share of a user, made durable before it is returned where there was none."""
        with self._writing():
            self._connection.execute(
                "INSERT OR IGNORE INTO shares VALUES (?, ?)", (user_id, _fresh())
            )
        share = self.of(user_id)
        assert share is not None
        return share

    def destroy(self, user_id: int) -> bool:
        """Overwrite the share of a user; whether there was one."""
        with self._writing():
            deleted = self._connection.execute("DELETE FROM shares WHERE user_id = ?", (user_id,))
        return deleted.rowcount > 0

    def close(self) -> None:
        """Release the file. May be called twice."""
        self._connection.close()

    def _has_table(self) -> bool:
        with self._plain_errors():
            query = "SELECT 1 FROM sqlite_master WHERE name = 'shares'"
            return self._connection.execute(query).fetchone() is not None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._plain_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        with sqlite.plain_errors(self._path):
            yield


def _fresh() -> bytes:
    return secrets.token_bytes(SHARE_BYTES)
