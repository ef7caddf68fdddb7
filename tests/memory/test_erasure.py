"""Erased is erased: no byte of whoever was there is left, in any column, file or spelling."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echat_memory import SQLMemory, sqlite
from echat_memory.pseudonym import pseudonym
from echat_sdk.turn import Turn
from tests.memory import bytescan

Sql = Callable[[Path | str, str], list[tuple[Any, ...]]]

KEPT = {
    "alembic_version", "audit_log", "encryption", "erasures", "key_check",
}  # fmt: skip
"""Tables without words of a user: what was done, by whom, and which keys."""

sqlite_only = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def plant(memory: SQLMemory) -> dict[str, bytescan.Column]:
    """Fill a store with ada's markers among bob's rows; gives the markers, and where each is."""
    for number in range(24):  # rows that move, and pages that are given back
        memory.remember("ada", Turn("hello " * (number % 7 * 40)))
        memory.remember("bob", Turn(f"{number}. I live in Leeds. " * (number % 5 + 1)))
    with memory._open(write=True) as connection:
        who = pseudonym(memory._key, "ada")
        return bytescan.plant(connection, who, secrets.randbits(32))


def test_every_text_column_of_every_table_gets_a_marker(memory: SQLMemory) -> None:
    memory.remember("ada", Turn("hello"))
    with memory._open(write=True) as connection:
        planted = bytescan.plant(connection, pseudonym(memory._key, "ada"), 1)
    # The pseudonym itself is looked for elsewhere: it may outlive the user, in what was done.
    wanted = {c for c in bytescan.text_columns() if c[0] not in KEPT} - {("users", "pseudonym")}
    assert set(planted.values()) == wanted
    assert len(planted) >= 60


def test_a_marker_is_found_in_every_spelling() -> None:
    for marker in ("Zqxword", "密码本子"):
        escaped = f'{{"{marker}": 1}}'.encode("ascii", "backslashreplace")
        texts = (marker, marker.lower())
        codes = ("utf-8", "utf-16-le", "utf-16-be")
        for data in (*(t.encode(c) for t in texts for c in codes), escaped):
            assert bytescan.found([b"some " + data + b" bytes"], {marker, "other"}) == {marker}


@sqlite_only
def test_after_erasing_no_marker_is_left_under_the_folder(memory: SQLMemory, store: Path) -> None:
    markers = plant(memory)
    sqlite.copy(store, sqlite.backup_of(store, "0002"))
    assert bytescan.found(bytescan.under(store.parent), markers) == set(markers)
    memory.erase("ada")
    assert bytescan.found(bytescan.under(store.parent), markers) == set()
    assert len(memory.show("bob", 1000)) == 24


@sqlite_only
@pytest.mark.parametrize(
    ("overwrites", "writes_anew", "empties_log"),
    [*itertools.product([True, False], repeat=3)],
)
def test_what_each_part_of_erasing_is_for(
    memory: SQLMemory,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    overwrites: bool,
    writes_anew: bool,
    empties_log: bool,
) -> None:
    """Not to overwrite leaves bytes unless the file is written anew; the log has them anyway.

    The pragma is switched off by word: Debian compiles SQLite with it on. Written anew, the file
    is also rid of what rows left in gaps when they moved, which no overwriting reaches
    (`test_store.py`). A sweep overwrites and does not write anew.
    """
    connection = memory._database.connection
    connection.exec_driver_sql(f"PRAGMA secure_delete = {'ON' if overwrites else 'OFF'}")
    assert connection.exec_driver_sql("PRAGMA secure_delete").scalar_one() == overwrites
    connection.commit()
    if not writes_anew:
        real = memory._database.forget_deleted
        monkeypatch.setattr(memory._database, "forget_deleted", lambda changed: real())
    if not empties_log:
        monkeypatch.setattr(sqlite, "forget_deleted", lambda *_: None)
    markers = plant(memory)
    memory.erase("ada")
    is_left = bool(bytescan.found(bytescan.under(store.parent), markers))
    assert is_left == (not empties_log or not (overwrites or writes_anew))


@pytest.mark.postgres
@pytest.mark.timeout(120)
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("writes_anew", [True, False])
def test_after_erasing_only_the_log_of_a_server_has_markers(
    memory: SQLMemory,
    postgres: Any,
    store: str,
    sql: Sql,
    writes_anew: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That it is rid of them, too, where it may: `test_postgres.py`."""
    from echat_memory import leftovers

    if not writes_anew:
        run = leftovers._run
        monkeypatch.setattr(leftovers, "_run", lambda c, s: run(c, s.replace("(FULL)", "")))
    # The planner keeps values of our own closed sets, which are no words.
    markers = {m for m, (_, column) in plant(memory).items() if column not in leftovers._CODES}
    sql(store, "ANALYZE")
    sql(store, "CHECKPOINT")

    def left() -> set[str]:
        files = (file for file in postgres.files() if "pg_wal" not in file.parts)
        return bytescan.found((file.read_bytes() for file in files), markers)

    assert left() == markers
    memory.erase("ada")
    sql(store, "CHECKPOINT")
    time.sleep(0.2)
    assert bool(left()) != writes_anew
    assert len(memory.show("bob", 1000)) == 24
