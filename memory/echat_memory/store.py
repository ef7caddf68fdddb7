"""The store: one SQL database that holds what all users said, and gives each user's part back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, bindparam, delete, func, select

from echat_memory import encrypting, pauses, recall, remembering, rotation, sqlite
from echat_memory.keys import Encryption
from echat_memory.migrations import migrate
from echat_memory.pseudonym import create_key, pseudonym, read_key
from echat_memory.schema import PERSONAL, UserRow
from echat_sdk.audio import Seconds
from echat_sdk.errors import StoreError
from echat_sdk.pause_profile import PauseProfile
from echat_sdk.turn import Recollection, Turn

if TYPE_CHECKING:
    from echat_memory.cipher import Cipher

RECENT_TURNS = 6

BUSY_TIMEOUT: Seconds = 2.0
"""Soon enough that a conversation says within three seconds that it cannot keep a turn, and ends
within as many."""

_FIND_USER = select(UserRow.id).where(UserRow.pseudonym == bindparam("who"))
_COUNT_USERS = select(func.count()).select_from(UserRow)


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A turn as the store has it.

    Attributes:
        id: What `remember` returned.
        session: Turns with the same one belong to one sitting.
        at: When it was remembered, in UTC.
        turn: The turn.
    """

    id: str
    session: str
    at: datetime
    turn: Turn


