from __future__ import annotations

import multiprocessing
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from echat_memory import SQLMemory, sqlite
from echat_memory.migrations import SCRIPTS, migrate
from echat_memory.schema import HEAD, Base
from echat_sdk.errors import MigrationError
from echat_sdk.turn import Turn

NEXT = """
from alembic import op
import sqlalchemy as sa
revision = "0002"
down_revision = "0001"
def upgrade() -> None:
    op.add_column("users", sa.Column("locale", sa.String(8), nullable=True))
    {fault}
"""


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """Migrations with one that this program does not have yet."""
    scripts = tmp_path / "migrations"
    shutil.copytree(SCRIPTS, scripts)
    (scripts / "versions" / "0002_next.py").write_text(NEXT.format(fault=""))
    return scripts


def _migrate(path: Path, scripts: Path) -> None:
    with closing(sqlite.connect(path, busy_timeout=5)) as connection:
        migrate(connection, path, scripts=scripts, head="0002")


def _revision(path: Path) -> str:
    with closing(sqlite3.connect(path)) as raw:
        return str(raw.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_the_migrations_lead_to_the_schema_that_the_program_knows(memory: SQLMemory) -> None:
    assert ScriptDirectory(str(SCRIPTS)).get_current_head() == HEAD
    context = MigrationContext.configure(memory._connection)
    assert compare_metadata(context, Base.metadata) == []
    memory._connection.rollback()


def test_an_older_store_is_copied_and_then_migrated(store: Path, newer: Path) -> None:
    with closing(SQLMemory(store)) as memory:
        memory.remember("ada", Turn("hello"))
    _migrate(store, newer)
    assert _revision(store) == "0002"
    backup = store.with_name("echat.db.before-0001.bak")
    assert _revision(backup) == "0001"
    assert backup.stat().st_mode & 0o777 == 0o600
    for path in (store, backup):
        with closing(sqlite3.connect(path)) as raw:
            assert raw.execute("SELECT transcript FROM turns").fetchall() == [("hello",)]


def test_a_newer_store_is_refused_and_left_alone(store: Path, newer: Path) -> None:
    _migrate(store, newer)
    before = store.read_bytes()
    with pytest.raises(MigrationError, match=r"schema 0002, this program knows up to 0001") as told:
        SQLMemory(store)
    assert "Update echat-sdk" in str(told.value)
    assert store.read_bytes() == before


@pytest.mark.parametrize(
    "fault", ['op.execute("no such statement")', 'raise sa.exc.SAWarning("x")']
)
def test_a_migration_that_fails_leaves_the_store_as_it_was(
    store: Path, newer: Path, fault: str
) -> None:
    (newer / "versions" / "0002_next.py").write_text(NEXT.format(fault=fault))
    with closing(SQLMemory(store)) as memory:
        memory.remember("ada", Turn("hello"))
    if "statement" in fault:
        with pytest.raises(MigrationError, match="left as it was"):
            _migrate(store, newer)
    else:  # what is not foreseen is not dressed up, but the store is whole all the same
        with pytest.raises(Warning):
            _migrate(store, newer)
    assert _revision(store) == "0001"
    with closing(SQLMemory(store)) as memory:
        assert len(memory.show("ada")) == 1


def _open_and_remember(path: Path, user: str) -> None:
    with closing(SQLMemory(path)) as memory:
        memory.remember(user, Turn("hello"))


def test_processes_that_open_a_new_store_at_once_share_it(tmp_path: Path) -> None:
    path = tmp_path / "echat.db"
    context = multiprocessing.get_context("fork")
    users = [f"user {i}" for i in range(4)]
    children = [context.Process(target=_open_and_remember, args=(path, user)) for user in users]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    with closing(SQLMemory(path)) as memory:
        assert [len(memory.show(user)) for user in users] == [1] * 4


def test_opening_a_store_that_is_up_to_date_does_not_import_alembic(store: Path) -> None:
    code = (
        "import sys; from echat_memory import SQLMemory; from pathlib import Path;"
        "SQLMemory(Path(sys.argv[1])).recall('ada'); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(store)], check=False).returncode == 0
