"""Bringing a store to this program's schema. Alembic is imported only when there is work to do."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, exc, inspect, text

from echat_memory.database import Database
from echat_memory.schema import HEAD
from echat_sdk.errors import MigrationError, StoreError

SCRIPTS = Path(__file__).parent


def migrate(database: Database, *, scripts: Path = SCRIPTS, head: str = HEAD) -> None:
    """Bring the store to `head`: a new one is made, an older one is copied first.

    Two processes may do this at once: the second waits, then finds nothing to do. A process that
    dies on the way leaves the store as it was.

    Raises:
        MigrationError: the store is newer than this program, or a migration failed.
        StoreError: this is another program's database.
    """
    with database.transaction(write=False) as connection:
        if _revision(connection, database) == head:
            return
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}

    with database.alone() as connection:
        revision = _revision(connection, database)
        if revision == head:
            return
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
        except CommandError as error:
            raise _failed(revision, head, str(error)) from error
        except exc.DBAPIError as error:
            # Without a cause: PostgreSQL's may repeat a row.
            raise _failed(revision, head, database.in_words(error)) from None


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
