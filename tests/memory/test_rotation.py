"""New keys for old ones: nothing is lost, wherever it is killed."""

from __future__ import annotations

import base64
import itertools
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from echat_memory import Encryption, SQLMemory, cipher, encrypting
from echat_memory.keys import ENVIRON
from echat_sdk.consent import REMEMBERED
from echat_sdk.errors import StoreError
from echat_sdk.turn import Turn

FIELDS = Encryption()
USERS = ("ada", "bob", "cem")
TURNS = 12


@pytest.fixture
def database() -> str:
    """Files are looked into here; what holds on PostgreSQL too is in `test_sealed_stores.py`."""
    return "sqlite"


@pytest.fixture
def secret(store: Path) -> Iterator[SQLMemory]:
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
        yield memory


def _fill(memory: SQLMemory) -> None:
    for i, user in itertools.product(range(TURNS), USERS):
        said = f"{user} {i}. My dog is called Rex. I live in {'Leeds' if i % 2 else 'York'}."
        memory.remember(user, Turn(said, think=f"<{i}>", reply="I see."))


def _told(memory: SQLMemory) -> dict[str, object]:
    return {user: (memory.show(user, 1000), memory.facts(user)) for user in USERS}


def _raw(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as raw:
        return raw.execute(query).fetchall()


def _heads(store: Path, user_id: int) -> set[str]:
    """How the texts of a user begin: one for each key that is in use."""
    columns = {"turns": ("transcript", "think", "reply"), "facts": ("subject", "value")}
    return {
        str(row[0])
        for table, names in columns.items()
        for name in names
        for row in _raw(
            store,
            f"SELECT DISTINCT substr({name}, 1, {cipher.PREFIX_LENGTH})"
            f" FROM {table} WHERE user_id = {user_id}",
        )
    }


def _kek(store: Path) -> Path:
    return store.with_name(store.name + ".kek")


# --- what it does ----------------------------------------------------------------------------


def test_a_new_key_seals_all_of_one_users_words_and_the_old_one_is_gone(
    secret: SQLMemory, store: Path
) -> None:
    _fill(secret)
    before, ada, bob = _told(secret), _heads(store, 1), _heads(store, 2)
    wrapped = str(_raw(store, "SELECT wrapped FROM user_keys WHERE user_id = 1")[0][0])
    assert secret.rotate("ada") > TURNS
    assert _told(secret) == before
    assert len(_heads(store, 1)) == 1
    assert _heads(store, 1) != ada
    assert _heads(store, 2) == bob
    assert all(wrapped.encode() not in file.read_bytes() for file in store.parent.iterdir())
    assert secret.rotate("nobody") == 0
    secret.rotate()
    assert _heads(store, 2) != bob
    assert _told(secret) == before


def test_a_new_kek_wraps_the_keys_and_no_word_is_sealed_anew(
    secret: SQLMemory, store: Path
) -> None:
    _fill(secret)
    before, texts = _told(secret), _raw(store, "SELECT transcript FROM turns")
    old = _kek(store).read_bytes()
    assert secret.rotate_key() == len(USERS)
    assert _raw(store, "SELECT transcript FROM turns") == texts
    assert _kek(store).read_bytes() != old
    assert not _kek(store).with_name("echat.db.kek.next").exists()
    assert _told(secret) == before
    secret.remember("dan", Turn("hello"))
    secret.close()
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
        assert _told(memory) == before
        assert memory.show("dan")
    _kek(store).write_bytes(old)
    with pytest.raises(StoreError, match="another key"):
        SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)


def test_a_new_kek_in_the_environment_comes_before_the_old_one(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (base64.b64encode(letter * 32).decode() for letter in (b"o", b"n"))
    monkeypatch.setenv(ENVIRON, old)
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
        _fill(memory)
        before = _told(memory)
        with pytest.raises(StoreError, match="give the new one and then the old one"):
            memory.rotate_key()
    monkeypatch.setenv(ENVIRON, f"{new}, {old}")
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
        assert memory.rotate_key() == len(USERS)
    monkeypatch.setenv(ENVIRON, new)
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
        assert _told(memory) == before


def test_a_process_that_was_there_before_goes_on_with_new_keys(store: Path) -> None:
    with (
        closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as one,
        closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as two,
    ):
        _fill(one)
        assert _told(two) == _told(one)
        changes = (one.rotate, one.rotate_key, lambda: one.rotate("ada"), one.rotate_key)
        for i, change in enumerate(changes):
            change()
            two.remember("ada", Turn("hello"))
            two.remember(f"new after {i}", Turn("hello"))
            assert _told(two) == _told(one)
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
        assert len(memory.show("ada", 1000)) == TURNS + 4
        assert memory.users() == len(USERS) + 4


def test_a_plain_store_has_no_keys_to_change(store: Path) -> None:
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        for change in (memory.rotate, memory.rotate_key):
            with pytest.raises(StoreError, match="are not encrypted"):
                change()


# --- killed ----------------------------------------------------------------------------------


def _convert(store: Path) -> None:
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)):
        pass


