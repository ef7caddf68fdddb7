"""An open store, whosever rows it has: its transactions, its keys, what has had its time.

It has two locks. That of the database is held as long as a transaction takes, until a commit is on
the disk. That of what is held in RAM is held for moments, so that who finds all there waits for no
transaction. What was read is changed only with both; who has the first may take the second, never
the reverse.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection, bindparam, func, select

from echat_memory import audit, encrypting, rotation, sealing
from echat_memory.budget import TOKENS
from echat_memory.database import Collided, open_database
from echat_memory.episodes import Episodes
from echat_memory.erasure import Erasures
from echat_memory.guests import RECENT_TURNS, Guests
from echat_memory.keepers import Keeper
from echat_memory.keys import Encryption
from echat_memory.migrations import migrate
from echat_memory.plans import Remembered
from echat_memory.pseudonym import key_of, pseudonym
from echat_memory.ready import MOST_USERS, Ready, Written
from echat_memory.schema import UserRow
from echat_memory.sqlite import SQLite
from echat_memory.sweeping import DAILY, Sweep, begin_sweeping, check_kinds, last_sweep
from echat_sdk.audio import Seconds
from echat_sdk.errors import StoreError
from echat_sdk.retention import USUAL, Retention

if TYPE_CHECKING:
    from echat_memory.cipher import Cipher

log = logging.getLogger(__name__)

BUSY_TIMEOUT: Seconds = 2.0
"""Soon enough that a conversation says within three seconds that it cannot keep a turn, and ends
within as many."""

_AT_OPENING: Seconds = 1.0
"""How long a sweep may take when a store is opened, or whoever has copies of what was erased; the
rest is due the next time."""

_LOCK_USER = select(UserRow.id).where(UserRow.pseudonym == bindparam("who")).with_for_update()
_COUNT_USERS = select(func.count()).select_from(UserRow)

T = TypeVar("T")

_REST: Seconds = 0.05


class OpenStore:
    """What `SQLMemory` stands on; its arguments and attributes are told there."""

    def __init__(
        self,
        url: str | Path,
        *,
        turns: int = RECENT_TURNS,
        budget: int = TOKENS,
        unasked: Collection[str] = (),
        barred: Collection[str] = (),
        retention: Retention | None = USUAL,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        busy_timeout: Seconds = BUSY_TIMEOUT,
        key_file: Path | None = None,
        encryption: Encryption | None = None,
        on_erase: Collection[Keeper] = (),
    ) -> None:
        self._turns = turns
        self._unasked = frozenset(unasked)
        self._barred = frozenset(barred)
        self._retention = retention
        self._clock = clock
        self._guests = Guests(clock)
        self._lock = threading.Lock()  # of the database
        self._holding = threading.Lock()  # of what is held
        self._episodes = Episodes(self._holding)
        self._ready = Ready(self._episodes)
        self._budget = budget
        self._recalled: OrderedDict[str, tuple[str, Remembered]] = OrderedDict()
        self._is_closed = False
        self._cipher: Cipher | None = None
        self.converted = 0
        self._encryption = encryption
        self._open_again = partial(
            open_database, url, timeout=busy_timeout, key_file=key_file, encryption=encryption
        )
        self._database = self._open_again()
        try:
            self._cipher = encrypting.find(self._database, encryption)
            came_from = migrate(self._database)
            self._key = key_of(self._database, clock(), migrated_from=came_from)
            self._pseudonym = lru_cache(MOST_USERS)(partial(pseudonym, self._key))
            self._erasures = Erasures(
                opened=self._reading,
                write=lambda work, who: self._write(work, what=Written(who, only_turns=False)),
                forget_deleted=lambda: self._forget_deleted(changed=True),
                drop_held=self._drop_held,
                pseudonym=self.pseudonym,
                keepers=tuple(on_erase),
                clock=clock,
            )
            if isinstance(self._database, SQLite) and self._database.was_plain:
                with self._open(write=True) as connection:
                    rotation.tell(connection, "", "encryption on", clock())
            self._erasures.resume(within=_AT_OPENING)
            if encryption is not None and encryption.mode == "fields":
                self._encrypt(encryption)
            if retention is not None:
                self._sweep_daily(check_kinds(retention))
        except BaseException:
            self.close()
            raise

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
        counts = sweep.run()
        if counts:
            self._drop_held()
        # A server writes its tables anew for it, which is too long for whoever only opens a store.
        if counts and (within is None or isinstance(self._database, SQLite)):
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

    def pseudonym(self, user: str) -> str:
        """The pseudonym under which this user's rows are, as `Keeper`s are told it."""
        return self._pseudonym(user)

    def users(self) -> int:
        """How many users the store knows.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._open(write=False) as connection:
            return connection.execute(_COUNT_USERS).scalar_one()

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
                who = {"who": self.pseudonym(user)}
                ids = list(connection.execute(_LOCK_USER, who).scalars())
        now = self._clock()
        count = sum(rotation.rotate(self._writing, cipher, user_id, now) for user_id in ids)
        self._forget_deleted()
        return count

    def rotate_key(self) -> int:
        """Wrap all users' keys with a new KEK; see `Encryption.key` for who makes it.

        Returns:
            How many keys were wrapped anew.

        Raises:
            StoreError: the store is not encrypted, no newer KEK was given, or it cannot be written.
        """
        cipher = rotation.must_be(self._cipher, self._database.name)
        count = rotation.rotate_kek(self._writing, cipher, self._clock())
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
        with self._open(write=True) as connection:
            rotation.tell(connection, "", "file key rotated", self._clock())

    def close(self) -> None:
        """Release the store. May be called twice."""
        with self._lock, self._holding:
            self._is_closed = True
            self._database.close()
            if self._cipher is not None:
                self._cipher.close()

    def _encrypt(self, encryption: Encryption) -> None:
        """Encrypt what is plain."""
        if self._cipher is None:
            self._cipher = encrypting.begin(self._database, encryption, self._key, self._clock())
        if self._cipher.accepts_plain:
            self.converted = encrypting.convert(self._writing, self._cipher)
            self._forget_deleted(changed=True)

    def _reading(self) -> AbstractContextManager[Connection]:
        return self._open(write=False)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction of many that write, and as long a rest: others get their turn."""
        began = time.monotonic()
        with self._open(write=True) as connection:
            yield connection
        time.sleep(min(time.monotonic() - began, _REST))

    def _forget_deleted(self, *, changed: bool = False) -> None:
        with self._lock:
            others = self._check()
            try:
                self._database.forget_deleted(changed=changed)
            finally:
                self._wrote(others, Written())

    @contextmanager
    def _beside(self, *, write: bool) -> Iterator[Connection]:
        """A transaction for as long as it takes, on a connection of its own: no call waits for it.

        On SQLite others cannot write while one that writes lasts.
        """
        self._must_be_open()
        with closing(self._open_again()) as database:
            cipher = encrypting.find(database, self._encryption)
            with (
                closing(cipher) if cipher else nullcontext(),
                database.alone() if write else database.snapshot() as connection,
            ):
                sealing.use(connection, cipher)
                audit.use(connection, self._key)
                yield connection

    def _drop_held(self, who: str | None = None) -> None:
        """Drop what is held in RAM of a user's words, or of everybody's; rows are read again."""
        with self._lock, self._holding:
            self._episodes.forget(who)
            self._ready.drop(who)
            if who is None:
                self._recalled.clear()
            else:
                self._recalled.pop(who, None)

    def _write(self, work: Callable[[Connection], T], *, what: Written | None = None) -> T:
        """Do something in a transaction that writes; once more where another process was in it.

        Args:
            work: What is done.
            what: See `Ready.wrote`.
        """
        try:
            with self._open(write=True, what=what) as connection:
                return work(connection)
        except Collided:
            with self._open(write=True, what=what) as connection:
                return work(connection)

    @contextmanager
    def _at_hand(self) -> Iterator[bool]:
        """The lock of what is held, and whether that is what the rows say now."""
        with self._holding:
            self._must_be_open()
            yield self._ready.is_of(self._database.stamp())

    @contextmanager
    def _open(self, *, write: bool, what: Written | None = None) -> Iterator[Connection]:
        """A transaction; what is held is what the rows say in it."""
        with self._lock:
            self._must_be_open()
            others = self._check()
            try:
                with self._database.transaction(write=write) as connection:
                    if write:  # nobody else writes from here on
                        others = self._check()
                    sealing.use(connection, self._cipher)
                    audit.use(connection, self._key)
                    yield connection
            finally:
                if write:
                    self._wrote(others, what)

    def _must_be_open(self) -> None:
        if self._is_closed:
            raise StoreError(f"the store {self._database.name} is closed; open it again")

    def _check(self) -> int | None:
        """Drop what is held if it is not what the rows say; what `_wrote` is told then."""
        # Asked first: who writes between the two is seen by the second, or by the next.
        others = self._database.others()
        stamp = self._database.stamp()
        with self._holding:
            self._ready.check(stamp)
        return others

    def _wrote(self, others: int | None, what: Written | None) -> None:
        """Tell what is held what was written; without a word of others since, its stamp is new.

        Args:
            others: What `_check` returned before.
            what: See `Ready.wrote`.
        """
        stamp = self._database.stamp()
        try:  # asked last: who writes between the two is seen by the first, the next time
            is_ours = others is not None and self._database.others() == others
        except StoreError:
            is_ours = False
        with self._holding:
            self._ready.wrote(what if is_ours else None, stamp)
