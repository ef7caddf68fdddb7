"""All that is SQLite's own: opening a file, transactions, copies, real deletion, its errors."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, exc
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.engine.url import URL
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from echat_memory import durable, sqlcipher
from echat_memory.database import OPENING, Patience
from echat_memory.keys import Encryption, KeyRing
from echat_memory.watching import Stamp, Watch
from echat_sdk.audio import Seconds
from echat_sdk.errors import ConfigError, StoreError

_json = json.JSONDecoder()

PRAGMAS = (
    "foreign_keys = ON",
    # A commit that returned survives a power cut. FULL is less where there is no write-ahead log,
    # as in the file of shares: a journal whose removal was not synced undoes the commit.
    "synchronous = EXTRA",
    "secure_delete = ON",  # deleted rows are overwritten, not only unlinked
)


def file_of(url: URL) -> Path:
    """The database file that a URL (`sqlite:////srv/echat.db`) names.

    Raises:
        ConfigError: it names none.
    """
    if url.database in (None, "", ":memory:"):
        raise ConfigError("store: got a SQLite URL without a file; expected sqlite:///PATH")
    path = Path(str(url.database)).expanduser()
    if not path.name:
        raise ConfigError("store: got a SQLite URL of a folder; expected sqlite:///PATH")
    return path


def create_file(path: Path) -> None:
    """Make sure that the file is there and writable; new ones are for their owner only.

    Raises:
        StoreError: it cannot be made or written, or is not a file.
    """
    try:
        durable.make_folder(path.parent)
        if path.is_dir():
            raise IsADirectoryError
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            # Not opened to see: to close it again would take the locks from whoever has it open
            # in this process, and another process could then remove the log beneath them.
            if not os.access(path, os.R_OK | os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None
    except IsADirectoryError as error:
        raise StoreError(
            f"{path} is a directory; the store is a file, such as {path}/echat.db"
        ) from error
    except OSError as error:
        raise StoreError(
            f"cannot open the store {path} for writing: {error.strerror}. "
            "Check its permissions, or set another place with --store or ECHAT_STORE."
        ) from error


def connect(path: Path, *, busy_timeout: Seconds, key: bytes | None = None) -> Connection:
    """Open the file. One connection, whose transactions begin only with `transaction`.

    Args:
        path: The file.
        busy_timeout: How long another process that writes is waited for.
        key: Of a file that is encrypted as a whole.
    """
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        module=None if key is None else sqlcipher.driver(),
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
        if key is not None:
            sqlcipher.unlock(cursor, key)
        for pragma in PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine.connect()


def _read_json(text: str) -> object:
    """JSON that we wrote: no white space around it, for which `json.loads` looks twice."""
    return _json.raw_decode(text)[0]


@contextmanager
def transaction(connection: Connection, *, write: bool) -> Iterator[None]:
    """All statements inside see one state, and are kept together or not at all.

    A write takes its lock at once: a read that turns into a write could fail half way.
    """
    driver: Any = connection.connection.driver_connection
    try:
        with connection.begin():
            # Straight to the driver, past 60 µs of SQLAlchemy.
            cursor = driver.cursor()
            cursor.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            cursor.close()
            yield
    except BaseException:
        # A commit that failed may leave its transaction open, and nobody could begin another.
        if driver.in_transaction:
            driver.rollback()
        raise


class SQLite:
    """`Database` in a file, which is made where it is missing.

    Args:
        path: The file.
        timeout: How long another process that writes is waited for.
        key_file: The key to the user ids; by default `FILE.key` beside it.
        encryption: Of the file as a whole.
        clock: Seconds, rising.

    Attributes:
        was_plain: Whether it was a plain file until it was opened here.

    Raises:
        ConfigError: a package is missing.
        StoreError: it cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        timeout: Seconds,
        key_file: Path | None = None,
        encryption: Encryption | None = None,
        clock: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        self.path = path
        self._ring: KeyRing | None = None
        self._file_key: bytes | None = None
        self.was_plain = False
        self._key_file = key_file or path.with_name(path.name + ".key")
        self._names = (str(path), f"{path}-wal")  # of the file and of its log
        self._patience = Patience(timeout, clock=clock)
        create_file(path)
        with plain_errors(path):
            if encryption is not None:
                kek = self._key_file.with_suffix(".kek")
                self.was_plain = sqlcipher.is_plain(path, timeout)
                self._ring = sqlcipher.open_ring(path, encryption, kek, timeout=timeout)
                self._file_key = sqlcipher.key_of(path, self._ring)
            self._connection = connect(path, busy_timeout=OPENING, key=self._file_key)
        self._watch = Watch(path, self._file_key)
        self._waits: Seconds = OPENING  # as the connection was told last
        self._files: dict[str, tuple[int, int]] = {}  # the ones that it has open

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def connection(self) -> Connection:
        """To the file."""
        return self._connection

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[Connection]:
        """See `Database.transaction`. Reading waits for nobody."""
        with plain_errors(self.path):
            self._must_be_in_place()
            if not write:
                with transaction(self._connection, write=False):
                    yield self._connection
                return
            self._wait_for(self._patience.seconds)
            try:
                with transaction(self._connection, write=True):
                    self._patience.rewarded()
                    yield self._connection
            except _errors() as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                    self._patience.in_vain()
                raise

    def stamp(self) -> Stamp | None:
        """See `Database.stamp`."""
        return self._watch.stamp()

    def others(self) -> int:
        """See `Database.others`."""
        with plain_errors(self.path):
            # Straight to the driver: it is asked at every call.
            driver = self._connection.connection.driver_connection
            assert driver is not None
            (version,) = driver.execute("PRAGMA data_version").fetchone()
        return int(version)

    def snapshot(self) -> AbstractContextManager[Connection]:
        """See `Database.snapshot`: here any read may take its time."""
        return self.transaction(write=False)

    @property
    def key_file(self) -> Path:
        """Beside the file."""
        return self._key_file

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """See `Database.alone`: whoever writes is. From then on no reader waits for a writer."""
        with plain_errors(self.path):
            self._wait_for(OPENING)
            with self._connection.begin():
                self._connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            with transaction(self._connection, write=True):
                yield self._connection

    @contextmanager
    def reshaping(self) -> Iterator[Connection]:
        """See `Database.reshaping`.

        A table is altered by making it anew: what refers to it, itself included, dangles meanwhile.
        """
        driver: Any = self._connection.connection.driver_connection
        with plain_errors(self.path):
            driver.execute("PRAGMA foreign_keys = OFF")  # means nothing within a transaction
        try:
            with self.alone() as connection:
                yield connection
                if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                    raise StoreError(
                        f"rows of {self.path} refer to rows that are not there; put it back from a "
                        "backup"
                    )
        finally:
            driver.execute("PRAGMA foreign_keys = ON")

    def back_up(self, connection: Connection, revision: str) -> None:
        """Copy the file beside itself."""
        copy(self.path, backup_of(self.path, revision), self._file_key)

    def migrated(self, connection: Connection) -> None:
        """Nothing to see to."""

    def in_words(self, error: exc.DBAPIError) -> str:
        """See `Database.in_words`."""
        return in_words(self.path, error)

    def forget_deleted(self, *, changed: bool = False) -> None:
        """Empty the write-ahead log, and remove the copies from migrations."""
        try:
            if changed:
                # Rows move as others grow or go; `secure_delete` leaves what they were in gaps.
                self._wait_for(OPENING)
                cursor = self._connection.connection.cursor()
                cursor.execute("VACUUM")
                cursor.close()
                self._connection.rollback()
            forget_deleted(self._connection, self.path)
        except _errors() as error:
            raise _left_behind(in_words(self.path, error)) from error
        except OSError as error:
            raise _left_behind(f"cannot write beside {self.path}: {error.strerror}") from error

    def rekey(self) -> None:
        """Encrypt the file, which is as a whole, with a newer key.

        Killed on the way, the file opens with one of the two, and both are kept until it has ended.
        Other processes that have it open must open it again.

        Raises:
            StoreError: it is not encrypted as a whole, no newer key was given, or others use it.
        """
        if self._ring is None:
            raise StoreError(f"{self.path} is not encrypted as a whole: encrypt = file does that")
        self._ring.make_next()
        with plain_errors(self.path):
            self._wait_for(OPENING)
            key = self._ring.key(self._ring.newest)
            driver = self._connection.connection.driver_connection
            self._watch.close()  # it has the old key
            try:
                sqlcipher.change(driver, key)
                self._connection.rollback()
                self._file_key = key
            finally:
                self._watch.use(self._file_key)
            forget_deleted(self._connection, self.path)
        self._ring.drop_old()

    def close(self) -> None:
        """Close the file. May be called twice."""
        self._watch.close()
        self._connection.close()

    def _must_be_in_place(self) -> None:
        """A file that was removed or replaced takes what is written, and nobody finds it again.

        Raises:
            StoreError: it was, or its log.
        """
        for path in self._names:
            try:
                found = os.stat(path)
            except FileNotFoundError:
                if path not in self._files:
                    continue  # there is no log yet
                found = None
            if found is None or self._files.setdefault(path, _which(found)) != _which(found):
                raise StoreError(
                    f"{path} was removed or replaced while the store was open, so nothing is read "
                    "or written; put it back, or open the store again"
                )

    def _wait_for(self, seconds: Seconds) -> None:
        if seconds != self._waits:
            with self._connection.begin():
                milliseconds = round(seconds * 1000)
                self._connection.exec_driver_sql(f"PRAGMA busy_timeout = {milliseconds}")
            self._waits = seconds


