"""All that is SQLite's own: opening a file, transactions, copies, real deletion, its errors."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, create_engine, event, exc
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.engine.url import URL, make_url
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from echat_sdk.audio import Seconds
from echat_sdk.errors import ConfigError, StoreError

_json = json.JSONDecoder()

PRAGMAS = (
    "foreign_keys = ON",
    "synchronous = FULL",  # a commit that returned survives a power cut
    "secure_delete = ON",  # deleted rows are overwritten, not only unlinked
)


OPENING: Seconds = 5.0
"""How long an older store waits for another process that migrates it; a copy of all comes first."""

AGAIN: Seconds = 0.2
"""How long is waited for the write lock once it has been waited for in vain."""


def file_of(url: str | Path) -> Path:
    """The database file that a URL (`sqlite:////srv/echat.db`) or a path names.

    Raises:
        ConfigError: not a SQLite file.
    """
    if isinstance(url, Path):
        return url
    try:
        parsed = make_url(url)
    except exc.ArgumentError as error:
        raise ConfigError(
            "store: got something else than a URL; expected sqlite:///PATH"
        ) from error
    if parsed.get_backend_name() != "sqlite":
        raise ConfigError(f"store: got a {parsed.drivername} URL; expected sqlite:///PATH")
    if parsed.database in (None, "", ":memory:"):
        raise ConfigError("store: got a SQLite URL without a file; expected sqlite:///PATH")
    path = Path(str(parsed.database)).expanduser()
    if not path.name:
        raise ConfigError("store: got a SQLite URL of a folder; expected sqlite:///PATH")
    return path


def create_file(path: Path) -> None:
    """Make sure that the file is there and writable; new ones are for their owner only.

    Raises:
        StoreError: it cannot be made or written, or is not a file.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except IsADirectoryError as error:
        raise StoreError(
            f"{path} is a directory; the store is a file, such as {path}/echat.db"
        ) from error
    except OSError as error:
        raise StoreError(
            f"cannot open the store {path} for writing: {error.strerror}. "
            "Check its permissions, or set another place with --store or ECHAT_STORE."
        ) from error


def connect(path: Path, *, busy_timeout: Seconds) -> Connection:
    """Open the file. One connection, whose transactions begin only with `transaction`."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=NullPool,
        hide_parameters=True,  # what people said must not reach an error message
        json_deserializer=_read_json,
        connect_args={
            "timeout": busy_timeout,
            "isolation_level": None,
            "check_same_thread": False,  # the caller sees to one thread at a time
        },
    )

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine.connect()


def _read_json(text: str) -> object:
    """JSON that we wrote: no white space around it, for which `json.loads` looks twice."""
    return _json.raw_decode(text)[0]


def write_ahead(connection: Connection) -> None:
    """Switch the file to WAL, where readers and the writer do not wait for each other."""
    with connection.begin():
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")


@contextmanager
def transaction(connection: Connection, *, write: bool) -> Iterator[None]:
    """All statements inside see one state, and are kept together or not at all.

    A write takes its lock at once: a read that turns into a write could fail half way.
    """
    with connection.begin():
        # Straight to the driver, past 60 µs of SQLAlchemy.
        cursor = connection.connection.cursor()
        cursor.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        cursor.close()
        yield


class WriteLock:
    """The lock of the file's one writer, and how long it is waited for.

    Who has waited in vain waits no more than a moment until some time has passed: a few writes
    behind each other must not take a few times as long, for a conversation ends behind them.

    Args:
        connection: To the file.
        timeout: How long another process that writes is waited for.
        clock: Seconds, rising.
    """

    def __init__(
        self,
        connection: Connection,
        timeout: Seconds,
        *,
        clock: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._timeout = timeout
        self._clock = clock
        self._waits: Seconds | None = None  # as the connection was told last
        self._hurries_until = -math.inf

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A `transaction` that writes.

        Raises:
            sqlite3.OperationalError: the lock did not become free in time; nothing was written.
        """
        hurries = self._clock() < self._hurries_until
        self._wait_for(min(AGAIN, self._timeout) if hurries else self._timeout)
        try:
            with transaction(self._connection, write=True):
                self._hurries_until = -math.inf
                yield
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                self._hurries_until = self._clock() + self._timeout
            raise

    def _wait_for(self, seconds: Seconds) -> None:
        if seconds != self._waits:
            with self._connection.begin():
                milliseconds = round(seconds * 1000)
                self._connection.exec_driver_sql(f"PRAGMA busy_timeout = {milliseconds}")
            self._waits = seconds


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Say in words what SQLite says in codes.

    Raises:
        StoreError: any database error inside.
    """
    try:
        yield
    except (exc.DBAPIError, sqlite3.Error) as error:
        raise StoreError(in_words(path, error)) from error


def in_words(path: Path, error: exc.DBAPIError | sqlite3.Error) -> str:
    """What went wrong with the store, and what to do. Without what was to be written."""
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    code: int = getattr(cause, "sqlite_errorcode", 0)
    match code & 0xFF:  # what is above tells apart kinds of the same error
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"the store {path} is locked by another process; try again when it has finished"
        case sqlite3.SQLITE_FULL:
            return f"no space is left for the store {path}; nothing was written. Free some space."
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return f"the store {path} is read-only; check its permissions"
        case sqlite3.SQLITE_NOTADB:
            return f"{path} is not a database; give another path, or move this file away"
        case sqlite3.SQLITE_CORRUPT:
            return f"the store {path} is damaged; put it back from a backup"
        case sqlite3.SQLITE_CANTOPEN:
            return f"cannot open the store {path}; check that its directory exists and is writable"
        case sqlite3.SQLITE_IOERR:
            return f"reading or writing the store {path} failed; check the disk"
    return f"the store {path} refused a statement (SQLite error {code})"


def copy(path: Path, to: Path) -> None:
    """Copy a store as it is at this moment, even while another connection holds the write lock."""
    fresh = to.with_name(to.name + ".part")
    fresh.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(fresh)) as target:
        source.backup(target)
    fresh.replace(to)


def backup_of(path: Path, revision: str) -> Path:
    """Where the copy goes that is made before a store leaves a revision."""
    return path.with_name(f"{path.name}.before-{revision}.bak")


def forget_deleted(connection: Connection, path: Path) -> None:
    """Remove what deleted rows leave behind: the write-ahead log and copies from migrations.

    Raises:
        StoreError: another process is reading the log, so it cannot be emptied yet.
    """
    for backup in path.parent.glob(f"{path.name}.before-*.bak*"):
        backup.unlink()
    with connection.begin():
        # Most of the work first in a way that no writer waits for.
        connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
        busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar_one()
    if busy:
        raise StoreError(
            f"the rows are deleted, but another process is reading {path} and keeps old pages "
            "alive; stop it and erase again"
        )
