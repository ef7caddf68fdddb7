"""What is no store, or not the right one, or must not be written: told in one line, left alone."""

from __future__ import annotations

import os
import sqlite3
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from echat_memory import SQLMemory
from echat_sdk.cli import rooms, run
from echat_sdk.consent import REMEMBERED
from echat_sdk.cues import Cue, Cues
from echat_sdk.errors import StoreError
from echat_sdk.testing import FakeModel, Line
from echat_sdk.turn import Turn

SAD = Cue("sad", 0.8, {"sad": 0.8, "neutral": 0.2})
COMMANDS = {
    "show": ["memory", "show", "ada"],
    "mood": ["memory", "mood", "ada"],
    "trace": ["memory", "trace", "ada"],
    "erase": ["memory", "erase", "ada", "--yes"],
    "chat": ["chat", "--user", "ada", "--remember"],
}


@pytest.fixture
def database() -> str:
    """What is wrong with a server is in `test_postgres.py`."""
    return "sqlite"


@pytest.fixture(scope="module")
def filled(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a store in which ada said 80 things."""
    folder = tmp_path_factory.mktemp("filled")
    for suffix in ("", ".key"):
        source = empty_store.with_name(empty_store.name + suffix)
        (folder / f"echat.db{suffix}").write_bytes(source.read_bytes())
    with closing(SQLMemory(folder / "echat.db", unasked=REMEMBERED)) as memory:
        for number in range(80):
            memory.remember("ada", Turn(f"{number}. I live in Leeds. " * 9, cues=Cues(SAD)))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def full(tmp_path: Path, filled: dict[str, bytes]) -> Path:
    """A store of the test's own in which ada said 80 things."""
    folder = tmp_path / "store"
    folder.mkdir()
    for name, data in filled.items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o600)
    return folder / "echat.db"


def _text(path: Path) -> None:
    path.write_text("dear diary\n" * 999)


