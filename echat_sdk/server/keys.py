"""API keys: a file of who may call, with what each may do.

The file holds no key, only the SHA-256 of each (see `secret_words`). Several processes may write
it, one at a time.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from echat_sdk import private_file
from echat_sdk.errors import ConfigError
from echat_sdk.server import secret_words
from echat_sdk.server.caller import Scope

log = logging.getLogger(__name__)

DEFAULT_SCOPES = frozenset({Scope.REALTIME, Scope.AUDIO, Scope.CHAT})
"""What a key may do unless more is asked for."""

MOST = 1000
"""Keys in one file."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Key(BaseModel):
    """What is kept of an API key.

    Attributes:
        id: The part of it that may be shown.
        name: What its owner calls it.
        sha256: Of the whole key.
        scopes: What it may be used for.
        user: The host's id of the only user that it speaks for; None binds it to none.
        created: When it was made.
        expires: From when it counts no more; None for never.
        last_used: The day on which it was used last.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    name: str = Field(max_length=100)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    scopes: frozenset[Scope]
    user: str | None = Field(default=None, min_length=1, max_length=200)
    created: datetime
    expires: datetime | None = None
    last_used: date | None = None


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int = Field(default=1, ge=1, le=1)
    keys: list[Key] = Field(default_factory=list, max_length=MOST)


class Keys:
    """The keys of one file, in RAM. `find` reads no file; `refresh` does, and is for a worker."""

    def __init__(self, path: Path, *, now: Callable[[], datetime] = _utc_now) -> None:
        """Read the file; one that is not there has no keys.

        Raises:
            ConfigError: it cannot be read, is no file of keys, or others than its owner can read
                or write it.
        """
        self._path, self._now = path, now
        self._used: dict[str, date] = {}
        self._stamp = self._stamp_now()
        self._keys = {key.id: key for key in self._read()}

    def __len__(self) -> int:
        return len(self._keys)

    def all(self) -> tuple[Key, ...]:
        """Every key, oldest first."""
        return tuple(sorted(self._keys.values(), key=lambda key: key.created))

    def find(self, words: str) -> Key | None:
        """The key that these words are; None where they are none, or one that counts no more."""
        key = self._keys.get(secret_words.id_of(words, secret_words.KEY))
        if not secret_words.proves(words, key.sha256 if key else None) or key is None:
            return None
        if not self._counts(key):
            return None
        if key.last_used != (today := self._now().date()):
            self._used[key.id] = today
        return key

    def counts(self, id_: str) -> bool:
        """Whether there is a key of that id that was neither revoked nor has expired."""
        key = self._keys.get(id_)
        return key is not None and self._counts(key)

    def new(
        self,
        name: str,
        *,
        scopes: frozenset[Scope] = DEFAULT_SCOPES,
        user: str | None = None,
        expires: datetime | None = None,
    ) -> tuple[str, Key]:
        """Make a key and keep it; its words, which are kept nowhere, and what is kept of it.

        Raises:
            ConfigError: the file cannot be written, or holds too many.
        """
        secret = secret_words.new(secret_words.KEY)
        with self._changing() as kept:
            if len(kept) >= MOST:
                raise ConfigError(f"{self._path} holds {MOST} keys; revoke some")
            key = Key(
                id=secret.id,
                name=name,
                sha256=secret.sha256,
                scopes=scopes,
                user=user,
                created=self._now().replace(microsecond=0),
                expires=expires,
            )
            kept[key.id] = key
        return secret.words, key

    def revoke(self, named: str) -> Key:
        """Forget a key, by its id or a name that only one has.

        Raises:
            ConfigError: there is none, or several of that name; or the file cannot be written.
        """
        with self._changing() as kept:
            found = [key for key in kept.values() if named in (key.id, key.name)]
            if len(found) != 1:
                what = "no key" if not found else f"{len(found)} keys"
                raise ConfigError(f"{what} of that name; echat keys list shows the id of each")
            del kept[found[0].id]
        return found[0]

    def refresh(self) -> None:
        """Read the file again if it has changed, and write down which keys were used.

        A file that cannot be read any more lets nobody in.
        """
        if (stamp := self._stamp_now()) != self._stamp:
            try:
                self._keys = {key.id: key for key in self._read()}
            except ConfigError as error:
                self._keys = {}
                log.error("no key counts any more: %s", error)
            self._stamp = stamp
        used, self._used = self._used, {}
        used = {id_: day for id_, day in used.items() if id_ in self._keys}
        if not used:
            return
        try:
            with self._changing() as kept:
                for id_ in kept.keys() & used.keys():
                    kept[id_] = kept[id_].model_copy(update={"last_used": used[id_]})
        except ConfigError as error:  # a disk that is full or read-only locks nobody out
            log.warning("the day of a key's last use was not kept: %s", error)

    def _counts(self, key: Key) -> bool:
        return key.expires is None or self._now() < key.expires

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> list[Key]:
        try:
            with self._path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigError(f"cannot read the keys in {self._path}: {error.strerror}") from error
        if os.name == "posix" and mode & 0o077:
            raise ConfigError(
                f"others can read or write {self._path}, which says who may call; "
                f"chmod 600 {self._path}"
            )
        try:
            return _Kept.model_validate_json(text).keys
        except ValidationError as error:
            raise ConfigError(
                f"{self._path} is no file of keys; put it back, or delete it and make new keys "
                "with echat keys new"
            ) from error

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        """The keys as the file has them now, written back at the end; one process at a time."""
        try:
            with private_file.locked(self._path):
                kept = {key.id: key for key in self._read()}
                yield kept
                text = json.dumps(_Kept(keys=list(kept.values())).model_dump(mode="json"), indent=1)
                private_file.write(self._path, text)
                self._stamp = self._stamp_now()
        except OSError as error:
            raise ConfigError(f"cannot write the keys in {self._path}: {error.strerror}") from error
        self._keys = kept