def _rotate(store: Path) -> None:
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
        memory.rotate()


def _rotate_kek(store: Path) -> None:
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
        memory.rotate_key()


def _in_child(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


def _dies_at(store: Path, work: Callable[[Path], None], statement: int) -> bool:
    """Run `work` in a child that kills itself at its k-th step; whether it came so far.

    Steps are statements, and key files that get their name, before and after.
    """

    def run() -> None:
        count = itertools.count(1)
        encrypting.BATCH = 5
        connect, link, replace = sqlite3.connect, os.link, os.replace

        def step(_: str = "") -> None:
            if next(count) == statement:
                os.kill(os.getpid(), signal.SIGKILL)

        def traced(*arguments: object, **named: object) -> sqlite3.Connection:
            connection = connect(*arguments, **named)  # type: ignore[call-overload]
            connection.set_trace_callback(step)
            return connection  # type: ignore[no-any-return]

        def named(name: Callable[..., None], *paths: Path) -> None:
            step()
            name(*paths)
            step()

        sqlite3.connect = traced  # type: ignore[assignment]
        sqlite3.dbapi2.connect = traced  # type: ignore[attr-defined]
        os.link = partial(named, link)  # type: ignore[assignment]
        os.replace = partial(named, replace)  # type: ignore[assignment]
        work(store)

    return os.waitpid(_in_child(run), 0)[1] == signal.SIGKILL


_EVERY = [pytest.mark.endurance, pytest.mark.timeout(1200)]


@pytest.mark.parametrize(
    ("work", "step"),
    [
        pytest.param(_convert, 37, marks=pytest.mark.timeout(60)),
        pytest.param(_rotate, 37, marks=pytest.mark.timeout(60)),
        pytest.param(_rotate_kek, 9, marks=pytest.mark.timeout(60)),
        pytest.param(_convert, 5, marks=_EVERY),
        pytest.param(_rotate, 5, marks=_EVERY),
        pytest.param(_rotate_kek, 1, marks=_EVERY),
    ],
)
def test_a_kill_at_any_statement_leaves_every_row_readable_and_the_work_to_be_ended(
    store: Path, work: Callable[[Path], None], step: int
) -> None:
    with closing(
        SQLMemory(store, encryption=None if work is _convert else FIELDS, unasked=REMEMBERED)
    ) as memory:
        _fill(memory)
        before = _told(memory)
    pristine = {file: file.read_bytes() for file in store.parent.iterdir()}
    kills = 0
    for statement in itertools.count(1, step):
        for file in store.parent.iterdir():
            file.unlink()
        for file, data in pristine.items():
            file.write_bytes(data)
            file.chmod(0o600)
        if not _dies_at(store, work, statement):
            break
        kills += 1
        with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
            assert _told(memory) == before
            memory.remember("dan", Turn("hello"))
        work(store)
        with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
            assert _told(memory) == before
            assert memory.show("dan")
        if work is _rotate:
            assert [len(_heads(store, user_id)) for user_id in (1, 2, 3)] == [1, 1, 1]
            assert {row[0] for row in _raw(store, "SELECT is_current FROM user_keys")} == {1}
        assert not list(store.parent.glob("*.next"))
    assert kills > 5


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(8, marks=pytest.mark.timeout(60)),
        pytest.param(50, marks=[pytest.mark.endurance, pytest.mark.timeout(600)]),
    ],
)
def test_a_kill_at_a_random_moment_while_another_process_writes_loses_nothing(
    store: Path, kills: int
) -> None:
    with closing(
        SQLMemory(store, encryption=FIELDS, busy_timeout=10, unasked=REMEMBERED)
    ) as memory:
        _fill(memory)
        before = _told(memory)
        generator = random.Random(11)
        for i in range(kills):

            def rotate(i: int = i) -> None:
                for n in itertools.count(i):
                    (_rotate, _rotate_kek)[n % 2](store)

            child = _in_child(rotate)
            until = time.monotonic() + generator.uniform(0.05, 0.2)
            while time.monotonic() < until:
                memory.remember("dan", Turn(f"hello {i}"))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            assert _told(memory) == before
        said = memory.show("dan", 100_000)
        memory.rotate()
        memory.rotate_key()
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
        assert _told(memory) == before
        assert memory.show("dan", 100_000) == said
