"""Opening an encrypted store, and encrypting one that is there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, Row, func, insert, inspect, or_, select

from echat_memory import audit, sealing
from echat_memory.database import Database
from echat_memory.keys import Encryption, KeyRing
from echat_memory.schema import Base, EncryptionRow, UserRow
from echat_memory.shares import Shares
from echat_sdk.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from echat_memory.cipher import Cipher

Transact = Callable[[], AbstractContextManager[Connection]]
"""Opens a transaction that writes."""

BATCH = 100
"""Rows that are sealed in one transaction: a conversation waits for no more."""

_MARKER = select(EncryptionRow.mode, EncryptionRow.kek, EncryptionRow.proof)


def find(database: Database, encryption: Encryption | None) -> Cipher | None:
    """The cipher of a store of any schema; None where the store is plain. Writes nothing.

    Args:
        database: The store.
        encryption: Where its keys are; None: somewhere that the caller does not know of.

    Raises:
        ConfigError: a package is missing.
        StoreError: the store is encrypted, and these are not its keys.
    """
    with database.transaction(write=False) as connection:
        marker = _marker(connection)
    return _found(marker, database, encryption)


def _found(
    marker: Row[Any] | None, database: Database, encryption: Encryption | None
) -> Cipher | None:
    name = database.name
    if marker is None:
        return None
    if marker.mode != "fields":
        raise StoreError(f"{name} is being encrypted as a whole; open it with encrypt = file")
    if encryption is None or encryption.mode != "fields":
        raise StoreError(
            f"the words in {name} are encrypted, so nothing was read or written; open it with "
            "encrypt = fields, and its key"
        )
    cipher = _cipher(encryption, database, create=False)
    try:
        cipher.ring.key(marker.kek)
        cipher.check(marker.proof)
        if encryption.accept_plain:
            cipher.accepts_plain = True
    except BaseException:
        cipher.close()
        raise
    return cipher


def begin(database: Database, encryption: Encryption, key: bytes, now: datetime) -> Cipher:
    """Make the keys of a plain store, and mark it as encrypted; its rows are `convert`ed later.

    Args:
        database: The store.
        encryption: Where its keys are to be.
        key: That of the audit log, in which it is written down.
        now: The present moment.

    Raises:
        ConfigError: a package is missing.
        StoreError: the keys cannot be made, or are those of a store that was encrypted already.
    """
    with database.alone() as connection:
        if (found := _found(_marker(connection), database, encryption)) is not None:
            return found  # another process was first
        cipher = _cipher(encryption, database, create=True)
        try:
            if encryption.accept_plain:
                cipher.accepts_plain = True
            is_empty = connection.execute(select(UserRow.id).limit(1)).first() is None
            if not is_empty and not cipher.accepts_plain:
                raise StoreError(
                    f"{database.name} is plain, and yet its shares are those of an encrypted "
                    "store: a copy from before, or somebody's. If you trust it, echat memory "
                    "encrypt --accept-plain encrypts it."
                )
            if is_empty:
                cipher.accepts_plain = False
            connection.execute(insert(EncryptionRow), {"id": 1, **cipher.prove()})
            audit.use(connection, key)
            audit.append(
                connection, who="", actor="host", action="encryption on", detail={}, at=now
            )
        except BaseException:
            cipher.close()
            raise
    return cipher


def convert(transact: Transact, cipher: Cipher) -> int:
    """Seal every row that is plain yet; killed on the way, it goes on from there.

    Returns:
        How many rows were plain.
    """
    if not cipher.accepts_plain:
        return 0
    count = 0
    while found := sum(reseal(transact, cipher, user_id) for user_id in users(transact)):
        count += found  # until a pass finds nothing: others may be writing
    cipher.accepts_plain = False
    return count


def users(transact: Transact) -> list[int]:
    """The ids of all users."""
    with transact() as connection:
        return list(connection.execute(select(UserRow.id).order_by(UserRow.id)).scalars())


def reseal(transact: Transact, cipher: Cipher, user_id: int) -> int:
    """Seal a user's rows with their current key, those that are not; returns how many."""
    return sum(_reseal(transact, cipher, user_id, table) for table in sealing.SEALED)


def left(connection: Connection, user_id: int, head: str) -> bool:
    """Whether a user has a row that is not sealed as `head` says."""
    return any(
        connection.execute(_foreign(table, user_id, head).limit(1)).first() is not None
        for table in sealing.SEALED
    )


def hold(connection: Connection, user_id: int) -> bool:
    """Keep others from writing a user's words in this transaction; whether the user is there."""
    mine = select(UserRow.id).where(UserRow.id == user_id).with_for_update()
    return connection.execute(mine).first() is not None


def _reseal(transact: Transact, cipher: Cipher, user_id: int, table: type[Base]) -> int:
    from echat_memory.cipher import head_of

    count, last = 0, 0
    while True:
        with transact() as connection:
            if not hold(connection, user_id):
                return count
            head = head_of(cipher.current(connection, user_id))
            rows = connection.execute(
                _foreign(table, user_id, head).where(sealing.ROW_ID[table] > last).limit(BATCH)
            ).all()
            for row in rows:
                texts = sealing.words(connection, table, row[0], user_id, row._mapping)
                sealed = sealing.seal(connection, table, row[0], user_id, texts)
                sealing.replace(connection, table, row[0], sealed)
        count += len(rows)
        if len(rows) < BATCH:
            return count
        last = rows[-1][0]


def _foreign(table: type[Base], user_id: int, head: str) -> Any:
    """The rows of a user that are not sealed as `head` says, by id."""
    columns = [getattr(table, name) for name in sealing.SEALED[table]]
    row_id = sealing.ROW_ID[table]
    return (
        select(row_id, *columns)
        .where(
            table.__table__.c.user_id == user_id,
            or_(*(func.substr(column, 1, len(head)) != head for column in columns)),
        )
        .order_by(row_id)
    )


def _marker(connection: Connection) -> Row[Any] | None:
    if not inspect(connection).has_table(EncryptionRow.__tablename__):
        return None
    return cast("Row[Any] | None", connection.execute(_MARKER).one_or_none())


def _cipher(encryption: Encryption, database: Database, *, create: bool) -> Cipher:
    try:
        from echat_memory.cipher import Cipher
    except ImportError as error:
        raise ConfigError(
            'encrypt: fields needs a package; run pip install "echat-sdk[encryption]"'
        ) from error
    key = database.key_file
    ring = KeyRing(encryption.key, key.with_suffix(".kek"))
    ring.load(create=create)
    shares = Shares(encryption.shares or key.with_suffix(".shares"), create=create)
    return Cipher(ring, shares, database.name)
