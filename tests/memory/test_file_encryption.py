"""A SQLite file encrypted as a whole: nothing in it is readable, a wrong key writes nothing."""

from __future__ import annotations

import builtins
import hashlib
import itertools
import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from echat_memory import Encryption, SQLMemory, sqlcipher, sqlite
from echat_memory.migrations import migrate
from echat_memory.schema import HEAD
from echat_sdk.consent import REMEMBERED
from echat_sdk.cues import Cue, Cues
from echat_sdk.errors import ConfigError, StoreError
from echat_sdk.turn import Turn

WHOLE = Encryption("file")
TURN = Turn(
    "Zqxwords. I live in Zqxtown.",
    think="Zqxthink",
    reply="Zqxreply",
    cues=Cues(Cue("sad", 0.8, {"sad": 0.8})),
)
TELLING = (
    b"zqxwords",
    b"zqxtown",
    b"create table",
    b"turn_emotions",
    b"transcript",
    b"sqlite format",
    b'"sad"',
)


@pytest.fixture
def database() -> str:
    return "sqlite"


@pytest.fixture
def plain(store: Path) -> Path:
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        for user in ("ada", "bob"):
            for _ in range(20):
                memory.remember(user, TURN)
    return store


def _telling(folder: Path) -> set[bytes]:
    files = [file.read_bytes().lower() for file in folder.iterdir()]
    return {what for what in TELLING if any(what in data for data in files)}


def _hashes(folder: Path) -> dict[str, str]:
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.iterdir()
        if not file.name.endswith(("-wal", "-shm"))
    }


def test_nothing_can_be_read_in_any_file_not_even_the_names_of_tables(tmp_path: Path) -> None:
    path = tmp_path / "new" / "echat.db"
    with closing(SQLMemory(path, encryption=WHOLE, unasked=REMEMBERED)) as memory:
        for i in range(40):
            memory.remember(f"user {i % 3}", TURN)
        assert memory.show("user 1")[0].turn == TURN
        assert memory.recall("user 1").facts == ("they live in Zqxtown",)
        assert _telling(path.parent) == set()
        assert memory.erase("user 1").counts["turns"] == 13
    assert _telling(path.parent) == set()
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    with closing(SQLMemory(path, encryption=WHOLE, unasked=REMEMBERED)) as memory:
        assert memory.users() == 2


def test_a_plain_file_is_encrypted_when_it_is_opened_with_a_key(plain: Path) -> None:
    plain.with_name("echat.db.before-0002.bak").write_bytes(b"Zqxwords")
    assert _telling(plain.parent) == set(TELLING)
    with closing(SQLMemory(plain, unasked=REMEMBERED)) as memory:
        before = memory.show("ada")
    with closing(SQLMemory(plain, encryption=WHOLE, unasked=REMEMBERED)) as memory:
        assert memory.show("ada") == before
        assert [record.action for record in memory.audit()][-1] == "encryption on"
        assert memory._database.connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    assert _telling(plain.parent) == set()
    assert plain.stat().st_mode & 0o777 == 0o600


