from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from echat_memory import SQLMemory
from echat_memory.schema import Base
from echat_sdk.consent import REMEMBERED


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **of: float) -> None:
        self.now += timedelta(**of)


@pytest.fixture
def in_ram(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of the test's own, in RAM where there is room: there a sync costs nothing."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path_factory.mktemp("on-disk")
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="echat-") as folder:
        yield Path(folder)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> str:
    """Which database a test runs on: by default on each."""
    return str(request.param)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store at the newest schema; making one takes a hundred times as long as copying it."""
    path = tmp_path_factory.mktemp("store") / "empty.db"
    SQLMemory(path, unasked=REMEMBERED, clock=Clock()).close()
    return path


@pytest.fixture
def store(
    database: str, request: pytest.FixtureRequest, tmp_path: Path, empty_store: Path
) -> Path | str:
    """An empty store: a file of SQLite, or the URL of a database of PostgreSQL."""
    if database == "postgresql":
        return str(request.getfixturevalue("postgres_store"))
    path = tmp_path / "echat.db"
    for suffix in ("", ".key"):
        source = empty_store.with_name(empty_store.name + suffix)
        path.with_name(path.name + suffix).write_bytes(source.read_bytes())
    return path


@pytest.fixture
def new_store(
    database: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path | str]:
    """A store that is not made yet: a file that is not there, or the URL of an empty database."""
    if database == "sqlite":
        yield tmp_path / "new" / "echat.db"
        return
    monkeypatch.setenv("ECHAT_HOME", str(tmp_path / "home"))
    postgres = request.getfixturevalue("postgres")
    postgres.create("new_store")
    yield postgres.url("new_store")
    postgres.drop("new_store")


@pytest.fixture
def key(store: Path | str, tmp_path: Path) -> Path:
    """The key to the user ids of `store`."""
    if isinstance(store, Path):
        return store.with_name(store.name + ".key")
    return tmp_path / "home" / f"{make_url(store).database}.key"


@pytest.fixture
def memory(store: Path | str, clock: Callable[[], datetime]) -> Iterator[SQLMemory]:
    memory = SQLMemory(store, clock=clock, unasked=REMEMBERED)
    yield memory
    memory.close()


@pytest.fixture
def contents(store: Path | str, sql: Callable[..., Any]) -> Callable[[], list[bytes]]:
    """All that a store holds: the bytes of its files; on a server its rows as text."""

    def read() -> list[bytes]:
        if isinstance(store, Path):
            return [file.read_bytes() for file in store.parent.iterdir() if file.is_file()]
        rows = (sql(store, f"SELECT t::text FROM {table} t") for table in Base.metadata.tables)
        return [str(row[0]).encode() for found in rows for row in found]

    return read


@pytest.fixture
def sql(database: str, request: pytest.FixtureRequest) -> Callable[..., list[tuple[Any, ...]]]:
    """Runs a statement in a store, past our own code; gives the rows that come back."""

    def run(store: Path | str, statement: str) -> list[tuple[Any, ...]]:
        if isinstance(store, Path):
            with closing(sqlite3.connect(store)) as raw, raw:
                return raw.execute(statement).fetchall()
        postgres = request.getfixturevalue("postgres")
        with postgres.connect(make_url(store).database) as raw:
            cursor = raw.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    return run
