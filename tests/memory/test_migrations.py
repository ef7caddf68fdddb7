from __future__ import annotations

import multiprocessing
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from echat_memory import SQLMemory, remembering, sqlite
from echat_memory.database import open_database
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


Sql = Callable[[Path | str, str], list[tuple[Any, ...]]]
Read = Callable[[Path | str], str]
Copied = Callable[[Path | str, str], list[tuple[Any, ...]]]


@pytest.fixture
def first(new_store: Path | str) -> Path | str:
    """A store of the first schema, with a turn of ada's."""
    with closing(open_database(new_store, timeout=5)) as database:
        migrate(database, scripts=SCRIPTS, head=FIRST)
        create_key(database.key_file)
        now, who = datetime(2026, 3, 2, tzinfo=UTC), pseudonym(read_key(database.key_file), "ada")
        with database.transaction(write=True) as connection:
            remembering.remember(
                connection, who, Turn("hello"), turn_id=None, now=now, allowed=REMEMBERED
            )
    return new_store


def test_a_fact_that_took_anothers_place_still_does_after_a_migration(
    first: Path | str, sql: Sql
) -> None:
    with (
        closing(open_database(first, timeout=5)) as database,
        database.transaction(write=True) as connection,
    ):
        for number, name, place in ((2, "Max", "NULL"), (1, "Rex", "2")):
            ended = "NULL" if place == "NULL" else "'2026-03-02 00:00:00.000000'"
            connection.exec_driver_sql(
                "INSERT INTO facts (id, user_id, turn_id, kind, subject, value, valid_from,"
                f" valid_to, superseded_by) VALUES ({number}, 1, 1, 'name', 'dog', '{name}',"
                f" '2026-03-02 00:00:00.000000', {ended}, {place})"
            )
    query = "SELECT value, superseded_by FROM facts ORDER BY id"
    before = sql(first, query)
    assert any(later is not None for _, later in before)
    with closing(SQLMemory(first, unasked=REMEMBERED)) as memory:
        assert any("Max" in fact for fact in memory.facts("ada"))
    assert sql(first, query) == before


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """Migrations with one that this program does not have yet."""
    scripts = tmp_path / "migrations"
    shutil.copytree(SCRIPTS, scripts)
    (scripts / "versions" / "next.py").write_text(NEXT.format(fault=""))
    return scripts


@pytest.fixture
def copied(sql: Sql) -> Copied:
    """Transcripts in the copy of a store that was made before it left a schema; [] without one."""

    def read(store: Path | str, revision: str) -> list[tuple[Any, ...]]:
        if isinstance(store, Path):
            copy = sqlite.backup_of(store, revision)
            return sql(copy, "SELECT transcript FROM turns") if copy.exists() else []
        schema = f"public_echat_before_{revision}"
        if not sql(store, f"SELECT 1 FROM pg_namespace WHERE nspname = '{schema}'"):
            return []
        assert sql(store, f"SELECT * FROM {schema}.alembic_version") == [(revision,)]
        return sql(store, f"SELECT transcript FROM {schema}.turns")

    return read


@pytest.fixture
def revision(sql: Sql) -> Read:
    def read(store: Path | str) -> str:
        return str(sql(store, "SELECT version_num FROM alembic_version")[0][0])

    return read


def _migrate(store: Path | str, scripts: Path, head: str = AFTER) -> None:
    with closing(open_database(store, timeout=5)) as database:
        migrate(database, scripts=scripts, head=head)


def test_the_migrations_lead_to_the_schema_that_the_program_knows(new_store: Path | str) -> None:
    assert ScriptDirectory(str(SCRIPTS)).get_current_head() == HEAD
    with closing(SQLMemory(new_store, unasked=REMEMBERED)) as memory:
        connection = memory._database.connection
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []
        connection.rollback()


def test_an_older_store_is_copied_and_then_migrated(
    store: Path | str, newer: Path, sql: Sql, revision: Read, copied: Copied
) -> None:
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        memory.remember("ada", Turn("hello"))
    _migrate(store, newer)
    assert revision(store) == AFTER
    assert sql(store, "SELECT action FROM audit_log ORDER BY id") == [
        ("log begins",),
        ("migrated",),
    ]
    assert sql(store, "SELECT transcript FROM turns") == [("hello",)]
    assert copied(store, HEAD) == [("hello",)]
    if isinstance(store, Path):
        backup = store.with_name(f"echat.db.before-{HEAD}.bak")
        assert revision(backup) == HEAD
        assert backup.stat().st_mode & 0o777 == 0o600


