"""The store: one SQL database that holds what all users said, and gives each user's part back."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, bindparam, delete, func, select

from echat_memory import felt, mood_report, pauses, plans, recall, remembering
from echat_memory import trace as tracing
from echat_memory.budget import TOKENS
from echat_memory.database import Collided, open_database
from echat_memory.episodes import Episodes
from echat_memory.migrations import migrate
from echat_memory.mood_report import MoodReport
from echat_memory.plans import Remembered
from echat_memory.pseudonym import key_of, pseudonym
from echat_memory.schema import PERSONAL, UserRow
from echat_memory.trace import Trace
from echat_sdk.audio import Seconds
from echat_sdk.cues import Emotion
from echat_sdk.errors import StoreError
from echat_sdk.pause_profile import PauseProfile
from echat_sdk.turn import Recollection, Turn

RECENT_TURNS = 6
MAX_RECALLED = 1_000
"""Users of whom is known what their last reply was given, until its turn is kept."""

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
        felt: What the user said that they felt in it; None where they did not.
    """

    id: str
    session: str
    at: datetime
    turn: Turn
    felt: Emotion | None = None


class SQLMemory:
    """`echat_sdk.protocols.Memory` in SQL: one SQLite file, or a database of a PostgreSQL server.

    Everything is synchronous. Calls from several threads wait for each other; several processes
    may share one store. A turn that `remember` has returned survives a power cut.

    Args:
        url: The file, as `sqlite:////srv/echat.db` or a path; or `postgresql://USER@HOST/DATABASE`.
            What is missing in it is made, and an older schema is migrated, after a copy.
        turns: How many of the last turns `recall` gives.
        budget: Estimated tokens that all that `recall` gives may take; see `budget.py`.
        clock: Gives the present moment, with its zone.
        busy_timeout: How long a call waits for other processes, or for a server. Another right
            after it, if that was in vain, waits a fifth of a second.
        key_file: The key to the user ids, by default `FILE.key` beside a SQLite file, and
            `DATABASE.key` in the home folder for PostgreSQL. It is made with the store. Back both
            up; every machine that opens one database needs the same.

    Raises:
        ConfigError: the URL names no such store, or PostgreSQL's driver is not installed.
        MigrationError: the schema is newer than this program.
        StoreError: the store cannot be opened, or is not one.
    """

    def __init__(
        self,
        url: str | Path,
        *,
        turns: int = RECENT_TURNS,
        budget: int = TOKENS,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        busy_timeout: Seconds = BUSY_TIMEOUT,
        key_file: Path | None = None,
    ) -> None:
        self._turns = turns
        self._clock = clock
        self._lock = threading.Lock()
        self._episodes = Episodes()
        self._budget = budget
        self._recalled: OrderedDict[str, tuple[str, Remembered]] = OrderedDict()
        self._is_closed = False
        self._database = open_database(url, timeout=busy_timeout, key_file=key_file)
        try:
            migrate(self._database)
            self._key = key_of(self._database)
        except BaseException:
            self.close()
            raise

    def recall(self, user: str, *, query: str = "") -> Recollection:
        """What a reply to this user should know: turns, mood, facts, episodes; see `Memory.recall`.

        Raises:
            StoreError: the store cannot be read.
        """
        who, now = pseudonym(self._key, user), self._clock()
        with self._open(write=False) as connection:
            recalled = recall.recollect(
                connection,
                who,
                self._episodes,
                query=query,
                turns=self._turns,
                now=now,
                budget=self._budget,
            )
            self._recalled[who] = query, recalled.remembered
            self._recalled.move_to_end(who)
            if len(self._recalled) > MAX_RECALLED:
                self._recalled.popitem(last=False)
        return recalled.recollection

    def prefetch(self, user: str) -> None:
        """Make ready what `recall` of this user searches; see `Memory.prefetch`.

        Raises:
            StoreError: the store cannot be read.
        """
        who, now = pseudonym(self._key, user), self._clock()
        with self._open(write=False) as connection:
            self._episodes.prefetch(connection, who, now)

    def remember(self, user: str, turn: Turn, *, turn_id: str | None = None) -> str:
        """Make a turn, and the facts told in it, durable; see `Memory.remember`.

        Characters that no database can hold (NUL, lone surrogates) become U+FFFD.

        Raises:
            StoreError: the store cannot be written, or the user has no turn `turn_id`; nothing
                was kept.
        """
        who, now = pseudonym(self._key, user), self._clock()
        with self._lock:
            query, remembered = self._recalled.get(who, ("", None))

        def write(connection: Connection) -> int:
            kept = remembering.remember(connection, who, turn, turn_id=turn_id, now=now)
            plans.write(connection, kept, turn, remembered if query == turn.transcript else None)
            return kept

        kept = self._write(write)
        if turn_id is not None:
            with self._lock:
                self._episodes.change(who, kept)
        return str(kept)

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

    def mood(self, user: str, *, since: date | None = None, zone: tzinfo = UTC) -> MoodReport:
        """How a user has sounded: days, sittings, home base, deviation, trend.

        Made from their turns each time, and not kept: an erased turn leaves no trace in it.

        Args:
            user: The host's own id of the user.
            since: The first day that is listed; all days, and the sittings of eight weeks, where it
                is None.
            zone: Where the user's days begin at midnight.

        Raises:
            StoreError: the store cannot be read.
        """
        who, now = pseudonym(self._key, user), self._clock()
        today = now.astimezone(zone).date()
        with self._open(write=False) as connection:
            turns = felt.read(connection, who, since=since, today=today)
        return mood_report.report(turns, now=now, zone=zone, since=since)

    def report(self, user: str, turn_id: str, emotion: Emotion) -> None:
        """Keep what a user says that they felt in a turn; it outranks what the model heard.

        Both are kept. Of two reports on one turn the later counts.

        Args:
            user: The host's own id of the user.
            turn_id: What `remember` returned.
            emotion: Their word.

        Raises:
            StoreError: the store cannot be written, or the user has no turn `turn_id`.
        """
        who = pseudonym(self._key, user)
        self._write(lambda connection: felt.write(connection, who, turn_id, emotion))

    def show(self, user: str, limit: int = 20) -> list[StoredTurn]:
        """The last turns of a user, oldest first; none for a user never met.

        Raises:
            StoreError: the store cannot be read.
        """
        who = pseudonym(self._key, user)
        with self._open(write=False) as connection:
            return [
                StoredTurn(
                    id=str(row.id),
                    session=str(row.session_id),
                    at=row.created_at,
                    turn=turn,
                    felt=row.word and Emotion(row.word),
                )
                for row, turn in recall.last_turns(connection, who, limit)
            ]

    def trace(self, user: str, turn_id: str | None = None) -> Trace:
        """Why a turn was answered as it was: heard, felt, remembered, chosen.

        Args:
            user: The host's own id of the user.
            turn_id: What `remember` returned; None for the last turn.

        Raises:
            StoreError: the user has no such turn, or the store cannot be read.
        """
        who = pseudonym(self._key, user)
        row_id = None if turn_id is None else remembering.row_of(turn_id)
        with self._open(write=False) as connection:
            found = tracing.trace(connection, who, row_id)
        if found is None:
            raise StoreError("this user has no such turn; `show` tells the ids of their turns")
        return found

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
        counts = self._write(lambda connection: _erase(connection, who))
        with self._lock:
            self._episodes.forget(who)
            self._recalled.pop(who, None)
            self._database.forget_deleted()
        return counts

    def close(self) -> None:
        """Release the store. May be called twice."""
        with self._lock:
            self._is_closed = True
            self._database.close()

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
                yield connection


def _erase(connection: Connection, who: str) -> dict[str, int]:
    """Delete the rows of a user; returns how many from each table."""
    counts = dict.fromkeys([*(table.__tablename__ for table in PERSONAL), UserRow.__tablename__], 0)
    user_id = connection.execute(_LOCK_USER, {"who": who}).scalar_one_or_none()
    if user_id is not None:
        for table in PERSONAL:
            mine = table.__table__.c.user_id == user_id
            counts[table.__tablename__] = connection.execute(delete(table).where(mine)).rowcount
        connection.execute(delete(UserRow).where(UserRow.id == user_id))
        counts[UserRow.__tablename__] = 1
    return counts
