"""Others that hold copies of what a user said: each is told of an erasure, and waited for briefly.

Two come with the store: `Manifest`, rows of training data, and `Recordings`, what `echat talk
--record` wrote. A plugin with a store of its own brings its own `Keeper`.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from echat_memory.scope import Scope
from echat_sdk.audio import Seconds
from echat_sdk.consent import Purpose
from echat_sdk.errors import StoreError

DEADLINE: Seconds = 5.0
"""How long one is waited for."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What a keeper is told.

    Attributes:
        who: The user's pseudonym, which `SQLMemory.pseudonym` gives for the host's id; the id
            itself is not known when an erasure is ended that was cut short.
        scope: What is erased.
        turns: The ids of the turns that went; None for all that is held of this user.
        is_theirs: Whether a host's id is this user's.
    """

    who: str
    scope: Scope
    turns: frozenset[str] | None
    is_theirs: Callable[[str], bool]


class Keeper(Protocol):
    """Something beside the store that holds a user's data."""

    @property
    def name(self) -> str:
        """What a receipt calls it; the same each time. A plugin's is its id."""

    def erase(self, erased: Erased) -> int:
        """Erase it here as well; may be called again, also after it was done.

        It runs in a thread of its own, and is left alone there when it takes too long.

        Returns:
            How many things went.
        """


def ask(keeper: Keeper, erased: Erased, *, within: Seconds = DEADLINE) -> int:
    """Have a keeper erase, in a thread of its own.

    Returns:
        How many things went.

    Raises:
        StoreError: it failed, or is not done yet; says how, and nothing of what it said.
    """
    found: list[int] = []
    failed: list[str] = []

    def work() -> None:
        try:
            found.append(int(keeper.erase(erased)))
        except StoreError as error:  # its words are ours
            failed.append(str(error))
        except BaseException as error:  # noqa: BLE001 - a plugin's may be anything
            failed.append(f"it failed: {type(error).__name__}")

    thread = threading.Thread(target=work, name="echat-erase", daemon=True)
    thread.start()
    thread.join(within)
    if failed:
        raise StoreError(failed[0])
    if not found:
        raise StoreError(f"it was not done within {within:g} s")
    return found[0]


@dataclass(frozen=True)
class Manifest:
    """A file of JSON lines with rows of training data, each with its `user` and `turn`.

    `user` is the pseudonym, `turn` the turn's id. Lines that are none of such are left alone. What
    the file system leaves of the file that is replaced is out of reach.
    """

    path: Path

    @property
    def name(self) -> str:
        """The file's whole path: two may be named alike."""
        return f"manifest {self.path.resolve()}"

    def erase(self, erased: Erased) -> int:
        """Remove the rows of the turns; the file is replaced as a whole, or not at all.

        Of a purpose all the user's rows go. Nobody else may write to the file meanwhile.

        Raises:
            StoreError: it cannot be read or written.
        """
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
            left = [line for line in lines if not _is_row_of(line, erased)]
            if len(left) < len(lines):
                self._replace(b"".join(left))
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}") from error
        return len(lines) - len(left)

    def _replace(self, data: bytes) -> None:
        fresh = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            fresh.chmod(self.path.stat().st_mode & 0o777)
            fresh.replace(self.path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise


def _is_row_of(line: bytes, erased: Erased) -> bool:
    row = _json(line)
    if row is None or row.get("user") != erased.who:
        return False
    if erased.turns is None or erased.scope.purpose is not None:
        return True
    return str(row.get("turn")) in erased.turns


@dataclass(frozen=True)
class Recordings:
    """A folder with folders of `echat talk --record`.

    A recording is a user's if a turn in its events names them; it goes whole, with any turn of it
    that is erased, for a sound cannot be cut out of it. One without a turn that came to its end
    names nobody, and stays.
    """

    folder: Path

    @property
    def name(self) -> str:
        """The folder's whole path."""
        return f"recordings {self.folder.resolve()}"

    def erase(self, erased: Erased) -> int:
        """Delete the recordings of the turns; returns how many.

        Raises:
            StoreError: one cannot be read or deleted.
        """
        from echat_sdk.io.session import AGENT, EVENTS, SETTINGS, USER

        if erased.scope.purpose == Purpose.TRAIN:
            return 0
        try:
            found = sorted(self.folder.rglob(EVENTS))
            theirs = [each.parent for each in found if _names(each, erased)]
            for each in theirs:
                for name in (USER, AGENT, SETTINGS, EVENTS):  # by its events it is found again
                    (each / name).unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # something else is in it
                    each.rmdir()
        except OSError as error:
            raise StoreError(f"{self.folder}: {error.strerror}") from error
        return len(theirs)


def _names(events: Path, erased: Erased) -> bool:
    if events.is_symlink() or not events.is_file():
        return False
    with events.open("rb") as lines:
        for line in lines:
            event = _json(line)
            if event is None or event.get("event") != "turn":
                continue
            user, turn = event.get("user"), event.get("turn_id")
            if not (isinstance(user, str) and erased.is_theirs(user)):
                continue
            if erased.turns is None or erased.scope.purpose is not None or turn in erased.turns:
                return True
    return False


def _json(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
