"""New keys for old ones. Killed at any point, every row stays readable; done again, it goes on."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, bindparam, delete, func, select, update

from echat_memory import audit
from echat_memory.encrypting import BATCH, Transact, hold, left, reseal
from echat_memory.schema import EncryptionRow, KeyRow, UserRow
from echat_sdk.errors import StoreError

if TYPE_CHECKING:
    from echat_memory.cipher import Cipher

_RETIRED = select(KeyRow.id).where(
    KeyRow.user_id == bindparam("user"), KeyRow.is_current.is_(False)
)
_RETIRE = update(KeyRow).where(KeyRow.user_id == bindparam("user")).values(is_current=False)
_WHO = select(UserRow.pseudonym).where(UserRow.id == bindparam("user"))
_DROP = delete(KeyRow).where(KeyRow.user_id == bindparam("user"), KeyRow.is_current.is_(False))


def rotate(transact: Transact, cipher: Cipher, user_id: int, now: datetime) -> int:
    """Give a user a new key: all their words are sealed with it, then the old one is deleted.

    Where a rotation was cut short, it is ended, and no other is begun.

    Returns:
        How many rows were sealed anew.
    """
    from echat_memory.cipher import head_of

    with transact() as connection:
        if not hold(connection, user_id):
            return 0
        cipher.current(connection, user_id)
        if connection.execute(_RETIRED, {"user": user_id}).first() is None:
            connection.execute(_RETIRE, {"user": user_id})
            cipher.make(connection, user_id)
    count = 0
    while True:
        count += reseal(transact, cipher, user_id)
        with transact() as connection:
            if not hold(connection, user_id):
                return count
            if not left(connection, user_id, head_of(cipher.current(connection, user_id))):
                connection.execute(_DROP, {"user": user_id})
                who = connection.execute(_WHO, {"user": user_id}).scalar_one()
                tell(connection, who, "key rotated", now)
                return count


def rotate_kek(transact: Transact, cipher: Cipher, now: datetime) -> int:
    """Wrap every user's key with a new KEK; no word is sealed anew.

    A KEK in a file is made here, and takes the old one's place at the end. One from elsewhere is
    given by whoever keeps it, before the old one.

    Returns:
        How many keys were wrapped anew.

    Raises:
        StoreError: no newer KEK was given.
    """
    cipher.ring.make_next()
    with transact() as connection:
        # From here on all processes wrap with the new one.
        connection.execute(update(EncryptionRow).values(cipher.prove()))
        tell(connection, "", "KEK rotated", now)
    count = 0
    wrapped = func.substr(KeyRow.wrapped, 1, len(f"kek1:{cipher.ring.newest}"))
    old = (
        select(KeyRow.id, KeyRow.user_id, KeyRow.wrapped)
        .where(wrapped != f"kek1:{cipher.ring.newest}", KeyRow.id > bindparam("last"))
        .order_by(KeyRow.id)
        .limit(BATCH)
        .with_for_update()
    )
    last = 0
    while True:
        with transact() as connection:
            rows = connection.execute(old, {"last": last}).all()
            for row in rows:
                if not cipher.is_destroyed(row.user_id):  # erased, and only in part
                    cipher.rewrap(connection, row.id, row.user_id, row.wrapped)
                    count += 1
        if not rows:
            break
        last = rows[-1].id
    cipher.ring.drop_old()
    return count


def tell(connection: Connection, who: str, action: str, now: datetime) -> None:
    """Write down that a key is new, in the transaction that makes it so."""
    audit.append(connection, who=who, actor="host", action=action, detail={}, at=now)


def must_be(cipher: Cipher | None, name: str) -> Cipher:
    """The cipher of a store that is encrypted.

    Raises:
        StoreError: it is not.
    """
    if cipher is None:
        raise StoreError(f"the words in {name} are not encrypted; echat memory encrypt does that")
    return cipher
