"""All that is PostgreSQL's own: reaching a server, transactions, copies, real deletion, its errors.

Several processes, on several machines, may write at once. Each statement of a write sees what was
committed before it (READ COMMITTED), and every write for a user begins by locking the user's row:
so one user's writes come one by one, as REPEATABLE READ would only achieve by refusing one of
two. What is left, two processes that meet a new user at once, ends as `Collided` and is done again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import Connection, RootTransaction, create_engine, exc
from sqlalchemy.engine.url import URL
from sqlalchemy.pool import NullPool

from echat_memory import leftovers
from echat_memory.database import AGAIN, OPENING, Collided, Patience
from echat_sdk.audio import Seconds
from echat_sdk.config import home_dir
from echat_sdk.errors import ConfigError, StoreError

OLDEST = 15
"""The oldest major version of the server that this is tested with."""

# Of the time that we wait ourselves, so that what the server gives as its reason comes first.
_LOCK_SHARE = 0.8
_STATEMENT_SHARE = 0.9
_ALONE_KEY = 0x65636861  # "echa": the key of the advisory lock, one a database

_SESSION = (
    # A commit that returned survives a power cut. `remote_apply` and others promise more, not less.
    "SELECT set_config('synchronous_commit', 'on', false)"
    " WHERE current_setting('synchronous_commit') = 'off';"
    "SET idle_in_transaction_session_timeout = '30s';"  # who holds locks and is gone lets go
    "SET jit = off;"  # compiling takes longer than any statement of ours
    # Every statement of ours finds a few rows by an index. A planner that has not counted the rows
    # yet, as in a new store, may take reading a whole table for cheaper.
    "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_material = off;"
    "SET enable_mergejoin = off; SET enable_hashjoin = off"
)
_READ = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
    "SET LOCAL lock_timeout = {0}; SET LOCAL statement_timeout = {1}"
)
_SNAPSHOT = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
    "SET LOCAL statement_timeout = 0;"
    "SET LOCAL idle_in_transaction_session_timeout = '10min'"  # who reads it may be a slow disk
)
_WRITE = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
    "SET LOCAL lock_timeout = {0}; SET LOCAL statement_timeout = {1};"
    "SELECT pg_current_xact_id()::text"
)
_ALONE = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
    "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;"
    "SET LOCAL lock_timeout = {0};"
    f"SELECT pg_advisory_xact_lock({_ALONE_KEY})"
)

_Result = TypeVar("_Result")


def checked(url: URL) -> URL:
    """A URL of PostgreSQL that can be used.

    Raises:
        ConfigError: it names no database, or shows a password.
    """
    if not url.database:
        raise ConfigError(
            "store: got a PostgreSQL URL without a database; "
            "expected postgresql://USER@HOST/DATABASE"
        )
    if "password" in url.query:
        raise ConfigError(
            "store: got a password behind the ? of the URL; "
            "put it in ~/.pgpass or PGPASSWORD, or before the @"
        )
    return url.set(drivername="postgresql+psycopg")


class _Driver(psycopg.Connection[Any]):
    """A connection that waits for a server until a moment, and is closed then."""

    deadline: Seconds = math.inf

    def wait(
        self, gen: PQGen[_Result], interval: float = 0.1, timeout: float | None = None
    ) -> _Result:
        left = self.deadline - time.monotonic()
        if timeout is None and left < math.inf:
            timeout = max(left, 0.0)
        try:
            return super().wait(gen, interval, timeout)
        except psycopg.OperationalError:
            # A query is under way, and nobody will hear its answer.
            if self.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


class PostgreSQL:
    """`Database` on a server.

    A connection that was lost, since the server was started again, is made again at the next call.

    Args:
        url: As `checked` gives it.
        timeout: How long a call waits for others' locks and for the server.
        key_file: The key to the user ids; by default `DATABASE.key` in the home folder.
        clock: Seconds, rising.
    """

    def __init__(
        self,
        url: URL,
        *,
        timeout: Seconds,
        key_file: Path | None = None,
        clock: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        self._url = url
        self._key_file = key_file or home_dir() / f"{quote(str(url.database), safe='')}.key"
        self._patience = Patience(timeout, clock=clock)
        self._engine = create_engine(
            url,
            creator=self._connect,
            poolclass=NullPool,
            hide_parameters=True,  # what people said must not reach an error message
            use_native_hstore=False,
        )
        with self._plain_errors():
            self._connection = self._engine.connect()
            self._check()

    @property
    def name(self) -> str:
        """The URL, without a password."""
        where = {key: self._url.query[key] for key in ("host", "port") if key in self._url.query}
        url = self._url.set(drivername="postgresql", query=where)
        return url.render_as_string(hide_password=True)

    @property
    def connection(self) -> Connection:
        """To the server."""
        return self._connection

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[Connection]:
        """See `Database.transaction`. Reading waits for the server alone."""
        with self._plain_errors():
            until = time.monotonic() + self._patience.seconds
            try:
                transaction, xid = self._begin(_WRITE if write else _READ, self._patience.seconds)
                with self._ended(transaction, xid if write else ""):
                    yield self._connection
            except (exc.DBAPIError, psycopg.Error) as error:
                # One that was ended at once cost no time, and another may be had at once.
                waited = self._is_lost() and time.monotonic() >= until
                if _sqlstate(error) in _WAITS or waited:
                    self._patience.in_vain()
                raise
            self._patience.rewarded()

    def stamp(self) -> None:
        """See `Database.stamp`: to ask a server is a round trip."""

    def others(self) -> None:
        """See `Database.others`."""

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """See `Database.snapshot`."""
        with self._plain_errors():
            transaction, _ = self._begin(_SNAPSHOT, OPENING, is_patient=True)
            with self._ended(transaction, ""):
                yield self._connection

    @property
    def key_file(self) -> Path:
        """On this machine, never in the database."""
        return self._key_file

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """See `Database.alone`. Others that want to be wait for an advisory lock."""
        with self._plain_errors():
            transaction, _ = self._begin(_ALONE, OPENING, is_patient=True)
            with self._ended(transaction, ""):
                yield self._connection

    def reshaping(self) -> AbstractContextManager[Connection]:
        """See `Database.reshaping`: tables are altered in their place."""
        return self.alone()

    def back_up(self, connection: Connection, revision: str) -> None:
        """Copy all tables to a schema of their own, in the transaction that migrates them.

        Not a file of `pg_dump`: one would lie on whichever machine migrated first, out of an
        erasure's reach, and whether there is a `pg_dump` as new as the server is luck.
        """
        leftovers.copy_tables(connection, revision)

    def migrated(self, connection: Connection) -> None:
        """Keep what people said out of the planner's statistics."""
        leftovers.keep_out_of_statistics(connection)

    def in_words(self, error: exc.DBAPIError | psycopg.Error) -> str:
        """See `Database.in_words`."""
        return _in_words(self.name, error)

    def forget_deleted(self, *, changed: bool = False) -> None:
        """Write the tables anew without dead rows, and have the log removed as far as is allowed.

        `leftovers` says what that reaches.
        """
        try:
            leftovers.remove(self._connection, self.name, timeout=OPENING)
        except exc.DBAPIError as error:
            raise StoreError(
                "the rows are deleted, but what they leave behind is not removed yet: "
                f"{self.in_words(error)}. Erase again."
            ) from None

    def close(self) -> None:
        """Leave the server. May be called twice."""
        self._connection.close()
        self._engine.dispose()

    # --- the connection -----------------------------------------------------------------------

    def _connect(self) -> _Driver:
        arguments = self._engine.dialect.create_connect_args(self._url)[1]
        given = {"connect_timeout": 2, "application_name": "echat", **arguments}
        try:
            driver = _Driver.connect(**given, autocommit=True, client_encoding="utf8")
            driver.execute(_SESSION)
        except psycopg.Error as error:
            # Without a cause: nobody knows what a server repeats of what it was given.
            raise StoreError(_refusal(f"the store {self.name}", error)) from None
        return driver

    @property
    def _driver(self) -> _Driver:
        driver: Any = self._connection.connection.dbapi_connection
        assert isinstance(driver, _Driver)
        return driver

    def _is_lost(self) -> bool:
        return self._connection.invalidated or self._connection.closed or self._driver.closed

    def _check(self) -> None:
        """Whether this server will do."""
        info = self._driver.info
        if info.server_version < OLDEST * 10_000:
            raise StoreError(
                f"{self.name} is PostgreSQL {info.server_version // 10_000}; "
                f"the store needs {OLDEST} or newer"
            )
        encoding = info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise StoreError(
                f"the database {self.name} has the encoding {encoding}, which cannot hold every "
                "language; make one with ENCODING 'UTF8'"
            )

    def _reconnect(self) -> None:
        if self._patience.hurries:  # it was away a moment ago; another two seconds are too many
            raise StoreError(f"the server of the store {self.name} is still away; try again soon")
        if not self._connection.closed:
            self._connection.invalidate()
            self._connection.close()
        try:
            self._connection = self._engine.connect()
        except StoreError:
            self._patience.in_vain()
            raise

    # --- transactions -------------------------------------------------------------------------

    def _begin(
        self, statements: str, seconds: Seconds, *, is_patient: bool = False
    ) -> tuple[RootTransaction, str]:
        """Begin, on a new connection where the old one is gone; the last value that comes back."""
        statements = statements.format(
            *(max(1, round(seconds * 1000 * share)) for share in (_LOCK_SHARE, _STATEMENT_SHARE))
        )
        deadline = math.inf if is_patient else time.monotonic() + seconds
        if self._is_lost():
            self._reconnect()
            return self._try_begin(statements, deadline)
        try:
            return self._try_begin(statements, deadline)
        except psycopg.OperationalError:
            if not self._is_lost() or time.monotonic() >= deadline:
                raise
        self._reconnect()
        return self._try_begin(statements, deadline)

    def _try_begin(self, statements: str, deadline: Seconds) -> tuple[RootTransaction, str]:
        transaction = self._connection.begin()
        try:
            self._driver.deadline = deadline
            # All in one round trip, past SQLAlchemy.
            with self._driver.cursor() as cursor:
                cursor.execute(statements, prepare=False)
                while cursor.nextset():
                    pass
                found = cursor.fetchone() if cursor.description else None
        except BaseException:
            self._roll_back(transaction)
            raise
        return transaction, "" if found is None else str(found[0])

    @contextmanager
    def _ended(self, transaction: RootTransaction, xid: str) -> Iterator[None]:
        """Keep what was done inside, or nothing of it."""
        try:
            yield
        except BaseException:
            self._roll_back(transaction)
            raise
        try:
            transaction.commit()
        except (exc.DBAPIError, psycopg.Error):
            lost = self._is_lost()
            self._roll_back(transaction)
            if not (xid and lost and self._was_kept(xid)):
                raise
        else:
            self._driver.deadline = math.inf

    def _roll_back(self, transaction: RootTransaction) -> None:
        if self._is_lost():
            self._connection.invalidate()  # else the next line would speak to nobody, and log it
        else:
            # A moment of its own: that the time was up is why we are here.
            self._driver.deadline = time.monotonic() + AGAIN
        try:
            transaction.rollback()
        except (exc.DBAPIError, psycopg.Error):
            self._connection.invalidate()
        if not self._is_lost():
            self._driver.deadline = math.inf

    def _was_kept(self, xid: str) -> bool:
        """Whether a transaction was committed whose end nobody told us.

        Raises:
            StoreError: that cannot be known; it may have been.
        """
        try:
            self._reconnect()
            for _ in range(10):
                with self._connection.begin():
                    status = self._connection.exec_driver_sql(
                        "SELECT pg_xact_status(%s::xid8)", (xid,)
                    ).scalar_one()
                if status != "in progress":
                    return bool(status == "committed")
                time.sleep(AGAIN / 10)  # its process has not noticed yet that we are gone
        except (exc.DBAPIError, psycopg.Error, StoreError):
            pass  # told below
        raise StoreError(
            f"the connection to the store {self.name} was lost while something was being kept; "
            "it may have been kept or not"
        )

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except (exc.DBAPIError, psycopg.Error) as error:
            told = Collided if _sqlstate(error) in _COLLISIONS else StoreError
            # Without a cause: PostgreSQL's own messages may repeat a whole row.
            raise told(_in_words(self.name, error)) from None