class SQLMemory:
    """`echat_sdk.protocols.Memory` in a SQLite file.

    Everything is synchronous. Calls from several threads wait for each other; several processes
    may share one store. A turn that `remember` has returned survives a power cut.

    Args:
        url: The file, as `sqlite:////srv/echat.db` or a path. It is made where it is missing, and
            an older schema is migrated, after a copy. Beside it lies `FILE.key`, the key to the
            user ids: back both up.
        turns: How many of the last turns `recall` gives.
        clock: Gives the present moment, with its zone.
        busy_timeout: How long a write waits for another process that is writing. Another right
            after it, if that was in vain, waits a fifth of a second.
        encryption: How what was said is encrypted, and with which key. A plain store is converted
            when it is first opened with it, and cannot be opened without it from then on.

    Attributes:
        converted: How many rows were plain when it was opened, and are encrypted now.

    Raises:
        ConfigError: the URL names no SQLite file, or a package for encryption is missing.
        MigrationError: the schema is newer than this program.
        StoreError: the file cannot be opened, or is not a store.
    """

    def __init__(
        self,
        url: str | Path,
        *,
        turns: int = RECENT_TURNS,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        busy_timeout: Seconds = BUSY_TIMEOUT,
        encryption: Encryption | None = None,
    ) -> None:
        self._path = sqlite.file_of(url)
        self._turns = turns
        self._clock = clock
        self._lock = threading.Lock()
        self._cipher: Cipher | None = None
        self.converted = 0
        key_file = self._path.with_name(self._path.name + ".key")
        sqlite.create_file(self._path)
        with sqlite.plain_errors(self._path):
            self._connection = sqlite.connect(self._path, busy_timeout=sqlite.OPENING)
            self._write_lock = sqlite.WriteLock(self._connection, busy_timeout)
            try:
                self._find_cipher(encryption)
                with _os_errors(key_file):
                    migrate(self._connection, self._path)
                    if not key_file.exists() and not self.users():
                        create_key(key_file)
                self._key = read_key(key_file)
                if encryption is not None:
                    self._encrypt(encryption)
            except BaseException:
                self.close()
                raise

    def recall(self, user: str, *, query: str = "") -> Recollection:
        """What a reply to this user should know: last turns, mood, facts; see `Memory.recall`.

        Raises:
            StoreError: the store cannot be read.
        """
        who, now = pseudonym(self._key, user), self._clock()
        with self._open(write=False) as connection:
            return recall.recollect(connection, who, query=query, turns=self._turns, now=now)

    def remember(self, user: str, turn: Turn, *, turn_id: str | None = None) -> str:
        """Make a turn, and the facts told in it, durable; see `Memory.remember`.

        Characters that no database can hold (NUL, lone surrogates) become U+FFFD.

        Raises:
            StoreError: the store cannot be written, or the user has no turn `turn_id`; nothing
                was kept.
        """
        who, now = pseudonym(self._key, user), self._clock()
        with self._open(write=True) as connection:
            return str(remembering.remember(connection, who, turn, turn_id=turn_id, now=now))

    def pauses(self, user: str) -> PauseProfile:
        """How a user pauses within a turn; see `Memory.pauses`.

        Raises:
            StoreError: the store cannot be read.
        """
        who = pseudonym(self._key, user)
        with self._open(write=False) as connection:
            return pauses.read(connection, who)

    def keep_pauses(self, user: str, profile: PauseProfile) -> None:
        """Make it durable how a user pauses, if the store knows the user; see `Memory.keep_pauses`.

        Raises:
            StoreError: the store cannot be written; what was kept before stays.
        """
        who = pseudonym(self._key, user)
        with self._open(write=True) as connection:
            pauses.write(connection, who, profile)

    def show(self, user: str, limit: int = 20) -> list[StoredTurn]:
        """The last turns of a user, oldest first; none for a user never met.

        Raises:
            StoreError: the store cannot be read.
        """
        who = pseudonym(self._key, user)
        with self._open(write=False) as connection:
            return [
                StoredTurn(
                    id=str(row.id), session=str(row.session_id), at=row.created_at, turn=turn
                )
                for row, turn in recall.last_turns(connection, who, limit)
            ]

    def facts(self, user: str) -> tuple[str, ...]:
        """All that holds of what a user told, newest first, in the language of their last turn.

        Raises:
            StoreError: the store cannot be read.
        """
        who, now = pseudonym(self._key, user), self._clock()
        with self._open(write=False) as connection:
            return recall.facts(connection, who, now)

    def users(self) -> int:
        """How many users the store knows.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._open(write=False) as connection:
            return connection.execute(_COUNT_USERS).scalar_one()

    def erase(self, user: str) -> dict[str, int]:
        """Delete all that is kept of a user, down to the bytes; may be repeated.

        Copies made before migrations are deleted too, since they hold the user. Backups that
        others made are out of reach.

        Returns:
            The rows deleted from each table; all zero for a user who is not there.

        Raises:
            StoreError: nothing was deleted, or the rows were but another process keeps the log
                from being emptied; says which.
        """
        who = pseudonym(self._key, user)
        counts = dict.fromkeys(
            [*(table.__tablename__ for table in PERSONAL), UserRow.__tablename__], 0
        )
        with self._open(write=True) as connection:
            user_id = connection.execute(_FIND_USER, {"who": who}).scalar_one_or_none()
            if user_id is not None:
                if self._cipher is not None:
                    self._cipher.forget(user_id)  # first: this alone reaches backups
                for table in PERSONAL:
                    mine = table.__table__.c.user_id == user_id
                    deleted = connection.execute(delete(table).where(mine))
                    counts[table.__tablename__] = deleted.rowcount
                connection.execute(delete(UserRow).where(UserRow.id == user_id))
                counts[UserRow.__tablename__] = 1
        self._forget_deleted()
        return counts

    def rotate(self, user: str | None = None) -> int:
        """Seal a user's words, or everybody's, with new keys, and delete the old ones.

        Killed on the way, every row stays readable; called again, it goes on.

        Returns:
            How many rows were sealed anew.

        Raises:
            StoreError: the store is not encrypted, or cannot be written.
        """
        cipher = rotation.must_be(self._cipher, str(self._path))
        if user is None:
            ids = encrypting.users(self._writing)
        else:
            with self._open(write=False) as connection:
                who = {"who": pseudonym(self._key, user)}
                ids = list(connection.execute(_FIND_USER, who).scalars())
        count = sum(rotation.rotate(self._writing, cipher, user_id) for user_id in ids)
        self._forget_deleted()
        return count

    def rotate_key(self) -> int:
        """Wrap all users' keys with a new KEK; see `Encryption.key` for who makes it.

        Returns:
            How many keys were wrapped anew.

        Raises:
            StoreError: the store is not encrypted, no newer KEK was given, or it cannot be written.
        """
        count = rotation.rotate_kek(self._writing, rotation.must_be(self._cipher, str(self._path)))
        self._forget_deleted()
        return count

    def close(self) -> None:
        """Release the store. May be called twice."""
        with self._lock:
            self._connection.close()
            if self._cipher is not None:
                self._cipher.close()

    def _find_cipher(self, encryption: Encryption | None) -> None:
        """Have the keys of an encrypted store at hand before anything is written."""
        with sqlite.transaction(self._connection, write=False):
            self._cipher = encrypting.find(
                self._connection, encryption, self._path, str(self._path)
            )
        self._connection.execution_options(cipher=self._cipher)

    def _encrypt(self, encryption: Encryption) -> None:
        """Encrypt what is plain."""
        if self._cipher is None:
            self._cipher = encrypting.begin(self._writing, encryption, self._path, str(self._path))
            self._connection.execution_options(cipher=self._cipher)
        if self._cipher.accepts_plain:
            self.converted = encrypting.convert(self._writing, self._cipher)
            self._forget_deleted()
            sqlite.rewrite(self._connection)

    def _writing(self) -> AbstractContextManager[Connection]:
        return self._open(write=True)

    def _forget_deleted(self) -> None:
        with self._lock, sqlite.plain_errors(self._path), _os_errors(self._path):
            sqlite.forget_deleted(self._connection, self._path)

    @contextmanager
    def _open(self, *, write: bool) -> Iterator[Connection]:
        with self._lock, sqlite.plain_errors(self._path):
            if self._connection.closed:
                raise StoreError(f"the store {self._path} is closed; open it again")
            with (
                self._write_lock.transaction()
                if write
                else sqlite.transaction(self._connection, write=False)
            ):
                yield self._connection


@contextmanager
def _os_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot write beside the store, {path}: {error.strerror}") from error
