"""Commands that wait on disk while the broker is away: few, sealed, and not for ever.

Each is a file of its own, sealed with AES-256-GCM under the key of a file that nobody else may
read. Who has the disk without the key learns how many there are, when, and how long. Needs the
extra `[encryption]`. Synchronous: to be used through a worker.
"""

from __future__ import annotations

import os
import secrets
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from echat_sdk.audio import Seconds
from echat_sdk.errors import ConfigError, StoreError

KEY_BYTES = 32
_NONCE = 12
_TAG = 16
_SUFFIX = ".sealed"
_WHEN = struct.Struct("!d")


@dataclass(frozen=True, slots=True)
class Kept:
    """A command that waits.

    Attributes:
        number: Its place among all; rising.
        payload: As it is sent.
        at: When it was kept, in seconds of the wall clock.
    """

    number: int
    payload: bytes
    at: Seconds


class Outbox:
    """Commands in a folder of their own.

    Args:
        folder: It is made where it is missing.
        key_file: It is made where it is missing, for its owner alone.
        most: Commands that may wait; one more is refused.
        most_bytes: Of one.
        clock: The wall clock.
    """

    def __init__(
        self,
        folder: Path,
        key_file: Path,
        *,
        most: int = 256,
        most_bytes: int = 65_536,
        clock: Callable[[], Seconds] = time.time,
    ) -> None:
        self._folder = folder
        self._key_file = key_file
        self._most = most
        self._most_bytes = most_bytes
        self._clock = clock
        self._next = 0
        self._count = 0

    def open(self) -> list[Kept]:
        """What waits, the oldest first. What cannot be opened is removed: it is not ours.

        Raises:
            ConfigError: cryptography is not installed, or others may read the key.
            StoreError: the folder cannot be read or written.
        """
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ModuleNotFoundError as error:
            raise ConfigError(
                "an outbox needs the package cryptography: pip install 'echat-sdk[encryption]'"
            ) from error
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._aead = AESGCM(self._key())
            kept = []
            for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
                try:
                    kept.append(self._opened(path))
                except (InvalidTag, ValueError, struct.error):
                    path.unlink()
            for path in self._folder.glob("*.tmp"):  # a write that was cut off
                path.unlink()
        except OSError as error:
            raise _failed(self._folder, error) from error
        self._count = len(kept)
        self._next = kept[-1].number + 1 if kept else 0
        return kept

    def put(self, payload: bytes) -> Kept:
        """Keep one; it is on the disk when this returns.

        Raises:
            StoreError: it is full, the command too large, or the disk fails; it is not kept.
        """
        if self._count >= self._most:
            raise StoreError(f"{self._count} commands wait for the broker already; none is added")
        if len(payload) > self._most_bytes:
            raise StoreError(f"a command of {len(payload)} bytes; at most {self._most_bytes}")
        kept = Kept(self._next, payload, self._clock())
        path = self._path(kept.number)
        nonce = secrets.token_bytes(_NONCE)
        plain = _WHEN.pack(kept.at) + payload
        sealed = nonce + self._aead.encrypt(nonce, plain, path.name.encode())
        fresh = path.with_suffix(".tmp")
        try:
            handle = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(sealed)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
            self._sync()
        except OSError as error:
            raise _failed(self._folder, error) from error
        self._next += 1
        self._count += 1
        return kept

    def remove(self, number: int) -> None:
        """It was answered.

        Raises:
            StoreError: the disk fails; it will be sent again, and not done again.
        """
        path = self._path(number)
        try:
            path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            raise _failed(self._folder, error) from error
        self._count -= 1

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}{_SUFFIX}"

    def _opened(self, path: Path) -> Kept:
        with path.open("rb") as file:
            sealed = file.read(self._most_bytes + _NONCE + _TAG + _WHEN.size + 1)
        plain = self._aead.decrypt(sealed[:_NONCE], sealed[_NONCE:], path.name.encode())
        (at,) = _WHEN.unpack_from(plain)
        return Kept(int(path.stem), plain[_WHEN.size :], at)

    def _sync(self) -> None:
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _key(self) -> bytes:
        path = self._key_file
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigError(f"others may read the key in {path}; chmod 600 {path}")
            key = file.read(KEY_BYTES + 1)
        if len(key) != KEY_BYTES:
            raise ConfigError(f"{path} holds {len(key)} bytes or more; a key has {KEY_BYTES}")
        return key


def _failed(folder: Path, error: OSError) -> StoreError:
    return StoreError(f"the outbox {folder}: {error.strerror or type(error).__name__}")
