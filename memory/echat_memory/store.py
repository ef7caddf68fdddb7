"""The store: one SQL database that holds what all users said, and gives each user's part back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection, bindparam, delete, func, select

from echat_memory import encrypting, pauses, recall, remembering, rotation, sealing
from echat_memory.database import Collided, open_database
from echat_memory.keys import Encryption
from echat_memory.migrations import migrate
from echat_memory.pseudonym import key_of, pseudonym
from echat_memory.schema import PERSONAL, UserRow
from echat_memory.sqlite import SQLite
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

_LOCK_USER = select(UserRow.id).where(UserRow.pseudonym == bindparam("who")).with_for_update()
_COUNT_USERS = select(func.count()).select_from(UserRow)

T = TypeVar("T")


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
    """`echat_sdk.protocols.Memory` in SQL: one SQLite file, or a database of a PostgreSQL server.

    Everything is synchronous. Calls from several threads wait for each other; several processes
    may share one store. A turn that `remember` has returned survives a power cut.

    Args:
        url: The file, as `sqlite:////srv/echat.db` or a path; or `postgresql://USER@HOST/DATABASE`.
            What is missing in it is made, and an older schema is migrated, after a copy.
        turns: How many of the last turns `recall` gives.
        clock: Gives the present moment, with its zone.
        busy_timeout: How long a call waits for other processes, or for a server. Another right
            after it, if that was in vain, waits a fifth of a second.
        key_file: The key to the user ids, by default `FILE.key` beside a SQLite file, and
            `DATABASE.key` in the home folder for PostgreSQL. It is made with the store. Back both
            up; every machine that opens one database needs the same.
        encryption: How what was said is encrypted, and with which key. A plain store is converted
            when it is first opened with it, and cannot be opened without it from then on.

    Attributes:
        converted: How many rows were plain when it was opened, and are encrypted now.

    Raises:
        ConfigError: the URL names no such store, or a package is not installed.
        MigrationError: the schema is newer than this program.
        StoreError: the store cannot be opened, or is not one.
    """

    def __init__(
        self,
        url: str | Path,
        *,
        turns: int = RECENT_TURNS,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        busy_timeout: Seconds = BUSY_TIMEOUT,
        key_file: Path | None = None,
        encryption: Encryption | None = None,
    ) -> None:
        self._turns = turns
        self._clock = clock
        self._lock = threading.Lock()
        self._is_closed = False
        self._cipher: Cipher | None = None
        self.converted = 0
        self._database = open_database(
            url, timeout=busy_timeout, key_file=key_file, encryption=encryption
        )
        try:
            self._cipher = encrypting.find(self._database, encryption)
            migrate(self._database)
            self._key = key_of(self._database)
            if encryption is not None and encryption.mode == "fields":
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
        return self._write(
            lambda connection: str(
                remembering.remember(connection, who, turn, turn_id=turn_id, now=now)
            )
        )

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
        self._write(lambda connection: pauses.write(connection, who, profile))

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
        others made are out of reach, and so is a part of what a PostgreSQL server keeps: README.md
        says which.

        Returns:
            The rows deleted from each table; all zero for a user who is not there.

        Raises:
            StoreError: nothing was deleted, or the rows were but something keeps what they leave
                behind from being removed; says which.
        """
        who = pseudonym(self._key, user)
        counts = self._write(lambda connection: _erase(connection, who, self._cipher))
        self._forget_deleted(changed=True)
        return counts

    def rotate(self, user: str | None = None) -> int:
        """Seal a user's words, or everybody's, with new keys, and delete the old ones.

        Killed on the way, every row stays readable; called again, it goes on.

        Returns:
            How many rows were sealed anew.

        Raises:
            StoreError: the store is not encrypted, or cannot be written.
        """
        cipher = rotation.must_be(self._cipher, self._database.name)
        if user is None:
            ids = encrypting.users(self._writing)
        else:
            with self._open(write=True) as connection:
                who = {"who": pseudonym(self._key, user)}
                ids = list(connection.execute(_LOCK_USER, who).scalars())
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
        count = rotation.rotate_kek(
            self._writing, rotation.must_be(self._cipher, self._database.name)
        )
        self._forget_deleted()
        return count

    def rotate_file(self) -> None:
        """Encrypt a file that is encrypted as a whole with a newer key; see `SQLite.rekey`.

        Raises:
            StoreError: it is not, no newer key was given, or others use the file.
        """
        with self._lock:
            if not isinstance(self._database, SQLite):
                raise StoreError(f"{self._database.name} is no file that is encrypted as a whole")
            self._database.rekey()

    def close(self) -> None:
        """Release the store. May be called twice."""
        with self._lock:
            self._is_closed = True
            self._database.close()
            if self._cipher is not None:
                self._cipher.close()

    def _encrypt(self, encryption: Encryption) -> None:
        """Encrypt what is plain."""
        if self._cipher is None:
            self._cipher = encrypting.begin(self._database, encryption)
        if self._cipher.accepts_plain:
            self.converted = encrypting.convert(self._writing, self._cipher)
            self._forget_deleted(changed=True)

    def _writing(self) -> AbstractContextManager[Connection]:
        return self._open(write=True)

    def _forget_deleted(self, *, changed: bool = False) -> None:
        with self._lock:
            self._database.forget_deleted(changed=changed)

    def _write(self, work: Callable[[Connection], T]) -> T:
        """Do something in a transaction that writes; once more where another process was in it."""
        try:
            with self._open(write=True) as connection:
                return work(connection)
        except Collided:
            with self._open(write=True) as connection:
                return work(connection)

    @contextmanager
    def _open(self, *, write: bool) -> Iterator[Connection]:
        with self._lock:
            if self._is_closed:
                raise StoreError(f"the store {self._database.name} is closed; open it again")
            with self._database.transaction(write=write) as connection:
                sealing.use(connection, self._cipher)
                yield connection


def _erase(connection: Connection, who: str, cipher: Cipher | None) -> dict[str, int]:
    """Delete the rows of a user; returns how many from each table."""
    counts = dict.fromkeys([*(table.__tablename__ for table in PERSONAL), UserRow.__tablename__], 0)
    user_id = connection.execute(_LOCK_USER, {"who": who}).scalar_one_or_none()
    if user_id is not None:
        if cipher is not None:
            cipher.forget(user_id)  # first, for this alone reaches backups
        for table in PERSONAL:
            mine = table.__table__.c.user_id == user_id
            counts[table.__tablename__] = connection.execute(delete(table).where(mine)).rowcount
        connection.execute(delete(UserRow).where(UserRow.id == user_id))
        counts[UserRow.__tablename__] = 1
    return counts