def test_a_plain_file_that_another_process_has_open_is_left_alone(plain: Path) -> None:
    with closing(sqlite3.connect(plain)) as other:
        other.execute("SELECT * FROM turns").fetchone()
        before = plain.read_bytes()
        reader, writer = os.pipe()
        child = os.fork()  # locks of one process do not hold between two libraries in it
        if child == 0:
            try:
                SQLMemory(plain, encryption=WHOLE, busy_timeout=0.05, unasked=REMEMBERED)
            except StoreError as error:
                os.write(writer, str(error).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as told:
            assert "another process has" in told.read()
        os.waitpid(child, 0)
    assert plain.read_bytes() == before
    with closing(SQLMemory(plain, unasked=REMEMBERED)) as memory:
        assert len(memory.show("ada", 100)) == 20


def test_another_programs_database_is_not_encrypted(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE bookmarks (id INTEGER)")
    before = _hashes(tmp_path)
    with pytest.raises(StoreError, match="another program"):
        SQLMemory(path, encryption=WHOLE, unasked=REMEMBERED)
    assert _hashes(tmp_path) == before


def test_words_that_are_sealed_are_not_encrypted_once_more(store: Path) -> None:
    with closing(SQLMemory(store, encryption=Encryption(), unasked=REMEMBERED)) as memory:
        memory.remember("ada", TURN)
    before = _hashes(store.parent)
    with pytest.raises(StoreError, match="encrypt = fields"):
        SQLMemory(store, encryption=WHOLE, unasked=REMEMBERED)
    assert _hashes(store.parent) == before


def _another(kek: Path) -> None:
    kek.write_bytes(os.urandom(32))


@pytest.mark.parametrize(
    ("harm", "encryption", "told"),
    [
        (_another, WHOLE, "does not open .*nothing was read or written"),
        (lambda kek: os.truncate(kek, 31), WHOLE, "has 31 bytes"),
        (Path.unlink, WHOLE, "is missing"),
        (lambda kek: kek.chmod(0o640), WHOLE, "chmod 600"),
        (lambda kek: None, None, "encrypt = file"),
        (lambda kek: None, Encryption(), "encrypt = file"),
        (lambda kek: None, Encryption("file", key=lambda: b"k" * 32), "does not open"),
    ],
)
def test_a_wrong_key_is_told_plainly_and_writes_nothing(
    plain: Path, harm: Callable[[Path], object], encryption: Encryption | None, told: str
) -> None:
    with closing(SQLMemory(plain, encryption=WHOLE, unasked=REMEMBERED)) as memory:
        before = memory.show("ada")
    kek = plain.with_name("echat.db.kek")
    whole = kek.read_bytes()
    harm(kek)
    hashes = _hashes(plain.parent)
    with pytest.raises(StoreError, match=told):
        SQLMemory(plain, encryption=encryption, unasked=REMEMBERED)
    assert _hashes(plain.parent) == hashes
    kek.unlink(missing_ok=True)
    kek.write_bytes(whole)
    kek.chmod(0o600)
    with closing(SQLMemory(plain, encryption=WHOLE, unasked=REMEMBERED)) as memory:
        assert memory.show("ada") == before


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary " * 500)
    with pytest.raises(StoreError, match="is missing"):
        SQLMemory(path, encryption=WHOLE, unasked=REMEMBERED)
    with pytest.raises(StoreError, match="no encrypted store"):
        SQLMemory(path, encryption=Encryption("file", key=lambda: b"k" * 32), unasked=REMEMBERED)
    assert path.read_text() == "dear diary " * 500
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_a_damaged_file_is_told(plain: Path) -> None:
    SQLMemory(plain, encryption=WHOLE, unasked=REMEMBERED).close()
    data = bytearray(plain.read_bytes())
    for page in range(3, len(data) // 4096):
        data[page * 4096 + 100] ^= 1
    plain.write_bytes(data)
    with (
        pytest.raises(StoreError),
        closing(SQLMemory(plain, encryption=WHOLE, unasked=REMEMBERED)) as memory,
    ):
        memory.show("ada")


def test_a_missing_package_is_told_and_nothing_is_written(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("sqlcipher3"):
            raise ImportError(name)
        return real(name, *rest)

    before = _hashes(plain.parent)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"echat-sdk\[sqlcipher\]"):
        SQLMemory(plain, encryption=WHOLE, unasked=REMEMBERED)
    monkeypatch.undo()
    assert _hashes(plain.parent) == before


def test_a_server_is_not_a_file() -> None:
    with pytest.raises(ConfigError, match="encrypt = file is for SQLite"):
        SQLMemory("postgresql://u@h/db", encryption=WHOLE, unasked=REMEMBERED)


def test_the_copy_before_a_migration_is_encrypted_too(plain: Path, tmp_path: Path) -> None:
    SQLMemory(plain, encryption=WHOLE, unasked=REMEMBERED).close()
    scripts = tmp_path / "migrations"
    shutil.copytree(Path(sqlite.__file__).parent / "migrations", scripts)
    after = f"{int(HEAD) + 1:04}"
    (scripts / "versions" / "next.py").write_text(
        f"from alembic import op\nimport sqlalchemy as sa\nrevision = '{after}'\n"
        f"down_revision = '{HEAD}'\ndef upgrade() -> None:\n"
        "    op.add_column('users', sa.Column('locale', sa.String(8), nullable=True))\n"
    )
    with closing(sqlite.SQLite(plain, timeout=2, encryption=WHOLE)) as opened:
        migrate(opened, scripts=scripts, head=after)
    backup = sqlite.backup_of(plain, HEAD)
    kek = plain.with_name("echat.db.kek").read_bytes()
    with closing(sqlcipher.driver().connect(backup)) as raw:
        sqlcipher.unlock(raw, kek)
        assert raw.execute("SELECT count(*) FROM turns").fetchone() == (40,)
    shutil.rmtree(scripts)
    assert _telling(plain.parent) == set()


# --- new keys, and processes that die --------------------------------------------------------


def test_a_new_key_takes_the_old_ones_place(plain: Path) -> None:
    kek = plain.with_name("echat.db.kek")
    with closing(SQLMemory(plain, encryption=WHOLE, unasked=REMEMBERED)) as memory:
        before, old = memory.show("ada"), kek.read_bytes()
        memory.rotate_file()
        assert memory.show("ada") == before
        memory.remember("ada", TURN)
    assert kek.read_bytes() != old
    assert not list(plain.parent.glob("*.next"))
    with closing(SQLMemory(plain, encryption=WHOLE, unasked=REMEMBERED)) as memory:
        assert len(memory.show("ada", 100)) == 21
    with pytest.raises(StoreError, match="does not open"):
        SQLMemory(plain, encryption=Encryption("file", key=lambda: old), unasked=REMEMBERED)


def test_a_key_from_a_function_is_changed_by_giving_two(plain: Path) -> None:
    old, new = b"o" * 32, b"n" * 32
    memory = SQLMemory(plain, encryption=Encryption("file", key=lambda: old), unasked=REMEMBERED)
    with closing(memory), pytest.raises(StoreError, match="the new one and then the old one"):
        memory.rotate_file()
    both = Encryption("file", key=lambda: [new, old])
    with closing(SQLMemory(plain, encryption=both, unasked=REMEMBERED)) as memory:
        memory.rotate_file()
    with closing(
        SQLMemory(plain, encryption=Encryption("file", key=lambda: new), unasked=REMEMBERED)
    ) as memory:
        assert memory.show("ada")


def test_a_process_that_has_the_file_open_is_told_that_its_key_was_changed(plain: Path) -> None:
    with (
        closing(SQLMemory(plain, encryption=WHOLE, unasked=REMEMBERED)) as one,
        closing(SQLMemory(plain, encryption=WHOLE, unasked=REMEMBERED)) as two,
    ):
        two.show("ada")
        one.rotate_file()
        with pytest.raises(StoreError):
            two.remember("ada", TURN)
        one.remember("ada", TURN)
    with closing(SQLMemory(plain, encryption=WHOLE, unasked=REMEMBERED)) as memory:
        assert len(memory.show("ada", 100)) == 21


@pytest.mark.parametrize("memory_is_plain", [True, False])
def test_only_a_file_encrypted_as_a_whole_is_given_a_new_file_key(
    store: Path, memory_is_plain: bool
) -> None:
    memory = SQLMemory(
        store, encryption=None if memory_is_plain else Encryption(), unasked=REMEMBERED
    )
    with closing(memory), pytest.raises(StoreError, match="not encrypted as a whole"):
        memory.rotate_file()


def _convert(path: Path) -> None:
    SQLMemory(path, encryption=WHOLE, unasked=REMEMBERED).close()


def _rotate(path: Path) -> None:
    with closing(SQLMemory(path, encryption=WHOLE, unasked=REMEMBERED)) as memory:
        memory.rotate_file()


def _kill(work: Callable[[Path], None], path: Path, after: float) -> None:
    child = os.fork()
    if child == 0:
        try:
            work(path)
        finally:
            os._exit(0)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _restored(files: dict[Path, bytes], folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    for file, data in files.items():
        file.write_bytes(data)
        file.chmod(0o600)


_KILLS = [
    pytest.param(6, marks=pytest.mark.timeout(60)),
    pytest.param(25, marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
    pytest.param(100, marks=[pytest.mark.endurance, pytest.mark.timeout(600)]),
]


@pytest.mark.parametrize("work", [_convert, _rotate])
@pytest.mark.parametrize("kills", _KILLS)
def test_a_kill_at_any_moment_leaves_a_store_that_opens_whole(
    plain: Path, work: Callable[[Path], None], kills: int
) -> None:
    with closing(SQLMemory(plain, unasked=REMEMBERED)) as memory:
        before = memory.show("ada", 100), memory.facts("bob")
    if work is _rotate:
        _convert(plain)
    files = {file: file.read_bytes() for file in plain.parent.iterdir()}
    began = time.perf_counter()
    work(plain)
    took, generator = time.perf_counter() - began, random.Random(3)
    for _ in range(kills):
        _restored(files, plain.parent)
        _kill(work, plain, generator.uniform(0, 1.5 * took))
        with closing(SQLMemory(plain, encryption=WHOLE, unasked=REMEMBERED)) as memory:
            assert (memory.show("ada", 100), memory.facts("bob")) == before
        _rotate(plain)
        with closing(SQLMemory(plain, encryption=WHOLE, unasked=REMEMBERED)) as memory:
            assert (memory.show("ada", 100), memory.facts("bob")) == before
        assert not list(plain.parent.glob("*.next"))
        assert _telling(plain.parent) == set()


def _dies(work: Callable[[Path], None], path: Path, at: int) -> bool:
    """Whether `work` came to its k-th change of a file's name, before which it was killed."""
    child = os.fork()
    if child == 0:
        count, link, replace = itertools.count(1), os.link, os.replace

        def named(name: Callable[..., None]) -> Callable[..., None]:
            def step(*paths: Path) -> None:
                if next(count) == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                name(*paths)
                if next(count) == at:
                    os.kill(os.getpid(), signal.SIGKILL)

            return step

        os.link, os.replace = named(link), named(replace)  # type: ignore[assignment]
        try:
            work(path)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


@pytest.mark.timeout(60)
@pytest.mark.parametrize("work", [_convert, _rotate])
def test_a_kill_where_a_file_gets_its_name_leaves_a_store_that_opens_whole(
    plain: Path, work: Callable[[Path], None]
) -> None:
    with closing(SQLMemory(plain, unasked=REMEMBERED)) as memory:
        before = memory.show("ada", 100)
    if work is _rotate:
        _convert(plain)
    files = {file: file.read_bytes() for file in plain.parent.iterdir()}
    for at in itertools.count(1):
        _restored(files, plain.parent)
        if not _dies(work, plain, at):
            break
        with closing(SQLMemory(plain, encryption=WHOLE, unasked=REMEMBERED)) as memory:
            assert memory.show("ada", 100) == before
    assert at == 5  # the key's and the file's, or the new key's first and second: before and after


def test_a_plain_backup_that_a_kill_left_goes_at_the_next_opening(plain: Path) -> None:
    _convert(plain)
    backup = plain.with_name("echat.db.before-0002.bak")
    with closing(sqlite3.connect(backup)) as connection:
        connection.execute("CREATE TABLE turns (words)")
    _convert(plain)
    assert not backup.exists()
