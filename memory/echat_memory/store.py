"""The store: one SQL database that holds what all users said, and gives each user's part back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection, bindparam, func, select

from echat_memory import consents, encrypting, pauses, recall, remembering, rotation, sealing
from echat_memory.database import Collided, open_database
from echat_memory.forgetting import forget_refused, forget_user
from echat_memory.guests import RECENT_TURNS, Guests
from echat_memory.keys import Encryption
from echat_memory.migrations import migrate
from echat_memory.pseudonym import key_of, pseudonym
from echat_memory.rows import StoredTurn
from echat_memory.schema import UserRow
from echat_memory.sqlite import SQLite
from echat_memory.sweeping import DAILY, Sweep, begin_sweeping, check_kinds, last_sweep
from echat_sdk.audio import Seconds
from echat_sdk.consent import (
    REFUSALS,
    Consents,
    ConsentState,
    Purpose,
    answered,
    in_session,
    permitted,
    recallable,
)
from echat_sdk.errors import StoreError
from echat_sdk.pause_profile import PauseProfile
from echat_sdk.retention import USUAL, Retention
from echat_sdk.turn import Recollection, Turn

if TYPE_CHECKING:
    from echat_memory.cipher import Cipher

log = logging.getLogger(__name__)

BUSY_TIMEOUT: Seconds = 2.0
"""Soon enough that a conversation says within three seconds that it cannot keep a turn, and ends
within as many."""

_AT_OPENING: Seconds = 1.0
"""How long a sweep may take when a store is opened; the rest is due the next time."""

_PAUSES = frozenset({Purpose.PROCESS_VOICE, Purpose.LONG_TERM_MEMORY})
"""What it takes to keep how somebody pauses."""

_LOCK_USER = select(UserRow.id).where(UserRow.pseudonym == bindparam("who")).with_for_update()
_COUNT_USERS = select(func.count()).select_from(UserRow)

T = TypeVar("T")


class SQLMemory:
    """`echat_sdk.protocols.Memory` in SQL: one SQLite file, or a database of a PostgreSQL server.

    Everything is synchronous. Calls from several threads wait for each other; several processes
    may share one store. A turn that `remember` has returned survives a power cut.

    Of each user it keeps what they agreed to, and no more; see `consent`. What they did not agree
    to have kept is held in RAM as long as their session lasts, so that one can talk to a guest.

    Args:
        url: The file, as `sqlite:////srv/echat.db` or a path; or `postgresql://USER@HOST/DATABASE`.
            What is missing in it is made, and an older schema is migrated, after a copy.
        turns: How many of the last turns `recall` gives.
        unasked: Purposes that count as granted as long as nobody asked; for hosts that have seen
            to consent elsewhere. By default none: who was never asked is a guest.
        barred: Purposes that nobody can agree to here; see `echat_sdk.consent.barred_in`.
        retention: How long things stay: opening the store sweeps it, a second at most and once a
            day, beginning a day after it was first opened with users in it. None sweeps only when
            told to.
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
        ConfigError: the URL names no such store, the retention no kind of fact, or a package is
            not installed.
        MigrationError: the schema is newer than this program.
        StoreError: the store cannot be opened, or is not one.
    """

    def __init__(
        self,
        url: str | Path,
        *,
        turns: int = RECENT_TURNS,
        unasked: Collection[str] = (),
        barred: Collection[str] = (),
        retention: Retention | None = USUAL,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        busy_timeout: Seconds = BUSY_TIMEOUT,
        key_file: Path | None = None,
        encryption: Encryption | None = None,
    ) -> None:
        self._turns = turns
        self._unasked = frozenset(unasked)
        self._barred = frozenset(barred)
        self._retention = retention
        self._clock = clock
        self._guests = Guests(clock)
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
            if retention is not None:
                self._sweep_daily(check_kinds(retention))
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
            allowed = self._consents(connection, who).allowed(now)
            found = recall.recollect(connection, who, query=query, turns=self._turns, now=now)
        found = recallable(found, allowed)
        # What is held was said before consent was given, or is of a user whose words are not kept.
        held = (in_session(turn, allowed) for turn in self._guests.turns(user))
        turns = (*held, *found.turns)
        return replace(found, turns=turns[max(0, len(turns) - self._turns) :])

    def remember(self, user: str, turn: Turn, *, turn_id: str | None = None) -> str:
        """Make what the user agreed to of a turn, and of the facts told in it, durable.

        See `Memory.remember`. Characters that no database can hold (NUL, lone surrogates) become
        U+FFFD.

        Returns:
            The turn's id. That of a turn of which nothing may be kept is good for this session.

        Raises:
            StoreError: the store cannot be written, or the user has no turn `turn_id`; nothing
                was kept.
        """
        who, now = pseudonym(self._key, user), self._clock()
        with self._open(write=False) as connection:  # guests wait for no lock
            known = self._consents(connection, who)
        is_guests = turn_id is not None and self._guests.is_guests(turn_id)
        if not is_guests and permitted(turn, known.allowed(now)) is not None:

            def write(connection: Connection) -> tuple[Consents, int | None]:
                known = self._consents(connection, who, lock=True)  # withdrawn just now, perhaps
                allowed = known.allowed(now)
                return known, remembering.remember(
                    connection, who, turn, turn_id=turn_id, now=now, allowed=allowed
                )

            known, row_id = self._write(write)
            allowed = known.allowed(now)
            if row_id is not None:
                if Purpose.STORE_TRANSCRIPT not in allowed:
                    self._guests.hold(user, str(row_id), in_session(turn, allowed))
                return str(row_id)
        held = in_session(turn, known.allowed(now))
        if not is_guests and known.refused(now):
            turn_id = None  # its row went when consent did
        return self._guests.add(user, held, turn_id)

    def pauses(self, user: str) -> PauseProfile:
        """How a user pauses within a turn; see `Memory.pauses`.

        Raises:
            StoreError: the store cannot be read.
        """
        who, now = pseudonym(self._key, user), self._clock()
        with self._open(write=False) as connection:
            if self._consents(connection, who).allowed(now) >= _PAUSES:
                return pauses.read(connection, who)
        return self._guests.pauses(user)

    def keep_pauses(self, user: str, profile: PauseProfile) -> None:
        """Make it durable how a user pauses, if the store knows the user; see `Memory.keep_pauses`.

        Raises:
            StoreError: the store cannot be written; what was kept before stays.
        """
        who, now = pseudonym(self._key, user), self._clock()

        def write(connection: Connection) -> bool:
            if not self._consents(connection, who, lock=True).allowed(now) >= _PAUSES:
                return False
            pauses.write(connection, who, profile)
            return True

        if not (self.allowed(user) >= _PAUSES and self._write(write)):
            self._guests.keep_pauses(user, profile)

    def consents(self, user: str) -> Consents:
        """All that this user said, and what counts where they said nothing.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._open(write=False) as connection:
            return self._consents(connection, pseudonym(self._key, user))

    def allowed(self, user: str) -> frozenset[str]:
        """The purposes that this user may be used for now.

        Raises:
            StoreError: the store cannot be read.
        """
        return self.consents(user).allowed(self._clock())

    def consent(
        self,
        user: str,
        purposes: str | Collection[str],
        state: ConsentState = ConsentState.GRANTED,
        *,
        version: str = "",
        channel: str = "host",
        expires_at: datetime | None = None,
    ) -> dict[str, int]:
        """Keep what a user answered. It counts from the next call on, in every process.

        A refusal also deletes what was kept for that purpose, in the same transaction, down to the
        bytes. The answer itself stays, as the proof of it; the same answer again adds nothing.

        Args:
            user: The host's own id of the user.
            purposes: What they were asked about: one purpose, or several that they answered alike.
            state: What they said.
            version: Of the text that they were shown or told.
            channel: How they were asked, such as `cli` or `voice`.
            expires_at: When a grant ends by itself; None for never.

        Returns:
            The rows deleted from each table, or emptied of words.

        Raises:
            ConsentError: a purpose is none, or cannot become that; nothing was kept.
            StoreError: nothing was kept; or the rows are deleted but something keeps what they
                leave behind from being removed; says which.
        """
        who, now = pseudonym(self._key, user), self._clock()

        def write(connection: Connection) -> dict[str, int]:
            known = self._consents(connection, who, lock=True)
            answers = answered(
                known,
                purposes,
                state,
                version=version,
                channel=channel,
                now=now,
                expires_at=expires_at,
            )
            news = {p: said for p, said in answers.items() if not said.repeats(known.of(p))}
            user_id = consents.write(connection, who, news, now=now)
            if state not in REFUSALS:
                return {}
            refused = Consents({**known.given, **answers}).refused(now)
            return dict(forget_refused(connection, user_id, refused))

        counts = self._write(write)
        if state in REFUSALS:
            if Purpose.PROCESS_VOICE in ([purposes] if isinstance(purposes, str) else purposes):
                self._guests.forget(user)
            self._forget_deleted(changed=True)
        return counts

    def sweep(self, now: datetime | None = None, *, dry_run: bool = False) -> dict[str, int]:
        """Delete what was kept for long enough; may be repeated.

        That is what the retention says, and what consents had allowed that ended by themselves.
        Writers beside it wait for no more than a few milliseconds at a time, on PostgreSQL also
        while its tables are written anew at the end. Deleted rows are overwritten, but the gaps
        that moving rows left in a SQLite file are not: the next `erase` or refusal does that.

        Args:
            now: The present moment; the store's clock tells it if None.
            dry_run: Only count.

        Returns:
            How many of each kind went, or are due.

        Raises:
            StoreError: the store cannot be written; what was not reached is due the next time.
        """
        return self._sweep(self._retention or USUAL, now or self._clock(), dry_run=dry_run)

    def _sweep(
        self,
        retention: Retention,
        now: datetime,
        *,
        dry_run: bool = False,
        within: Seconds | None = None,
    ) -> dict[str, int]:
        def opened(write: bool) -> AbstractContextManager[Connection]:
            return self._open(write=write)

        sweep = Sweep(opened, retention, now, within=within)
        if dry_run:
            return sweep.due()
        # A server writes its tables anew for it, which is too long for whoever only opens a store.
        if (counts := sweep.run()) and (within is None or isinstance(self._database, SQLite)):
            self._forget_deleted()
        return counts

    def _sweep_daily(self, retention: Retention) -> None:
        now = self._clock()
        with self._open(write=False) as connection:
            last = last_sweep(connection)
        if (last is not None and abs(now - last) < DAILY) or not self.users():
            return
        try:
            if last is None:  # it was migrated just now, perhaps: its copy is not for deleting yet
                self._write(lambda connection: begin_sweeping(connection, now))
            else:
                self._sweep(retention, now, within=_AT_OPENING)
        except StoreError as error:  # it is due the next time
            log.warning("the store could not be swept: %s", error)

    def _consents(self, connection: Connection, who: str, *, lock: bool = False) -> Consents:
        """What a user said; with `lock`, nobody else can add to it in this transaction."""
        if lock:
            connection.execute(_LOCK_USER, {"who": who})
        return Consents(consents.read(connection, who), self._unasked, self._barred)

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
        self._guests.forget(user)
        counts = self._write(lambda connection: forget_user(connection, who))
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
