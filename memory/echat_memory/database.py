"""What SQLite and PostgreSQL do each in their own way. All else of this room is portable SQL."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, exc
from sqlalchemy.engine.url import URL, make_url

from echat_memory.keys import Encryption
from echat_sdk.audio import Seconds
from echat_sdk.errors import ConfigError, StoreError

OPENING: Seconds = 5.0
"""How long a store is waited for that another process migrates; a copy of all comes first."""

AGAIN: Seconds = 0.2
"""How long a store is waited for once it has been waited for in vain."""

_EXPECTED = "expected sqlite:///PATH or postgresql://USER@HOST/DATABASE"


class Collided(StoreError):
    """Another process wrote the same at the same time; nothing was written. Try once more."""


class Database(Protocol):
    """One connection to a store. Who calls sees to one thread at a time.

    Every method raises `StoreError`, in words that hold nothing of what people said.

    Attributes:
        name: The store in a message: a path, or a URL without its password.
        connection: For what is not in this protocol.
        key_file: The key to the user ids; it may not be there yet.
    """

    @property
    def name(self) -> str:
        """See above."""

    @property
    def connection(self) -> Connection:
        """See above."""

    @property
    def key_file(self) -> Path:
        """See above."""

    def transaction(self, *, write: bool) -> AbstractContextManager[Connection]:
        """All statements inside see one state, and are kept together or not at all.

        What was written when the block has ended survives a power cut. A write that cannot have
        its locks in time fails.

        Raises:
            Collided: of two writes at once this one lost.
        """

    def stamp(self) -> Hashable:
        """What is another one after anybody has committed, this connection too.

        From any thread, also while another is in a transaction, and without waiting for it. None
        where that cannot be had, or not now.
        """

    def others(self) -> int | None:
        """A number that is another one after anybody else has committed; None where none is cheap.

        What this connection writes itself does not change it.
        """

    def snapshot(self) -> AbstractContextManager[Connection]:
        """A `transaction` that reads for as long as it takes, with pauses of up to 10 minutes."""

    def alone(self) -> AbstractContextManager[Connection]:
        """A `transaction` that writes and that only one process is in at a time.

        It may take as long as it needs.
        """

    def reshaping(self) -> AbstractContextManager[Connection]:
        """As `alone`, for changing tables.

        Raises:
            StoreError: rows refer to what is not there any more; nothing was changed.
        """

    def back_up(self, connection: Connection, revision: str) -> None:
        """Copy all rows to where `erase` finds them, inside `alone`, before they leave a schema."""

    def migrated(self, connection: Connection) -> None:
        """See to what tables need beside their definition, inside `alone`, after a migration."""

    def in_words(self, error: exc.DBAPIError) -> str:
        """What went wrong, and what to do."""

    def forget_deleted(self, *, changed: bool = False) -> None:
        """Remove what deleted rows leave behind, copies from migrations too.

        Args:
            changed: Remove what rows leave behind that were changed or moved, which takes longer.

        Raises:
            StoreError: something is still in the way; says what.
        """

    def close(self) -> None:
        """Release it."""


class Patience:
    """How long a store is waited for.

    Who has waited in vain waits no more than a moment until some time has passed: a few calls
    behind each other must not take a few times as long, for a conversation ends behind them.

    Args:
        timeout: How long is waited as a rule.
        clock: Seconds, rising.
    """

    def __init__(self, timeout: Seconds, *, clock: Callable[[], Seconds] = time.monotonic) -> None:
        self._timeout = timeout
        self._clock = clock
        self._hurries_until = -math.inf

    @property
    def hurries(self) -> bool:
        """Whether the last wait was in vain, not long ago."""
        return self._clock() < self._hurries_until

    @property
    def seconds(self) -> Seconds:
        """How long to wait now."""
        return min(AGAIN, self._timeout) if self.hurries else self._timeout

    def in_vain(self) -> None:
        """A wait has failed."""
        self._hurries_until = self._clock() + self._timeout

    def rewarded(self) -> None:
        """A wait has not failed."""
        self._hurries_until = -math.inf


def open_database(
    url: str | Path,
    *,
    timeout: Seconds,
    key_file: Path | None = None,
    encryption: Encryption | None = None,
) -> Database:
    """The database that a URL names; a path is one of SQLite.

    Args:
        url: `sqlite:///PATH` or `postgresql://USER@HOST/DATABASE`.
        timeout: How long a call waits for others, at most.
        key_file: Where the key to the user ids is; by default beside the file of SQLite, and in
            the home folder for PostgreSQL.
        encryption: Of a file as a whole; what is in it is not looked at here.

    Raises:
        ConfigError: the URL is wrong, or a package is missing.
        StoreError: it cannot be opened.
    """
    from echat_memory import sqlite

    as_file = encryption if encryption is not None and encryption.mode == "file" else None
    parsed = None if isinstance(url, Path) else _parsed(url)
    if parsed is None or parsed.get_backend_name() == "sqlite":
        path = url if isinstance(url, Path) else sqlite.file_of(_parsed(url))
        return sqlite.SQLite(path, timeout=timeout, key_file=key_file, encryption=as_file)
    if as_file is not None:
        raise ConfigError(
            "encrypt = file is for SQLite; for PostgreSQL take encrypt = fields, or have its disk "
            "encrypted"
        )
    try:
        from echat_memory import postgres
    except ImportError as error:
        raise ConfigError(
            'store: PostgreSQL needs a package; run pip install "echat-sdk[postgres]"'
        ) from error
    return postgres.PostgreSQL(postgres.checked(parsed), timeout=timeout, key_file=key_file)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):  # the latter: a port that is no number
        # Without a cause: it repeats the URL, which may hold a password.
        raise ConfigError(f"store: got something else than a URL; {_EXPECTED}") from None
    if parsed.drivername not in ("sqlite", "postgresql", "postgresql+psycopg"):
        raise ConfigError(f"store: got a {parsed.drivername} URL; {_EXPECTED}")
    return parsed
