"""Bringing a store to this program's schema. Alembic is imported only when there is work to do."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, exc, inspect, text

from echat_memory import sqlite
from echat_memory.schema import HEAD
from echat_sdk.errors import MigrationError, StoreError

SCRIPTS = Path(__file__).parent


def migrate(
    connection: Connection, path: Path, *, scripts: Path = SCRIPTS, head: str = HEAD
) -> None:
    """Bring the store to `head`: a new one is made, an older one is copied first.

    Two processes may do this at once: the second waits, then finds nothing to do. A process that
    dies on the way leaves the store as it was.

    Raises:
        MigrationError: the store is newer than this program, or a migration failed.
        StoreError: the file is another program's database.
    """
    if _revision(connection, path) == head:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}

    sqlite.write_ahead(connection)
    with sqlite.transaction(connection, write=True):
        revision = _revision_inside(connection, path)
        if revision == head:
            return
        if revision is not None and revision not in known:
            raise MigrationError(
                f"the store {path} has schema {revision}, this program knows up to {head}. "
                "Update echat-sdk, or open another store."
            )
        if revision is not None:
            sqlite.copy(path, sqlite.backup_of(path, revision))
        try:
            command.upgrade(config, head)
        except (CommandError, exc.DBAPIError) as error:
            why = sqlite.in_words(path, error) if isinstance(error, exc.DBAPIError) else str(error)
            raise MigrationError(
                f"migrating from schema {revision or 'none'} to {head} failed, and the store is "
                f"left as it was: {why}"
            ) from error


def _revision(connection: Connection, path: Path) -> str | None:
    with sqlite.transaction(connection, write=False):
        return _revision_inside(connection, path)


def _revision_inside(connection: Connection, path: Path) -> str | None:
    """The schema of the store; None if it is empty."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    if "alembic_version" not in tables:
        raise StoreError(
            f"{path} is a database of another program; give another path for the store"
        )
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if found is None else str(found)
