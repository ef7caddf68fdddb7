"""What rows leave behind in PostgreSQL when they are deleted, and how far SQL gets at it.

Removed, and a test scans the server's files for it:

- Dead rows in tables, their indexes and TOAST: the tables are written anew (`VACUUM FULL`).
- Copies from migrations: tables in the schema `..._echat_before_...`, dropped.
- The planner's statistics, which repeat values of a column: told not to, from the first migration.
- The write-ahead log, on a server with `wal_recycle = off` and no archive, slot or replica behind,
  for a role in `pg_checkpoint` that may execute `pg_switch_wal()`. Elsewhere the erased rows stay
  in the log until the server has written over it; that is said in a warning.

Out of reach: archived log, replicas, base backups, dumps, the server's own log if it logs
parameters, and what the file system leaves of files that it has removed.
"""

from __future__ import annotations

import logging
import time

from sqlalchemy import Connection, Integer, inspect, text

from echat_memory.schema import PERSONAL, UserRow
from echat_sdk.audio import Seconds
from echat_sdk.errors import StoreError

log = logging.getLogger(__name__)

_TABLES = [*(table.__tablename__ for table in PERSONAL), UserRow.__tablename__]
_PAUSE: Seconds = 0.05
_LOCK: Seconds = 1.0
"""How long a table is waited for: others queue behind, and must not wait in vain for it."""


def _copies(connection: Connection) -> str:
    """What the names of this store's copies begin with."""
    return f"{inspect(connection).default_schema_name}_echat_before_"


def copy_tables(connection: Connection, revision: str) -> None:
    """Copy all tables to a schema of their own, inside an open transaction."""
    quoted = connection.dialect.identifier_preparer.quote
    tables = [quoted(table) for table in inspect(connection).get_table_names()]
    # From here on others read only: the copy has what the migration will find.
    connection.exec_driver_sql(f"LOCK TABLE {', '.join(tables)} IN SHARE ROW EXCLUSIVE MODE")
    schema = _copies(connection) + revision
    connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {quoted(schema)} CASCADE")
    connection.exec_driver_sql(f"CREATE SCHEMA {quoted(schema)}")
    for table in tables:
        connection.exec_driver_sql(f"CREATE TABLE {quoted(schema)}.{table} AS TABLE {table}")
    keep_out_of_statistics(connection, schema)


def keep_out_of_statistics(connection: Connection, schema: str | None = None) -> None:
    """Have the planner keep no values of columns but ids and counts, inside an open transaction.

    They would outlive their rows in `pg_statistic`. No statement of ours needs them.
    """
    inspector, quoted = inspect(connection), connection.dialect.identifier_preparer.quote
    name = quoted(schema or str(inspector.default_schema_name))
    for table in inspector.get_table_names(schema):
        told = [
            f"ALTER COLUMN {quoted(column['name'])} SET STATISTICS 0"
            for column in inspector.get_columns(table, schema)
            if not isinstance(column["type"], Integer)
        ]
        if told:
            connection.exec_driver_sql(f"ALTER TABLE {name}.{quoted(table)} {', '.join(told)}")


def remove(connection: Connection, name: str, *, timeout: Seconds) -> None:
    """Remove what deleted rows leave behind, as the module says. No transaction may be open.

    Args:
        connection: To the server; statements that are run alone are committed by themselves.
        name: The store, for messages.
        timeout: How long old transactions are waited for.

    Raises:
        StoreError: the tables are not ours to clean, or an old transaction keeps dead rows alive.
    """
    quoted = connection.dialect.identifier_preparer.quote
    _must_own(connection, name)
    _run(connection, "SET statement_timeout = 0")
    _run(connection, f"SET lock_timeout = {round(_LOCK * 1000)}")
    try:
        for schema in _found(
            connection,
            "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, :prefix)",
            prefix=_copies(connection),
        ):
            _run(connection, f"DROP SCHEMA {quoted(schema)} CASCADE")
        _wait_for_old_transactions(connection, name, timeout)
        for table in _TABLES:
            _run(connection, f"VACUUM (FULL) {table}")
        _remove_log(connection, name)
    finally:
        _run(connection, "RESET statement_timeout")
        _run(connection, "RESET lock_timeout")


def _must_own(connection: Connection, name: str) -> None:
    """VACUUM passes over a table of somebody else with no more than a warning."""
    foreign = [
        table
        for table in _TABLES
        if not _found(
            connection,
            "SELECT 1 FROM pg_class"
            " WHERE oid = to_regclass(:table) AND pg_has_role(relowner, 'USAGE')",
            table=table,
        )
    ]
    if foreign:
        raise StoreError(
            f"the rows are deleted from {name}, but their bytes are not: only the owner of its "
            "tables may write them anew. Erase again as the owner."
        )


def _wait_for_old_transactions(connection: Connection, name: str, timeout: Seconds) -> None:
    """Until nobody can see the deleted rows any more; tables written anew would keep them else."""
    until = time.monotonic() + timeout
    waiting = _TABLES
    while True:
        for table in waiting:
            _run(connection, f"VACUUM {table}")
        # What VACUUM has just counted as dead and could not remove.
        waiting = [
            table
            for table in waiting
            if _found(
                connection,
                "SELECT 1 WHERE pg_stat_get_dead_tuples(to_regclass(:table)) > 0",
                table=table,
            )
        ]
        if not waiting:
            return
        if time.monotonic() >= until:
            raise StoreError(
                f"the rows are deleted from {name}, but an old transaction, prepared transaction "
                "or replica keeps them alive; end it (see pg_stat_activity) and erase again"
            )
        time.sleep(_PAUSE)


def _remove_log(connection: Connection, name: str) -> None:
    may, recycles = _row(
        connection,
        "SELECT has_function_privilege('pg_switch_wal()', 'EXECUTE')"
        " AND pg_has_role('pg_checkpoint', 'USAGE'),"
        " current_setting('wal_recycle')::boolean",
    )
    if may:
        _run(connection, "SELECT pg_switch_wal()")
        _run(connection, "CHECKPOINT")
    if recycles or not may:
        log.warning(
            "erased rows stay in the write-ahead log of %s until its server has written over it; "
            "to have them removed, set wal_recycle = off, GRANT pg_checkpoint and GRANT EXECUTE ON "
            "FUNCTION pg_switch_wal() to this role",
            name,
        )


def _run(connection: Connection, statement: str) -> None:
    with connection.begin():
        connection.exec_driver_sql(statement)


def _found(connection: Connection, query: str, **values: str) -> list[str]:
    with connection.begin():
        return [str(found) for found in connection.execute(text(query), values).scalars()]


def _row(connection: Connection, query: str) -> tuple[bool, bool]:
    with connection.begin():
        may, recycles = connection.execute(text(query)).one()
    return bool(may), bool(recycles)
