from __future__ import annotations

import multiprocessing
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from echat_memory import SQLMemory, remembering, sqlite
from echat_memory.migrations import SCRIPTS, migrate
from echat_memory.pseudonym import create_key, pseudonym, read_key
from echat_memory.schema import HEAD, Base
from echat_sdk.consent import REMEMBERED, ConsentState, Purpose
from echat_sdk.errors import MigrationError
from echat_sdk.pause_profile import PauseProfile
from echat_sdk.turn import Turn

FIRST = "0001"
AFTER = f"{int(HEAD) + 1:04}"
NEXT = f"""
from alembic import op
import os, signal
import sqlalchemy as sa
revision = "{AFTER}"
down_revision = "{HEAD}"
def upgrade() -> None:
    op.add_column("users", sa.Column("locale", sa.String(8), nullable=True))
    {{fault}}
"""


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A store of the first schema, with a turn of ada's."""
    path = tmp_path / "first" / "echat.db"
    key = path.with_name("echat.db.key")
    sqlite.create_file(path)
    create_key(key)
    _migrate(path, SCRIPTS, FIRST)
    with closing(sqlite.connect(path, busy_timeout=5)) as connection:
        now, who = datetime(2026, 3, 2, tzinfo=UTC), pseudonym(read_key(key), "ada")
        with sqlite.transaction(connection, write=True):
            remembering.remember(
                connection, who, Turn("hello"), turn_id=None, now=now, allowed=REMEMBERED
            )
    return path


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """Migrations with one that this program does not have yet."""
    scripts = tmp_path / "migrations"
    shutil.copytree(SCRIPTS, scripts)
    (scripts / "versions" / "next.py").write_text(NEXT.format(fault=""))
    return scripts


def _migrate(path: Path, scripts: Path, head: str = AFTER) -> None:
    with closing(sqlite.connect(path, busy_timeout=5)) as connection:
        migrate(connection, path, scripts=scripts, head=head)


def _revision(path: Path) -> str:
    with closing(sqlite3.connect(path)) as raw:
        return str(raw.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_the_migrations_lead_to_the_schema_that_the_program_knows(memory: SQLMemory) -> None:
    assert ScriptDirectory(str(SCRIPTS)).get_current_head() == HEAD
    context = MigrationContext.configure(memory._connection)
    assert compare_metadata(context, Base.metadata) == []
    memory._connection.rollback()


def test_an_older_store_is_copied_and_then_migrated(store: Path, newer: Path) -> None:
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        memory.remember("ada", Turn("hello"))
    _migrate(store, newer)
    assert _revision(store) == AFTER
    backup = store.with_name(f"echat.db.before-{HEAD}.bak")
    assert _revision(backup) == HEAD
    assert backup.stat().st_mode & 0o777 == 0o600
    for path in (store, backup):
        with closing(sqlite3.connect(path)) as raw:
            assert raw.execute("SELECT transcript FROM turns").fetchall() == [("hello",)]


def test_a_newer_store_is_refused_and_left_alone(store: Path, newer: Path) -> None:
    _migrate(store, newer)
    before = store.read_bytes()
    with pytest.raises(
        MigrationError, match=f"schema {AFTER}, this program knows up to {HEAD}"
    ) as told:
        SQLMemory(store, unasked=REMEMBERED)
    assert "Update echat-sdk" in str(told.value)
    assert store.read_bytes() == before


@pytest.mark.parametrize(
    "fault", ['op.execute("no such statement")', 'raise sa.exc.SAWarning("x")']
)
def test_a_migration_that_fails_leaves_the_store_as_it_was(
    store: Path, newer: Path, fault: str
) -> None:
    (newer / "versions" / "next.py").write_text(NEXT.format(fault=fault))
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        memory.remember("ada", Turn("hello"))
    if "statement" in fault:
        with pytest.raises(MigrationError, match="left as it was"):
            _migrate(store, newer)
    else:  # what is not foreseen is not dressed up, but the store is whole all the same
        with pytest.raises(Warning):
            _migrate(store, newer)
    assert _revision(store) == HEAD
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        assert len(memory.show("ada")) == 1


def test_a_store_of_the_first_schema_keeps_its_turns_and_learns_pauses(first: Path) -> None:
    with closing(SQLMemory(first, unasked=REMEMBERED)) as memory:
        assert [stored.turn.transcript for stored in memory.show("ada")] == ["hello"]
        assert memory.pauses("ada") == PauseProfile()
        memory.keep_pauses("ada", PauseProfile(mean=0.8, count=3))
        assert memory.pauses("ada") == PauseProfile(mean=0.8, count=3)
    assert _revision(first) == HEAD
    assert _revision(sqlite.backup_of(first, FIRST)) == FIRST


def test_who_was_remembered_before_consent_was_asked_is_remembered_until_they_say_otherwise(
    first: Path,
) -> None:
    with closing(SQLMemory(first)) as memory:
        given = memory.consents("ada").given
        assert set(given) == REMEMBERED
        assert {(said.state, said.channel) for said in given.values()} == {
            (ConsentState.GRANTED, "migration")
        }
        assert [turn.transcript for turn in memory.recall("ada").turns] == ["hello"]
        assert memory.allowed("bob") == set()
        memory.consent("ada", Purpose.LONG_TERM_MEMORY, ConsentState.WITHDRAWN)
        assert memory.show("ada") == []


def test_erasing_takes_the_copy_of_the_first_schema_too(first: Path) -> None:
    with closing(SQLMemory(first, unasked=REMEMBERED)) as memory:
        assert sqlite.backup_of(first, FIRST).exists()
        memory.erase("ada")
    assert not sqlite.backup_of(first, FIRST).exists()


@pytest.mark.parametrize("dies", ["before", "after"])
def test_a_process_that_is_killed_while_it_migrates_leaves_the_store_as_it_was(
    first: Path, newer: Path, dies: str
) -> None:
    """In the last of two migrations, so that the first has been run but not kept."""
    fault = "os.kill(os.getpid(), signal.SIGKILL)"
    text = NEXT.format(fault=fault if dies == "after" else "")
    if dies == "before":
        text = text.replace("    op.add_column", f"    {fault}\n    op.add_column")
    (newer / "versions" / "next.py").write_text(text)
    child = multiprocessing.get_context("fork").Process(target=_migrate, args=(first, newer))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert _revision(first) == FIRST
    with closing(sqlite3.connect(first)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with closing(SQLMemory(first, unasked=REMEMBERED)) as memory:
        assert len(memory.show("ada")) == 1
    assert _revision(first) == HEAD


def _open_and_remember(path: Path, user: str) -> None:
    with closing(SQLMemory(path, unasked=REMEMBERED)) as memory:
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
    with closing(SQLMemory(path, unasked=REMEMBERED)) as memory:
        assert [len(memory.show(user)) for user in users] == [1] * 4


def test_opening_a_store_that_is_up_to_date_does_not_import_alembic(store: Path) -> None:
    code = (
        "import sys; from echat_memory import SQLMemory; from pathlib import Path;"
        "SQLMemory(Path(sys.argv[1])).recall('ada'); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(store)], check=False).returncode == 0