def _picture(path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(65 * 64))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def _anothers(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE bookmarks (id INTEGER)")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 8192 * 4096])


def _cut_within(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _rotten(path: Path) -> None:
    """Pages behind the first are noise."""
    data = bytearray(path.read_bytes())
    for page in range(1, len(data) // 4096):
        data[page * 4096 : page * 4096 + 200] = b"\xa5" * 200
    path.write_bytes(data)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _keyless(path: Path) -> None:
    path.with_name(path.name + ".key").unlink()


def _wrong_key(path: Path) -> None:
    path.with_name(path.name + ".key").write_bytes(b"k" * 32)


def _cut_key(path: Path) -> None:
    path.with_name(path.name + ".key").write_bytes(b"k" * 31)


def _folder_as_key(path: Path) -> None:
    _keyless(path)
    path.with_name(path.name + ".key").mkdir()


BAD: dict[Callable[[Path], None], str] = {
    _text: "is not a database",
    _picture: "is not a database",
    _anothers: "another program",
    _cut: "is damaged",
    _cut_within: "is damaged",
    _rotten: "is damaged",
    _folder: "is a directory",
    _keyless: "is missing",
    _wrong_key: "is the key of another store",
    _cut_key: "31 bytes",
    _folder_as_key: "cannot read the store's key",
}


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the log and the index of a database that was opened, and is as it was."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


@pytest.mark.parametrize("spoil", BAD)
def test_what_is_no_store_is_told_and_left_as_it_was(
    full: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(full)
    before = contents(full.parent)
    with (
        pytest.raises(StoreError, match=BAD[spoil]) as caught,
        closing(SQLMemory(full, unasked=REMEMBERED)) as memory,
    ):
        memory.show("ada", 1000)
    assert "\n" not in str(caught.value)
    assert contents(full.parent) == before


@pytest.fixture
def _model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ECHAT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(rooms, "model", lambda settings, lazy=True: FakeModel(Line("hello")))


@pytest.mark.usefixtures("_model")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("spoil", BAD)
def test_commands_tell_it_in_one_line(
    full: Path,
    spoil: Callable[[Path], None],
    command: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ECHAT_STORE", f"sqlite:///{full}")
    spoil(full)
    before = contents(full.parent)
    with open(os.devnull, encoding="utf-8") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        code = run(COMMANDS[command])
    out, err = capsys.readouterr()
    assert (code, out) == (4, "")
    assert BAD[spoil] in err
    assert err.startswith("echat: ")
    assert err.count("\n") == 1
    assert contents(full.parent) == before


# --- users ---------------------------------------------------------------------------------------

USERS = [
    "",
    "x" * 10_000,
    "a\0b",
    "'; DROP TABLE users; --",
    "🙂🙂",
    "\ud800",
    "-",
    "../../etc/passwd",
]


@pytest.mark.usefixtures("_model")
@pytest.mark.parametrize("user", USERS, ids=lambda user: ascii(user)[:20])
def test_commands_take_any_user_and_tell_who_is_not_known(
    full: Path, user: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ["--store", f"sqlite:///{full}"]
    assert run(["memory", "show", *store, "--", user]) == 2
    assert run(["memory", "mood", *store, "--", user]) == 2
    err = capsys.readouterr().err
    assert err == "echat: no user with this id is known here\n" * 2
    assert run(["memory", "erase", "--yes", *store, "--", user]) == 0
    with closing(SQLMemory(full, unasked=REMEMBERED)) as memory:
        memory.remember(user, Turn("hello"))
        assert memory.users() == 2
    assert run(["memory", "show", *store, "--", user]) == 0
    capsys.readouterr()
    assert run(["memory", "erase", "--yes", *store, "--", user]) == 0
    assert capsys.readouterr().out.endswith("users 1\n")
    with closing(SQLMemory(full, unasked=REMEMBERED)) as memory:
        assert len(memory.show("ada", 1000)) == 80


# --- clocks --------------------------------------------------------------------------------------

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "then",
    [
        NOW - timedelta(days=1),
        datetime(1970, 1, 1, tzinfo=UTC),
        NOW + timedelta(days=36_500),
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
    ],
    ids=lambda then: f"{then.year}",
)
def test_a_clock_that_is_set_anywhere_keeps_the_order_of_turns(
    store: Path, clock: Any, then: datetime
) -> None:
    """Nothing but a sweep believes it: what is out of time by a wrong clock goes."""
    given: Any = {"clock": clock, "unasked": REMEMBERED, "retention": None}
    with closing(SQLMemory(store, **given)) as memory:
        memory.remember("ada", Turn("My dog is called Rex.", cues=Cues(SAD)))
        clock.now = then
        turn_id = memory.remember("ada", Turn("then", cues=Cues(SAD)))
        memory.remember("ada", Turn("then!", cues=Cues(SAD)), turn_id=turn_id)
        memory.mood("ada")
        memory.recall("ada", query="my dog")
        memory.trace("ada")
    with closing(SQLMemory(store, **given)) as memory:  # opened with the wrong clock
        assert [s.turn.transcript for s in memory.show("ada")][-1] == "then!"
        clock.now = NOW + timedelta(hours=1)
        memory.remember("ada", Turn("after", cues=Cues(SAD)))
        said = [stored.turn.transcript for stored in memory.show("ada")]
        assert said == ["My dog is called Rex.", "then!", "after"]
        assert memory.recall("ada", query="my dog").turns[-1].transcript == "after"
        memory.mood("ada")
    with closing(SQLMemory(store, **given)) as memory:
        assert len(memory.show("ada")) == 3


# --- a disk that must not be written, or is full --------------------------------------------------


@pytest.fixture
def _ordinary(full: Path) -> Iterator[None]:
    """As an ordinary user: root may write anything."""
    for folder in [full.parent, *full.parent.parents][:5]:
        folder.chmod(0o755)
    yield
    full.parent.chmod(0o755)


@pytest.mark.usefixtures("_ordinary", "_model")
@pytest.mark.parametrize("locked", ["file", "folder"])
def test_a_file_or_folder_that_turns_read_only_is_told_and_loses_nothing(
    full: Path, locked: str
) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = ""
        try:
            full.chmod(0o444) if locked == "file" else full.parent.chmod(0o555)
            if os.getuid() == 0:
                os.setuid(65534)
            code = run(["memory", "show", "ada", "--store", f"sqlite:///{full}"])
            with closing(SQLMemory(full, unasked=REMEMBERED)):
                said = f"opened {code}"
        except StoreError as error:
            said = f"{code} {error}"
        finally:
            os.write(writer, said.encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    full.parent.chmod(0o755)
    assert said.startswith("4 ")
    assert "permission" in said.lower()
    full.chmod(0o600)
    with closing(SQLMemory(full, unasked=REMEMBERED)) as memory:
        assert len(memory.show("ada", 1000)) == 80