def _which(file: os.stat_result) -> tuple[int, int]:
    """What tells a file from another that has its name."""
    return file.st_dev, file.st_ino


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Say in words what SQLite says in codes.

    Raises:
        StoreError: any error of the database or of the files beside it.
    """
    try:
        yield
    except _errors() as error:
        raise StoreError(in_words(path, error)) from error
    except OSError as error:
        raise StoreError(f"cannot write beside the store {path}: {error.strerror}") from error


def _errors() -> tuple[type[Exception], ...]:
    """The drivers' errors; SQLCipher's has a class of its own for what is in all else the same."""
    loaded = sys.modules.get("sqlcipher3.dbapi2")
    return (exc.DBAPIError, sqlite3.Error) + (() if loaded is None else (loaded.Error,))


def in_words(path: Path, error: Exception) -> str:
    """What went wrong with the store, and what to do. Without what was to be written."""
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    code: int = getattr(cause, "sqlite_errorcode", 0)
    match code & 0xFF:  # what is above tells apart kinds of the same error
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"the store {path} is locked by another process; try again when it has finished"
        case sqlite3.SQLITE_FULL:
            return f"no space is left for the store {path}, so nothing was written; free some space"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return f"the store {path} is read-only; check its permissions"
        case sqlite3.SQLITE_NOTADB:
            return (
                f"{path} is not a database, or it is encrypted as a whole, and not with the key it "
                "was opened with; give another path or key (encrypt = file), or move it away"
            )
        case sqlite3.SQLITE_CORRUPT:
            return f"the store {path} is damaged; put it back from a backup"
        case sqlite3.SQLITE_CANTOPEN:
            return f"cannot open the store {path}; check that its directory exists and is writable"
        case sqlite3.SQLITE_IOERR:
            return f"reading or writing the store {path} failed; check the disk"
    return f"the store {path} refused a statement (SQLite error {code})"


def _left_behind(why: str) -> StoreError:
    return StoreError(
        f"the rows are deleted, but what they leave behind is not removed yet: {why}; then erase "
        "again"
    )


def copy(path: Path, to: Path, key: bytes | None = None) -> None:
    """Copy a store as it is at this moment, even while another connection holds the write lock.

    The copy of a file that is encrypted as a whole has the same key.
    """
    driver = sqlite3 if key is None else sqlcipher.driver()
    fresh = to.with_name(to.name + ".part")
    fresh.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_CREAT | os.O_EXCL, 0o600))
    with closing(driver.connect(path)) as source, closing(driver.connect(fresh)) as target:
        if key is not None:
            sqlcipher.unlock(source, key)
            sqlcipher.unlock(target, key)
        source.backup(target)
    fresh.replace(to)
    durable.sync(to.parent)


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
    durable.sync(path.parent)
    with connection.begin():
        # Most of the work first in a way that no writer waits for.
        connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
        busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar_one()
    if busy:
        raise StoreError(
            f"the rows are deleted, but another process is reading {path} and keeps old pages "
            "alive; stop it and erase again"
        )
    # The library empties the log and does not wait for it: a power cut would bring it back, whole.
    log = path.with_name(path.name + "-wal")
    if log.exists():
        durable.sync(log)
