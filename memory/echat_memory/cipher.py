"""Words sealed with AES-256-GCM, under a key of their user's. Needs the extra `[encryption]`.

A sealed text is `echat1:` and base64 of key id (6 bytes), nonce (12), ciphertext, tag (16). It is
bound to its table, column, row and user: moved elsewhere, or changed by a bit, it does not open.
Its length is that of the text; who sees the store sees how much was said.

A user's key lies in `user_keys`, wrapped with a key derived from the KEK and the user's share.
Nonces are random, which is safe for 2^32 texts a key: at one a second, 136 years.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Connection, bindparam, insert, select, update

from echat_memory.keys import KeyRing
from echat_memory.schema import EncryptionRow, KeyRow
from echat_memory.shares import Shares
from echat_sdk.errors import StoreError

PREFIX = "echat1:"
KID_BYTES, NONCE_BYTES, TAG_BYTES = 6, 12, 16
PREFIX_LENGTH = len(PREFIX) + KID_BYTES * 8 // 6
"""Characters of a sealed text that tell its key: six bytes are eight of base64."""

_WRAPPED = "kek1"
_MAX_KEYS = 4096  # in RAM, some hundred bytes each
_STORE = 0

_CURRENT = select(KeyRow.id, KeyRow.wrapped).where(
    KeyRow.user_id == bindparam("user"), KeyRow.is_current
)
_KEY = select(KeyRow.user_id, KeyRow.wrapped).where(KeyRow.id == bindparam("key"))
_ANY = select(KeyRow.id).where(KeyRow.user_id == bindparam("user")).limit(1)
_INSERT = insert(KeyRow).returning(KeyRow.id)
_WRAP = update(KeyRow).where(KeyRow.id == bindparam("key")).values(wrapped=bindparam("new_wrapped"))
# Who wraps a key holds this row, so that a KEK is not replaced meanwhile.
_MARKER = select(EncryptionRow.mode, EncryptionRow.kek, EncryptionRow.proof).with_for_update(
    read=True
)


@dataclass(frozen=True, slots=True)
class _Key:
    """A user's key; `wrapped` as the store has it, for an id may come again after a rollback."""

    user_id: int
    wrapped: str
    aead: AESGCM


