"""Where the key comes from that all other keys of a store are wrapped with (the KEK).

It never lies in the database. Whoever has the database, its shares and this key reads all; whoever
lacks one of them reads no word. A key file beside the store, which is the default, protects a
lost copy of the database and nothing else: put it elsewhere to protect a lost disk.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from echat_memory import durable
from echat_memory.pseudonym import create_key
from echat_sdk.errors import StoreError

KEK_BYTES = 32
ENVIRON = "ECHAT_STORE_KEK"
"""Base64 of a key; of two while one takes the other's place: the new one, a comma, the old one."""

_NEXT = ".next"

KeySource = Path | Callable[[], bytes | Sequence[bytes]] | None


@dataclass(frozen=True, slots=True)
class Encryption:
    """How a store is encrypted.

    Nothing here protects the memory of a running process, nor a dump of it.

    Attributes:
        mode: `fields`: words, thoughts, replies and facts, with a key for each user; what else is
            in the store (how somebody sounded, when, how often) stays readable. `file`: all of a
            SQLite file, by SQLCipher.
        key: The key of 32 bytes that all hangs on: a file, or a function that fetches it, such as
            from a KMS; while one key takes another's place it gives both, the new one first. None:
            from `ECHAT_STORE_KEK`, else from `STORE.kek` beside `STORE.key`, made with the store.
        shares: The file of what each user's key needs beside it; by default `STORE.shares` beside
            `STORE.key`. It is what erasing destroys: back it up apart from the database, and not
            for long. Every machine that opens one database needs the same file.
        accept_plain: Encrypt rows that are plain in a store that is encrypted, such as one put
            back from a copy made before. They are refused else: anybody might have written them.
    """

    mode: Literal["fields", "file"] = "fields"
    key: KeySource = None
    shares: Path | None = None
    accept_plain: bool = False


class KeyRing:
    """The KEKs at hand, the newest first.

    Args:
        source: As `Encryption.key`.
        default: The key file where no source is named.
        environ: The environment.
    """

    def __init__(
        self, source: KeySource, default: Path, *, environ: Mapping[str, str] = os.environ
    ) -> None:
        self._environ = environ
        self._from_environ = source is None and ENVIRON in environ
        if source is None and not self._from_environ:
            source = default
        self._source = source
        self._keys: dict[str, bytes] = {}

    @property
    def file(self) -> Path | None:
        """The file that the key lies in, if it lies in one."""
        return self._source if isinstance(self._source, Path) else None

    @property
    def newest(self) -> str:
        """The id of the newest key."""
        return next(iter(self._keys))

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all keys, the newest first."""
        return tuple(self._keys)

    def load(self, *, create: bool = False) -> None:
        """Fetch the keys.

        Args:
            create: Make a key file where there is none.

        Raises:
            StoreError: there is no key, or what is there is none.
        """
        if create and (file := self.file) is not None and not file.exists():
            _create(file)
        self._keys = {key_id(key): key for key in self._fetch()}
        if not self._keys:
            raise StoreError(f"{self._where()} gave no key; expected one of {KEK_BYTES} bytes")

    def key(self, wanted: str) -> bytes:
        """A key by its id; fetched again once, for another process may have put it there.

        Raises:
            StoreError: it is not here.
        """
        if wanted not in self._keys:
            self.load()
        if wanted not in self._keys:
            raise StoreError(
                f"{self._where()} holds another key than the store was encrypted with; nothing was "
                "read or written. Give the store its own key, or open another store."
            )
        return self._keys[wanted]

    def make_next(self) -> None:
        """See to a newer key than the one in use: a file is made beside the old one.

        Raises:
            StoreError: the key is not in a file; whoever keeps it must give two.
        """
        if (file := self.file) is not None and not _next(file).exists():
            _create(_next(file))
        self.load()
        if file is None and len(self._keys) < 2:
            raise StoreError(
                f"{self._where()} gave one key; to change it, give the new one and then the old "
                "one, and when that has ended the new one alone"
            )

    def drop_old(self) -> None:
        """Have the newest key take the place of all others, where they are in files."""
        if (file := self.file) is not None and _next(file).exists():
            _next(file).replace(file)
            durable.sync(file.parent)
        self._keys = dict([next(iter(self._keys.items()))])

    def _fetch(self) -> list[bytes]:
        if self._from_environ:
            return [_decoded(part) for part in self._environ.get(ENVIRON, "").split(",")]
        if isinstance(self._source, Path):
            file = self._source
            return [_read(path) for path in (_next(file), file) if path == file or path.exists()]
        assert self._source is not None
        try:
            found = self._source()
        except Exception as error:
            why = type(error).__name__
            raise StoreError(f"{self._where()} failed ({why}), so the store stays shut") from error
        keys = [found] if isinstance(found, bytes) else found
        return [_checked(key, self._where()) for key in keys]

    def _where(self) -> str:
        if self._from_environ:
            return ENVIRON
        return str(self._source) if isinstance(self._source, Path) else "the function for the key"


def key_id(key: bytes) -> str:
    """What tells a key from others without telling anything of it: 16 hex digits."""
    return hmac.new(key, b"echat key id", hashlib.sha256).hexdigest()[:16]


def _next(file: Path) -> Path:
    return file.with_name(file.name + _NEXT)


def _create(file: Path) -> None:
    try:
        durable.make_folder(file.parent)
        create_key(file)
    except OSError as error:
        raise StoreError(f"cannot write the store's key {file}: {error.strerror}") from error


def _read(file: Path) -> bytes:
    try:
        if file.stat().st_mode & 0o077:
            raise StoreError(
                f"{file} can be read by others than its owner; run chmod 600 on it, and change the "
                "key if somebody may have read it"
            )
        return _checked(file.read_bytes(), str(file))
    except FileNotFoundError as error:
        raise StoreError(
            f"{file} is missing: it is the key to the words in the store. Put it back from a "
            "backup; without it they cannot be read."
        ) from error
    except OSError as error:
        raise StoreError(f"cannot read the store's key {file}: {error.strerror}") from error


def _decoded(text: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):  # the cause would repeat the key
        raise StoreError(f"{ENVIRON} is not base64; expected {KEK_BYTES} bytes in base64") from None
    return _checked(key, ENVIRON)


def _checked(key: bytes, where: str) -> bytes:
    if len(key) != KEK_BYTES:
        raise StoreError(f"{where} has {len(key)} bytes, a key has {KEK_BYTES}")
    return bytes(key)
