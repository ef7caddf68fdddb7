from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from echat_memory import SQLMemory
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
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store at the newest schema; making one takes a hundred times as long as copying it."""
    path = tmp_path_factory.mktemp("store") / "empty.db"
    SQLMemory(path, unasked=REMEMBERED).close()
    return path


@pytest.fixture
def store(tmp_path: Path, empty_store: Path) -> Path:
    path = tmp_path / "echat.db"
    for suffix in ("", ".key"):
        source = empty_store.with_name(empty_store.name + suffix)
        path.with_name(path.name + suffix).write_bytes(source.read_bytes())
    return path


@pytest.fixture
def memory(store: Path, clock: Callable[[], datetime]) -> Iterator[SQLMemory]:
    memory = SQLMemory(store, clock=clock, unasked=REMEMBERED)
    yield memory
    memory.close()
