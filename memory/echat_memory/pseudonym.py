"""Whose rows these are: the host's user id, as a keyed hash.

The key is a file, never in the database. Whoever gets only the database cannot tell whose rows it
holds, nor match them to another store's. Without the key a known user cannot be found again, so
back both files up.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import func, insert, select

from echat_memory import audit, durable
from echat_memory.schema import KeyCheckRow, UserRow
from echat_sdk.errors import StoreError

if TYPE_CHECKING:
    from echat_memory.database import Database

KEY_BYTES = 32

_KNOWN = select(KeyCheckRow.fingerprint)
_COUNT = select(func.count()).select_from(UserRow)


def key_of(database: Database, now: datetime, *, migrated_from: str | None = None) -> bytes:
    """The key of a store; made where there is none, if the store was never used.

    With it the audit log begins.

    The store knows its key's fingerprint: another store's, or another machine's, is refused before
    it makes a stranger of everybody.

    Raises:
        StoreError: the key is missing, damaged or another store's.
    """
    path = database.key_file
    with database.transaction(write=False) as connection:
        known = connection.execute(_KNOWN).scalar_one_or_none()
    if known is None:
        with database.alone() as connection:
            known = connection.execute(_KNOWN).scalar_one_or_none()
            if known is None:
                if not path.exists() and not connection.execute(_COUNT).scalar_one():
                    create_key(path)
                key = read_key(path)
                known = fingerprint(key)
                connection.execute(insert(KeyCheckRow).values(id=1, fingerprint=known))
                audit.use(connection, key)
                audit.append(
                    connection,
                    who="",
                    actor=audit.STORE,
                    action="log begins",
                    detail={} if migrated_from is None else {"migrated_from": migrated_from},
                    at=now,
                )
    key = read_key(path)
    if fingerprint(key) != known:
        raise StoreError(
            f"{path} is the key of another store than {database.name}. Put the right one there, "
            "from a backup or from another machine with this store."
        )
    return key


def pseudonym(key: bytes, user: str) -> str:
    """HMAC-SHA256 of a user id, as 64 hex digits. Any length, any characters."""
    return hmac.digest(key, user.encode("utf-8", "surrogatepass"), "sha256").hex()


def fingerprint(key: bytes) -> str:
    """What tells this key from others and gives nothing of it away: 16 hex digits."""
    # No user id has these bytes: 0xff is in no UTF-8.
    return hmac.new(key, b"\xffwhich key", hashlib.sha256).hexdigest()[:16]


def create_key(path: Path) -> None:
    """Write a new key, readable by its owner only; a key that is there is left alone.

    The file appears whole or not at all, and only one of two processes makes it.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        durable.make_folder(path.parent)
        _create_key(path)
    except OSError as error:
        raise StoreError(f"cannot write the store's key {path}: {error.strerror}") from error


def _create_key(path: Path) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.link(fresh, path)
        durable.sync(path.parent)  # a store outlives its key else
    except FileExistsError:
        pass  # the other process was first, and its key counts
    finally:
        fresh.unlink()


def read_key(path: Path) -> bytes:
    """The key of a store.

    Raises:
        StoreError: it is missing or damaged.
    """
    try:
        key = path.read_bytes()
    except FileNotFoundError as error:
        raise StoreError(
            f"{path} is missing: it is the key to the user ids in the store. Put it back from a "
            "backup or from another machine with this store, or start a new store."
        ) from error
    except OSError as error:
        raise StoreError(f"cannot read the store's key {path}: {error.strerror}") from error
    if len(key) != KEY_BYTES:
        raise StoreError(
            f"{path} has {len(key)} bytes, a key has {KEY_BYTES}. Put it back from a backup."
        )
    return key
