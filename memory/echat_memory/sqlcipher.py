"""A SQLite file that is encrypted as a whole: SQLCipher, by the extra `[sqlcipher]`.

Every page is encrypted with AES-256 and authenticated, those of the write-ahead log and of copies
before migrations too. The key is the KEK itself, raw, so that opening derives nothing; any
SQLCipher 4 opens the file with `PRAGMA key = "x'HEX'"`. All users hang on that one key: erasing one
of them does not reach backups of the file, as it does where words are sealed user by user.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from echat_memory import durable
from echat_memory.keys import Encryption, KeyRing
from echat_sdk.audio import Seconds
from echat_sdk.errors import ConfigError, StoreError


def driver() -> ModuleType:
    """What takes the place of `sqlite3`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        from sqlcipher3 import dbapi2
    except ImportError as error:
        raise ConfigError(
            'encrypt: file needs a package; run pip install "echat-sdk[sqlcipher]"'
        ) from error
    module: ModuleType = dbapi2
    return module


def unlock(cursor: Any, key: bytes) -> None:
    """Give a new connection its key, before its first statement."""
    cursor.execute("PRAGMA cipher_log_level = NONE")  # to the error stream, past all of ours
    cursor.execute(f"PRAGMA key = {_literal(key)}")
    cursor.execute("PRAGMA cipher_memory_security = ON")  # pages are wiped before they are freed


def open_ring(path: Path, encryption: Encryption, default: Path, *, timeout: Seconds) -> KeyRing:
    """The keys of a file, the one that opens it at hand; a plain store is encrypted first.

    Args:
        path: The file, which is there; it may be empty.
        encryption: Where its key is.
        default: The key file where no source is named.
        timeout: How long other processes that have a plain file open are waited for.

    Raises:
        ConfigError: the package is missing.
        StoreError: no key opens the file, or it cannot be encrypted; it is as it was.
    """
    driver()
    ring = KeyRing(encryption.key, default)
    plain = is_plain(path, timeout)
    if plain:
        _must_be_ours(path)
    ring.load(create=plain or not path.stat().st_size)
    if plain:
        _encrypt(path, ring.key(ring.newest), timeout)
    for backup in _backups(path):
        if is_plain(backup, timeout):  # a kill kept it from being deleted
            backup.unlink()
    return ring


def key_of(path: Path, ring: KeyRing) -> bytes:
    """The key in a ring that opens a file; the newest for an empty one.

    Raises:
        StoreError: none does.
    """
    module = driver()
    for key_id in ring.ids:
        key = ring.key(key_id)
        with closing(module.connect(path)) as connection:
            unlock(connection, key)
            try:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            except module.Error as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_NOTADB:
                    raise
                continue
            return key
    raise StoreError(
        f"the key that was given does not open {path}, so nothing was read or written: it is "
        "another store's, or this is no encrypted store. Give the store its own key."
    )


def change(connection: Any, key: bytes) -> None:
    """Encrypt the file anew with another key, in one transaction."""
    connection.execute(f"PRAGMA rekey = {_literal(key)}")


def is_plain(path: Path, timeout: Seconds) -> bool:
    """Whether a file is a database that anybody can read, or that is locked; an empty one is none.

    Asked of the library: to open and close it ourselves would take the locks from whoever has it
    open in this process.
    """
    if not path.stat().st_size:
        return False
    module = driver()
    with closing(module.connect(path, timeout=timeout)) as connection:
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except module.Error as error:
            code = error.sqlite_errorcode & 0xFF
            if code not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_BUSY):
                raise
            return bool(code == sqlite3.SQLITE_BUSY)
    return True


def _literal(key: bytes) -> str:
    return f"\"x'{key.hex()}'\""


def _must_be_ours(path: Path) -> None:
    with closing(driver().connect(path)) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        if tables and "alembic_version" not in tables:
            raise StoreError(f"{path} is a database of another program; it is not encrypted")
        if "encryption" in tables:
            modes = {row[0] for row in connection.execute("SELECT mode FROM encryption")}
            if "fields" in modes:
                raise StoreError(
                    f"the words in {path} are encrypted; open it with encrypt = fields, and its key"
                )


def _encrypt(path: Path, key: bytes, timeout: Seconds) -> None:
    """Put an encrypted copy in the place of a plain file.

    Killed on the way, the file is either of the two, whole. Nobody else may have it open: they
    would go on writing into what is no longer the store.
    """
    fresh = path.with_name(path.name + ".part")
    with _alone(path, timeout) as connection:
        if not is_plain(path, 0):
            return  # another process was first
        fresh.unlink(missing_ok=True)
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL, 0o600))
        connection.execute(f"ATTACH DATABASE ? AS fresh KEY {_literal(key)}", (str(fresh),))
        connection.execute("SELECT sqlcipher_export('fresh')").fetchall()
        marked = connection.execute(
            "SELECT 1 FROM sqlite_master WHERE name = 'encryption'"
        ).fetchone()
        if marked:
            connection.execute("DELETE FROM fresh.encryption")
        connection.execute("PRAGMA fresh.journal_mode = WAL").fetchall()
        connection.execute("DETACH DATABASE fresh")
        durable.sync(fresh)
        if marked:  # a process that opens the old file before it is gone must not write into it
            connection.execute("INSERT OR REPLACE INTO encryption VALUES (1, 'file', '', '')")
        fresh.replace(path)
        durable.sync(path.parent)
    for backup in _backups(path):
        backup.unlink()


def _backups(path: Path) -> list[Path]:
    return list(path.parent.glob(f"{path.name}.before-*.bak*"))


@contextmanager
def _alone(path: Path, timeout: Seconds) -> Iterator[Any]:
    """A connection to a plain file that nobody else has open, nor can use while this is."""
    module = driver()
    with closing(module.connect(path, timeout=timeout, isolation_level=None)) as connection:
        try:
            # Not DELETE: who holds the lock for good leaves a journal there, with what was plain.
            (mode,) = connection.execute("PRAGMA journal_mode = TRUNCATE").fetchone()
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")
        except module.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            mode = "busy"
        if mode != "truncate":
            with suppress(module.Error):
                connection.execute("PRAGMA journal_mode = WAL").fetchall()
            raise StoreError(
                f"another process has {path} open, so it was not encrypted; stop it and try again"
            )
        yield connection