# --- errors ----------------------------------------------------------------------------------

_COLLISIONS = {
    "40001",  # serialization failure
    "40P01",  # deadlock
    "23505",  # unique violation: nobody but another process can have written the same
    "23503",  # foreign key violation: somebody was erased meanwhile
}
_WAITS = {"55P03", "57014", "40P01"}  # lock timeout, statement timeout, deadlock (after a second)
_IN_WORDS = {
    "55P03": "{} is locked by another process; try again when it has finished",
    "57014": "{} took too long to answer; see what else its server is doing",
    "40001": "{} was written by another process at the same time; try again",
    "40P01": "{} was written by another process at the same time; try again",
    "23505": "{} was written by another process at the same time; try again",
    "23503": "{} was written by another process at the same time; try again",
    "53100": "no space is left for {}; nothing was written. Free some space.",
    "53200": "the server of {} is out of memory",
    "53300": "the server of {} has no connection left; raise its max_connections",
    "25006": "{} is read-only; if its server is a standby, name the primary",
    "42501": "this role may not do that to {}; let its owner open it once, or GRANT what it needs",
    "XX001": "{} is damaged; put it back from a backup",
    "XX002": "{} is damaged; put it back from a backup, or REINDEX it",
    "58030": "reading or writing {} failed; check the server's disk",
}
# What a server says when it refuses a connection, for which the driver gives no code.
_REFUSALS = {
    "password authentication failed": "the server of {} refused the password; check it",
    "no password supplied": "the server of {} wants a password; put it in ~/.pgpass or PGPASSWORD",
    "no pg_hba.conf entry": "the server of {} lets nobody in from here; see its pg_hba.conf",
    "Peer authentication failed": "the server of {} knows this system's user under another name",
    "too many clients": _IN_WORDS["53300"],
    "remaining connection slots": _IN_WORDS["53300"],
    "starting up": "the server of {} is starting; try again soon",
    "shutting down": "the server of {} is shutting down",
    "could not translate host name": "there is no host of that name for {}",
    "failed to resolve host": "there is no host of that name for {}",
}
_MISSING = {
    'database "': "there is no database {}; make it with: createdb -E UTF8 NAME",
    'role "': "the server of {} knows no such role; make it with: createuser NAME",
}


def _sqlstate(error: exc.DBAPIError | psycopg.Error) -> str:
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    return str(getattr(cause, "sqlstate", None) or "")


def _in_words(name: str, error: exc.DBAPIError | psycopg.Error) -> str:
    """What went wrong with the store, and what to do. Without what was to be written."""
    store, code = f"the store {name}", _sqlstate(error)
    if code in _IN_WORDS:
        return _IN_WORDS[code].format(store)
    if not code or code.startswith(("08", "57P")):
        return f"the connection to {store} was lost; nothing was kept of what was being written"
    return f"{store} refused a statement (PostgreSQL error {code})"


def _refusal(store: str, error: psycopg.Error) -> str:
    """Why no connection came about, and what to do."""
    said = str(error)
    for words, told in _REFUSALS.items():
        if words in said:
            return told.format(store)
    for words, told in _MISSING.items():
        if words in said and "does not exist" in said:
            return told.format(store)
    if "FATAL" in said:
        return f"the server of {store} refused the connection; see its log"
    return f"cannot reach the server of {store}; check that it runs, and host and port"