def test_a_newer_store_is_refused_and_left_alone(
    store: Path | str, newer: Path, sql: Sql, revision: Read
) -> None:
    _migrate(store, newer)
    before = store.read_bytes() if isinstance(store, Path) else b""
    with pytest.raises(
        MigrationError, match=f"schema {AFTER}, this program knows up to {HEAD}"
    ) as told:
        SQLMemory(store, unasked=REMEMBERED)
    assert "Update echat-sdk" in str(told.value)
    assert revision(store) == AFTER
    if isinstance(store, Path):
        assert store.read_bytes() == before


@pytest.mark.parametrize(
    "fault", ['op.execute("no such statement")', 'raise sa.exc.SAWarning("x")']
)
def test_a_migration_that_fails_leaves_the_store_as_it_was(
    store: Path | str, newer: Path, fault: str, revision: Read, copied: Copied
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
    assert revision(store) == HEAD
    if isinstance(store, str):  # the copy is of the same transaction
        assert copied(store, HEAD) == []
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        assert len(memory.show("ada")) == 1


def test_a_store_of_the_first_schema_keeps_its_turns_and_learns_pauses(
    first: Path | str, revision: Read, copied: Copied
) -> None:
    with closing(SQLMemory(first, unasked=REMEMBERED)) as memory:
        assert [stored.turn.transcript for stored in memory.show("ada")] == ["hello"]
        assert memory.pauses("ada") == PauseProfile()
        memory.keep_pauses("ada", PauseProfile(mean=0.8, count=3))
        assert memory.pauses("ada") == PauseProfile(mean=0.8, count=3)
        (begun,) = memory.audit()
        assert (begun.action, begun.detail) == ("log begins", {"migrated_from": FIRST})
        assert memory.verify().is_whole
    assert revision(first) == HEAD
    assert copied(first, FIRST) == [("hello",)]


def test_who_was_remembered_before_consent_was_asked_is_remembered_until_they_say_otherwise(
    first: Path | str,
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


def test_erasing_takes_the_copy_of_the_first_schema_too(first: Path | str, copied: Copied) -> None:
    with closing(SQLMemory(first, unasked=REMEMBERED)) as memory:
        assert copied(first, FIRST)
        memory.erase("ada")
    assert copied(first, FIRST) == []


@pytest.mark.parametrize("dies", ["before", "after"])
def test_a_process_that_is_killed_while_it_migrates_leaves_the_store_as_it_was(
    first: Path | str, newer: Path, dies: str, sql: Sql, revision: Read
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
    assert revision(first) == FIRST
    if isinstance(first, Path):
        assert sql(first, "PRAGMA integrity_check") == [("ok",)]
    with closing(SQLMemory(first, unasked=REMEMBERED)) as memory:
        assert len(memory.show("ada")) == 1
    assert revision(first) == HEAD


def _open_and_remember(store: Path | str, user: str) -> None:
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        memory.remember(user, Turn("hello"))


def test_processes_that_open_a_new_store_at_once_share_it(new_store: Path | str) -> None:
    context = multiprocessing.get_context("fork")
    users = [f"user {i}" for i in range(4)]
    children = [context.Process(target=_open_and_remember, args=(new_store, u)) for u in users]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    with closing(SQLMemory(new_store, unasked=REMEMBERED)) as memory:
        assert [len(memory.show(user)) for user in users] == [1] * 4


def test_opening_a_store_that_is_up_to_date_imports_no_more_than_it_needs(
    store: Path | str,
) -> None:
    code = (
        "import sys; from echat_memory import SQLMemory; SQLMemory(sys.argv[1]).recall('ada');"
        "print([m for m in ('alembic', 'psycopg') if m in sys.modules])"
    )
    url = f"sqlite:///{store}" if isinstance(store, Path) else store
    done = subprocess.run(
        [sys.executable, "-c", code, url], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == ("[]" if isinstance(store, Path) else "['psycopg']")