class Cipher:
    """Seals and opens one store's words.

    Args:
        ring: The KEKs.
        shares: What each user's key needs beside them.
        name: The store, for messages.
    """

    def __init__(self, ring: KeyRing, shares: Shares, name: str) -> None:
        self.ring = ring
        self.shares = shares
        self._name = name
        self._accepts_plain = not shares.is_converted
        self._keys: dict[int, _Key] = {}

    @property
    def accepts_plain(self) -> bool:
        """Whether the store is still being encrypted, so that a row may be plain."""
        return self._accepts_plain

    @accepts_plain.setter
    def accepts_plain(self, value: bool) -> None:
        self.shares.is_converted = not value
        self._accepts_plain = value

    def seal(
        self,
        connection: Connection,
        table: str,
        row_id: int,
        user_id: int,
        texts: Mapping[str, str],
    ) -> dict[str, str]:
        """Columns of a row, sealed with the current key of its user, inside a transaction.

        A user without a key is given one.
        """
        kid = self.current(connection, user_id)
        key, head = self._keys[kid].aead, kid.to_bytes(KID_BYTES, "big")
        sealed = {}
        for column, text in texts.items():
            nonce = os.urandom(NONCE_BYTES)
            body = key.encrypt(nonce, text.encode(), _place(table, column, row_id, user_id))
            sealed[column] = PREFIX + base64.b64encode(head + nonce + body).decode()
        return sealed

    def open(
        self,
        connection: Connection,
        table: str,
        row_id: int,
        user_id: int,
        texts: Mapping[str, str],
    ) -> dict[str, str]:
        """Columns of a row as they were written.

        Raises:
            StoreError: they were not written there, or the user's key is destroyed.
        """
        return {
            column: self._open(connection, text, table, column, row_id, user_id)
            for column, text in texts.items()
        }

    def current(self, connection: Connection, user_id: int) -> int:
        """The id of the key that a user's words are sealed with now; one is made where none is.

        Always asked of the store: another process may have changed it.
        """
        row = connection.execute(_CURRENT, {"user": user_id}).one_or_none()
        if row is None:
            if connection.execute(_ANY, {"user": user_id}).first() is not None:
                raise self._damaged("user_keys", "is_current")
            self.shares.make(user_id)
            return self.make(connection, user_id)
        held = self._keys.get(row.id)
        if held is None or held.wrapped != row.wrapped:
            self._keep(row.id, user_id, row.wrapped)
        return int(row.id)

    def make(self, connection: Connection, user_id: int) -> int:
        """Give a user, who has a share, a new current key; returns its id."""
        key = AESGCM.generate_key(256)
        columns = {
            "user_id": user_id,
            "wrapped": "",
            "created_at": datetime.now(UTC),
            "is_current": True,
        }
        kid = int(connection.execute(_INSERT, columns).scalar_one())
        wrapped = self._wrap(connection.execute(_MARKER).one().kek, kid, user_id, key)
        connection.execute(_WRAP, {"key": kid, "new_wrapped": wrapped})
        self._keep(kid, user_id, wrapped)
        return kid

    def rewrap(self, connection: Connection, kid: int, user_id: int, wrapped: str) -> None:
        """Wrap a key with the KEK that the store names now."""
        key = self._unwrap(kid, user_id, wrapped)
        again = self._wrap(connection.execute(_MARKER).one().kek, kid, user_id, key)
        connection.execute(_WRAP, {"key": kid, "new_wrapped": again})

    def forget(self, user_id: int) -> None:
        """Destroy what a user's keys need: from here on nothing opens their words, in any copy."""
        self.shares.destroy(user_id)
        self._keys = {kid: held for kid, held in self._keys.items() if held.user_id != user_id}

    def is_destroyed(self, user_id: int) -> bool:
        """Whether nothing opens the words of a user who has a key."""
        return self.shares.of(user_id) is None

    def prove(self) -> dict[str, str]:
        """The marker of a store that is sealed under the newest KEK."""
        return {
            "mode": "fields",
            "kek": self.ring.newest,
            "proof": self._wrap(self.ring.newest, _STORE, _STORE, bytes(32)),
        }

    def check(self, proof: str) -> None:
        """Make sure that KEK and shares are those of this store.

        Raises:
            StoreError: one of them is another's; says which.
        """
        self._unwrap(_STORE, _STORE, proof)

    def close(self) -> None:
        """Drop the keys. The interpreter may keep copies; nothing is promised of RAM."""
        self._keys.clear()
        self.shares.close()

    def _open(
        self,
        connection: Connection,
        text: str,
        table: str,
        column: str,
        row_id: int,
        user_id: int,
    ) -> str:
        if not text.startswith(PREFIX):
            if self._accepts_plain:
                return text
            raise StoreError(
                f"{self._name} is encrypted, and yet a value of {table}.{column} is plain: "
                "somebody may have put it there. If not, echat memory encrypt --accept-plain "
                "encrypts it."
            )
        try:
            data = base64.b64decode(text[len(PREFIX) :], validate=True)
        except (binascii.Error, ValueError):
            raise self._damaged(table, column) from None
        if len(data) < KID_BYTES + NONCE_BYTES + TAG_BYTES:
            raise self._damaged(table, column)
        kid = int.from_bytes(data[:KID_BYTES], "big")
        nonce, body = data[KID_BYTES:][:NONCE_BYTES], data[KID_BYTES + NONCE_BYTES :]
        place = _place(table, column, row_id, user_id)
        for attempt in ("held", "read anew"):
            if kid not in self._keys or attempt != "held":
                self._load(connection, kid, user_id, table, column)
            try:
                return self._keys[kid].aead.decrypt(nonce, body, place).decode()
            except (InvalidTag, UnicodeDecodeError):
                pass
        raise self._damaged(table, column)

    def _load(
        self, connection: Connection, kid: int, user_id: int, table: str, column: str
    ) -> None:
        row = connection.execute(_KEY, {"key": kid}).one_or_none()
        if row is None or row.user_id != user_id:
            raise self._damaged(table, column)
        self._keep(kid, user_id, row.wrapped)

    def _keep(self, kid: int, user_id: int, wrapped: str) -> None:
        aead = AESGCM(self._unwrap(kid, user_id, wrapped))
        while len(self._keys) >= _MAX_KEYS:
            del self._keys[next(iter(self._keys))]
        self._keys[kid] = _Key(user_id, wrapped, aead)

    def _wrap(self, kek: str, kid: int, user_id: int, key: bytes) -> str:
        nonce = os.urandom(NONCE_BYTES)
        body = self._wrapping(kek, user_id).encrypt(nonce, key, _key_place(kid, user_id))
        return f"{_WRAPPED}:{kek}:{base64.b64encode(nonce + body).decode()}"

    def _unwrap(self, kid: int, user_id: int, wrapped: str) -> bytes:
        version, _, rest = wrapped.partition(":")
        kek, _, body = rest.partition(":")
        if version != _WRAPPED:
            raise self._damaged("user_keys", "wrapped")
        wrapping = self._wrapping(kek, user_id)
        try:
            data = base64.b64decode(body, validate=True)
            nonce, data = data[:NONCE_BYTES], data[NONCE_BYTES:]
            return wrapping.decrypt(nonce, data, _key_place(kid, user_id))
        except (InvalidTag, binascii.Error, ValueError):
            if user_id == _STORE:
                raise StoreError(
                    f"the file of shares is not that of the store {self._name}, so nothing was "
                    "read or written; put its own beside it"
                ) from None
            raise self._damaged("user_keys", "wrapped") from None

    def _wrapping(self, kek: str, user_id: int) -> AESGCM:
        key = self.ring.key(kek)
        share = self.shares.of(user_id)
        if share is None:
            raise StoreError(
                f"the key to a user's words in {self._name} is destroyed, as it is when they are "
                "erased; this is a copy from before, or erasing was cut short. Erase them again."
            )
        info = f"echat user key|{user_id}".encode()
        return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=share, info=info).derive(key))

    def _damaged(self, table: str, column: str) -> StoreError:
        return StoreError(
            f"a value of {table}.{column} in {self._name} is not what was written there: it was "
            "changed, or moved from another row. Put the store back from a backup."
        )


def head_of(kid: int) -> str:
    """What every text begins with that is sealed with this key."""
    return PREFIX + base64.b64encode(kid.to_bytes(KID_BYTES, "big")).decode()


def _place(table: str, column: str, row_id: int, user_id: int) -> bytes:
    return f"{table}|{column}|{row_id}|{user_id}".encode()


def _key_place(kid: int, user_id: int) -> bytes:
    return _place("user_keys", "wrapped", kid, user_id)
