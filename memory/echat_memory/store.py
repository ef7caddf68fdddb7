"""The store: one SQL database that holds what all users said, and gives each user's part back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, bindparam, delete, func, select

from echat_memory import consents, pauses, recall, remembering, sqlite
from echat_memory.forgetting import forget_refused
from echat_memory.guests import RECENT_TURNS, Guests
from echat_memory.migrations import migrate
from echat_memory.pseudonym import create_key, pseudonym, read_key
from echat_memory.schema import PERSONAL, UserRow
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

log = logging.getLogger(__name__)

BUSY_TIMEOUT: Seconds = 2.0
"""Soon enough that a conversation says within three seconds that it cannot keep a turn, and ends
within as many."""

_AT_OPENING: Seconds = 1.0
"""How long a sweep may take when a store is opened; the rest is due the next time."""

_PAUSES = frozenset({Purpose.PROCESS_VOICE, Purpose.LONG_TERM_MEMORY})
"""What it takes to keep how somebody pauses."""

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

    Of each user it keeps what they agreed to, and no more; see `consent`. What they did not agree
    to have kept is held in RAM as long as their session lasts, so that one can talk to a guest.

    Args:
        url: The file, as `sqlite:////srv/echat.db` or a path. It is made where it is missing, and
            an older schema is migrated, after a copy. Beside it lies `FILE.key`, the key to the
            user ids: back both up.
        turns: How many of the last turns `recall` gives.
        unasked: Purposes that count as granted as long as nobody asked; for hosts that have seen
            to consent elsewhere. By default none: who was never asked is a guest.
        barred: Purposes that nobody can agree to here; see `echat_sdk.consent.barred_in`.
        retention: How long things stay: opening the store sweeps it, a second at most and once a
            day, beginning a day after it was first opened with users in it. None sweeps only when
            told to.
        clock: Gives the present moment, with its zone.
        busy_timeout: How long a write waits for another process that is writing. Another right
            after it, if that was in vain, waits a fifth of a second.

    Raises:
        ConfigError: the URL names no SQLite file, or the retention no kind of fact.
        MigrationError: the schema is newer than this program.
        StoreError: the file cannot be opened, or is not a store.
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
    ) -> None:
        self._path = sqlite.file_of(url)
        self._turns = turns
        self._unasked = frozenset(unasked)
        self._barred = frozenset(barred)
        self._retention = retention
        self._clock = clock
        self._guests = Guests(clock)
        self._lock = threading.Lock()
        key_file = self._path.with_name(self._path.name + ".key")
        sqlite.create_file(self._path)
        with sqlite.plain_errors(self._path):
            self._connection = sqlite.connect(self._path, busy_timeout=sqlite.OPENING)
            self._write_lock = sqlite.WriteLock(self._connection, busy_timeout)
            try:
                with _os_errors(key_file):
                    migrate(self._connection, self._path)
                    if not key_file.exists() and not self.users():
                        create_key(key_file)
                self._key = read_key(key_file)
                if retention is not None:
                    self._sweep_daily(check_kinds(retention))
            except BaseException:
                self._connection.close()
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
            with self._open(write=True) as connection:
                known = self._consents(connection, who)  # they may have been withdrawn just now
                allowed = known.allowed(now)
                row_id = remembering.remember(
                    connection, who, turn, turn_id=turn_id, now=now, allowed=allowed
                )
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
        if self.allowed(user) >= _PAUSES:
            with self._open(write=True) as connection:
                if self._consents(connection, who).allowed(now) >= _PAUSES:
                    pauses.write(connection, who, profile)
                    return
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
            StoreError: nothing was kept; or the rows are deleted but another process keeps the log
                from being emptied; says which.
        """
        who, now = pseudonym(self._key, user), self._clock()
        with self._open(write=True) as connection:
            known = self._consents(connection, who)
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
            counts = forget_refused(connection, user_id, refused)
        if Purpose.PROCESS_VOICE in answers:
            self._guests.forget(user)
        self._forget_deleted()
        return dict(counts)

    def sweep(self, now: datetime | None = None, *, dry_run: bool = False) -> dict[str, int]:
        """Delete what was kept for long enough, down to the bytes; may be repeated.

        That is what the retention says, and what consents had allowed that ended by themselves.
        Writers beside it wait for no more than a few milliseconds at a time.

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
        if counts := sweep.run():
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
                with self._open(write=True) as connection:
                    begin_sweeping(connection, now)
            else:
                self._sweep(retention, now, within=_AT_OPENING)
        except StoreError as error:  # it is due the next time
            log.warning("the store could not be swept: %s", error)

    def _forget_deleted(self) -> None:
        with self._lock, sqlite.plain_errors(self._path), _os_errors(self._path):
            sqlite.forget_deleted(self._connection, self._path)

    def _consents(self, connection: Connection, who: str) -> Consents:
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
        others made are out of reach.

        Returns:
            The rows deleted from each table; all zero for a user who is not there.

        Raises:
            StoreError: nothing was deleted, or the rows were but another process keeps the log
                from being emptied; says which.
        """
        who = pseudonym(self._key, user)
        self._guests.forget(user)
        counts = dict.fromkeys(
            [*(table.__tablename__ for table in PERSONAL), UserRow.__tablename__], 0
        )
        with self._open(write=True) as connection:
            user_id = connection.execute(_FIND_USER, {"who": who}).scalar_one_or_none()
            if user_id is not None:
                for table in PERSONAL:
                    mine = table.__table__.c.user_id == user_id
                    deleted = connection.execute(delete(table).where(mine))
                    counts[table.__tablename__] = deleted.rowcount
                connection.execute(delete(UserRow).where(UserRow.id == user_id))
                counts[UserRow.__tablename__] = 1
        self._forget_deleted()
        return counts

    def close(self) -> None:
        """Release the store. May be called twice."""
        with self._lock:
            self._connection.close()

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
