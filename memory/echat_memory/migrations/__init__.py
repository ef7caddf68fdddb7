"""Bringing a store to this program's schema. Alembic is imported only when there is work to do."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, exc, inspect, select, text

from echat_memory import audit, pseudonym
from echat_memory.database import Database
from echat_memory.schema import HEAD, KeyCheckRow
from echat_sdk.errors import MigrationError, StoreError

SCRIPTS = Path(__file__).parent


def migrate(database: Database, *, scripts: Path = SCRIPTS, head: str = HEAD) -> str | None:
    """Bring the store to `head`: a new one is made, an older one is copied first.

    Two processes may do this at once: the second waits, then finds nothing to do. A process that
    dies on the way leaves the store as it was.

    Returns:
        The schema that the store had; None for a new one, and where there was nothing to do.

    Raises:
        MigrationError: the store is newer than this program, or a migration failed.
        StoreError: this is another program's database.
    """
    with database.transaction(write=False) as connection:
        if _revision(connection, database) == head:
            return None
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}

    with database.reshaping() as connection:
        revision = _revision(connection, database)
        if revision == head:
            return None
        if revision is not None and revision not in known:
            raise MigrationError(
                f"the store {database.name} has schema {revision}, this program knows up to "
                f"{head}. Update echat-sdk, or open another store."
            )
        config.attributes["connection"] = connection
        try:
            if revision is not None:
                database.back_up(connection, revision)
            command.upgrade(config, head)
            database.migrated(connection)
            if revision is not None:
                _tell(connection, database, revision, head)
        except CommandError as error:
            raise _failed(revision, head, str(error)) from error
        except exc.DBAPIError as error:
            # Without a cause: PostgreSQL's may repeat a row.
            raise _failed(revision, head, database.in_words(error)) from None
    return revision


def _tell(connection: Connection, database: Database, revision: str, head: str) -> None:
    """Write a migration down in the audit log, which begins with the store's key."""
    known = connection.execute(select(KeyCheckRow.fingerprint)).scalar_one_or_none()
    if known is None:
        return  # the log begins after it, when the key is looked for
    key = pseudonym.read_key(database.key_file)
    if pseudonym.fingerprint(key) != known:
        return  # told, and refused, when the store goes on to be opened
    audit.use(connection, key)
    detail = {"from": revision, "to": head}
    audit.append(
        connection,
        who="",
        actor=audit.STORE,
        action="migrated",
        detail=detail,
        at=datetime.now(UTC),
    )


def _failed(revision: str | None, head: str, why: str) -> MigrationError:
    return MigrationError(
        f"migrating from schema {revision or 'none'} to {head} failed, and the store is left as "
        f"it was: {why}"
    )


def _revision(connection: Connection, database: Database) -> str | None:
    """The schema of the store; None if it is empty."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    if "alembic_version" not in tables:
        raise StoreError(
            f"{database.name} is a database of another program; name another for the store"
        )
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if found is None else str(found)
