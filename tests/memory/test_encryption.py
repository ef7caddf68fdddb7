"""Words encrypted, a key for each user: what is readable, by whom, and what wrong keys do."""

from __future__ import annotations

import base64
import builtins
import contextlib
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Text

from echat_memory import Encryption, SQLMemory, cipher, encrypting, sealing, sqlite
from echat_memory.keys import ENVIRON, KEK_BYTES
from echat_memory.schema import Base, PlanRow
from echat_sdk.consent import REMEMBERED
from echat_sdk.cues import Cue, Cues
from echat_sdk.errors import ConfigError, StoreError
from echat_sdk.turn import Turn
from tests.memory import bytescan

FIELDS = Encryption()
MARKERS = ["Zqxwords", "Zqxthink", "Zqxreply", "Zqxtown"]


def turn(i: int = 0) -> Turn:
    words, think, reply, town = MARKERS
    said = f"{words} {i}. I live in {town}. I love {words}. My dog is called Rex."
    return Turn(said, think=think, reply=reply * 40, cues=Cues(Cue("sad", 0.8, {"sad": 0.8})))


@pytest.fixture
def database() -> str:
    """Files are looked into here; what holds on PostgreSQL too is in `test_sealed_stores.py`."""
    return "sqlite"


@pytest.fixture
def secret(store: Path) -> Iterator[SQLMemory]:
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
        yield memory


def _markers_in(folder: Path) -> set[str]:
    return bytescan.found(bytescan.under(folder), MARKERS)


def _hashes(folder: Path) -> dict[str, str]:
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.iterdir()
        if not file.name.endswith(("-wal", "-shm"))
    }


def _raw(store: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(store)) as raw, raw:
        return raw.execute(statement, values).fetchall()


def _kek(store: Path) -> Path:
    return store.with_name(store.name + ".kek")


def _shares(store: Path) -> Path:
    return store.with_name(store.name + ".shares")


# --- what comes back, and what lies there ----------------------------------------------------

_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
@given(words=_text, think=_text, reply=_text, other=_text)
def test_what_was_sealed_comes_back(
    secret: SQLMemory, words: str, think: str, reply: str, other: str
) -> None:
    kept = Turn(words, think=think, reply=reply)
    turn_id = secret.remember("ada", Turn(other))
    secret.remember("ada", kept, turn_id=turn_id)
    assert secret.show("ada", 1)[0].turn == kept
    if words:  # one without is of no use to a reply
        assert secret.recall("ada").turns[-1] == kept


def test_facts_supersede_and_are_taken_back_as_in_a_plain_store(secret: SQLMemory) -> None:
    for said in ("I live in Leeds.", "I live in York.", "My dog is called Rex", "I live in York"):
        secret.remember("ada", Turn(said))
    assert secret.recall("ada").facts == ("their dog is called Rex", "they live in York")
    secret.remember("ada", Turn("I don't live in York any more."))
    assert secret.recall("ada").facts == ("their dog is called Rex",)


def test_no_word_is_in_any_file(secret: SQLMemory, store: Path) -> None:
    for i in range(40):
        secret.remember(f"user {i % 3}", turn(i))
    assert _markers_in(store.parent) == set()
    secret.close()
    assert _markers_in(store.parent) == set()
    (label,) = {row[0] for row in _raw(store, "SELECT label FROM turn_emotions")}
    assert label == "sad"  # as is said: labels stay readable


def test_the_byte_scan_finds_words_in_a_plain_store(memory: SQLMemory, store: Path) -> None:
    memory.remember("ada", turn())
    assert _markers_in(store.parent) == set(MARKERS)


def test_every_text_column_is_sealed_or_known_to_hold_no_words() -> None:
    plain = {"turns.model", "turn_emotions.label", "turn_cues.label", "user_keys.wrapped"}
    plain |= {"turn_emotions.abstained", "turn_cues.abstained", "encryption.proof"}
    sealed = {
        f"{table.__tablename__}.{name}" for table, names in sealing.SEALED.items() for name in names
    }
    found = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, Text)
    }
    assert found == plain | sealed


def test_each_user_has_a_key_of_their_own_and_no_text_is_sealed_alike_twice(
    secret: SQLMemory, store: Path
) -> None:
    for user in ("ada", "ada", "bob"):
        secret.remember(user, Turn("hello"))
    texts = [row[0] for row in _raw(store, "SELECT transcript FROM turns ORDER BY id")]
    heads = [text[: cipher.PREFIX_LENGTH] for text in texts]
    assert len(set(texts)) == 3
    assert heads[0] == heads[1] != heads[2]
    assert heads[0].startswith("echat1:")


def test_what_a_reply_was_given_is_sealed_too(secret: SQLMemory) -> None:
    turn_id = int(secret.remember("ada", Turn("hello")))
    columns = {"turn_id": turn_id, "user_id": 1, "strategy": "question", "remembered": "Zqx"}
    with secret._open(write=True) as connection:
        sealed = sealing.seal(connection, PlanRow, turn_id, 1, columns)
        assert sealed["remembered"].startswith(cipher.PREFIX)
        assert sealed["strategy"] == "question"
        assert sealing.words(connection, PlanRow, turn_id, 1, sealed) == {"remembered": "Zqx"}


def test_key_files_are_for_their_owner_only(secret: SQLMemory, store: Path) -> None:
    secret.remember("ada", turn())
    for file in (_kek(store), _shares(store)):
        assert file.stat().st_mode & 0o777 == 0o600


# --- a store that is there -------------------------------------------------------------------


def test_a_plain_store_is_encrypted_when_it_is_opened_with_a_key(store: Path) -> None:
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        for i in range(300):
            memory.remember(f"user {i % 3}", turn(i))
        before = memory.show("user 1", 1000)
    store.with_name("echat.db.before-0002.bak").write_text(MARKERS[0])
    assert _markers_in(store.parent) == set(MARKERS)
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
        assert memory.converted >= 300
        assert _markers_in(store.parent) == set()
        assert memory.show("user 1", 1000) == before
        assert "they live in Zqxtown" in memory.facts("user 2")
    assert _markers_in(store.parent) == set()
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
        assert memory.converted == 0


def test_a_store_half_encrypted_is_readable_and_goes_on_where_it_stopped(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        for i in range(10):
            memory.remember("ada", turn(i))
            memory.remember("bob", turn(i))
        before = memory.show("ada", 100)
    monkeypatch.setattr(encrypting, "BATCH", 3)
    real, left = encrypting.sealing.replace, [7]

    def replace(*arguments: Any) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(*arguments)

    monkeypatch.setattr(encrypting.sealing, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)
    heads = [row[0][:7] for row in _raw(store, "SELECT transcript FROM turns ORDER BY id")]
    assert heads.count("echat1:") == 6  # whole batches only
    left[0] = 1_000
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
        assert memory.converted == len(heads) - 6 + 6  # the facts of both, too
        assert memory.show("ada", 100) == before
        assert _markers_in(store.parent) == set()


def test_who_opened_a_store_before_it_was_encrypted_writes_no_plain_word_into_it(
    store: Path,
) -> None:
    with closing(SQLMemory(store, unasked=REMEMBERED)) as before:
        before.remember("ada", Turn("hello"))
        with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
            with pytest.raises(StoreError, match="was encrypted after"):
                before.remember("ada", turn())
            assert len(memory.show("ada")) == 1


@pytest.mark.parametrize("how", [None, Encryption("file")])
def test_an_encrypted_store_is_not_opened_as_a_plain_one(
    secret: SQLMemory, store: Path, how: Encryption | None
) -> None:
    secret.remember("ada", Turn("hello"))
    secret.close()
    before = _hashes(store.parent)
    with pytest.raises(StoreError):
        SQLMemory(store, encryption=how, unasked=REMEMBERED)
    assert _hashes(store.parent) == before


# --- wrong keys ------------------------------------------------------------------------------


def _another(path: Path) -> None:
    path.write_bytes(os.urandom(KEK_BYTES))


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _another_stores(path: Path) -> None:
    other = path.parent / "other" / "other.db"
    with closing(SQLMemory(other, encryption=FIELDS, unasked=REMEMBERED)) as memory:
        memory.remember("ada", Turn("hello"))
    shutil.copy(other.with_name(other.name + path.suffix), path)
    shutil.rmtree(other.parent)


@pytest.mark.parametrize(
    ("suffix", "harm", "told"),
    [
        (".kek", _another, "another key than the store was encrypted with"),
        (".kek", _another_stores, "another key than the store was encrypted with"),
        (".kek", _truncate, "has 31 bytes, a key has 32"),
        (".kek", lambda path: path.write_bytes(b""), "has 0 bytes"),
        (".kek", Path.unlink, "is missing: it is the key to the words"),
        (".kek", lambda path: path.chmod(0o644), "chmod 600"),
        (".shares", _another_stores, "shares is not that of the store"),
        (".shares", lambda path: os.truncate(path, 5000), "damaged"),
        (".shares", lambda path: path.write_bytes(b""), "holds no shares"),
        (".shares", lambda path: path.write_bytes(b"x" * 9000), "not a database"),
        (".shares", Path.unlink, "is missing: without it"),
    ],
)
def test_a_wrong_key_is_told_plainly_and_writes_nothing(
    secret: SQLMemory, store: Path, suffix: str, harm: Callable[[Path], object], told: str
) -> None:
    secret.remember("ada", turn())
    secret.close()
    path = store.with_name(store.name + suffix)
    whole = path.read_bytes()
    harm(path)
    before = _hashes(store.parent)
    with pytest.raises(StoreError, match=told):
        SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)
    assert _hashes(store.parent) == before
    path.unlink(missing_ok=True)
    path.write_bytes(whole)
    path.chmod(0o600)
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
        assert memory.show("ada")[0].turn == turn()


def test_the_key_may_come_from_the_environment(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRON, base64.b64encode(b"k" * 32).decode())
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
        memory.remember("ada", turn())
    assert not _kek(store).exists()
    for wrong, told in (("not base64 at all!", "not base64"), ("aGVsbG8=", "has 5 bytes")):
        monkeypatch.setenv(ENVIRON, wrong)
        with pytest.raises(StoreError, match=told) as caught:
            SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)
        assert wrong not in str(caught.value)


def _no_answer() -> bytes:
    raise TimeoutError("kms-7.internal does not answer")


def test_the_key_may_come_from_a_function(store: Path) -> None:
    with closing(
        SQLMemory(store, encryption=Encryption(key=lambda: b"k" * 32), unasked=REMEMBERED)
    ) as memory:
        memory.remember("ada", turn())
    with closing(
        SQLMemory(store, encryption=Encryption(key=lambda: [b"k" * 32]), unasked=REMEMBERED)
    ) as memory:
        assert memory.show("ada")[0].turn == turn()
    for source, told in (
        (lambda: b"j" * 32, "another key"),
        (lambda: [], "gave no key"),
        (_no_answer, "TimeoutError"),
    ):
        with pytest.raises(StoreError, match=told):
            SQLMemory(store, encryption=Encryption(key=source), unasked=REMEMBERED)


def test_a_missing_package_is_told_and_nothing_is_written(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "echat_memory.cipher":
            raise ImportError("cryptography")
        return real(name, *rest)

    before = _hashes(store.parent)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"echat-sdk\[encryption\]"):
        SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)
    monkeypatch.undo()
    assert _hashes(store.parent) == before


# --- what somebody changed in the database ---------------------------------------------------


def _swap_rows(store: Path) -> None:
    (one,), (two,) = _raw(store, "SELECT transcript FROM turns WHERE id IN (1, 2) ORDER BY id")
    _raw(store, "UPDATE turns SET transcript = ? WHERE id = 1", two)
    _raw(store, "UPDATE turns SET transcript = ? WHERE id = 2", one)


def _other_user(store: Path) -> None:
    _raw(store, "UPDATE turns SET user_id = 2 WHERE id = 1")


def _others_words(store: Path) -> None:
    _raw(store, "UPDATE turns SET transcript = (SELECT transcript FROM turns WHERE id = 4)")


def _others_key(store: Path) -> None:
    _raw(store, "UPDATE user_keys SET wrapped = (SELECT wrapped FROM user_keys WHERE user_id = 2)")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (_swap_rows, "moved from another row"),
        (lambda store: _raw(store, "UPDATE turns SET transcript = reply"), "moved from another"),
        (_others_words, "moved from another row"),
        (_other_user, "moved from another row"),
        (_others_key, "moved from another row"),
        (lambda store: _raw(store, "UPDATE user_keys SET wrapped = 'x'"), "user_keys.wrapped"),
        (lambda store: _raw(store, "DELETE FROM user_keys"), "not what was written"),
        (lambda store: _raw(store, "UPDATE turns SET reply = 'echat1:AAAA'"), "turns.reply"),
        (lambda store: _raw(store, "UPDATE turns SET reply = 'echat1:é'"), "turns.reply"),
        (lambda store: _raw(store, "UPDATE turns SET reply = ''"), "is plain"),
        (lambda store: _raw(store, "UPDATE turns SET transcript = 'I am Zqx'"), "is plain"),
    ],
)
def test_words_that_were_changed_or_moved_are_refused(
    secret: SQLMemory, store: Path, harm: Callable[[Path], object], told: str
) -> None:
    for i in range(3):
        secret.remember("ada", turn(i))
    secret.remember("bob", turn(3))
    secret.close()
    harm(store)
    before = _hashes(store.parent)
    opened = SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED, retention=None)
    with closing(opened) as memory:
        for read in (memory.show, memory.recall):
            with pytest.raises(StoreError, match=told) as caught:
                [read(user) for user in ("ada", "bob")]
            assert not any(marker in str(caught.value) for marker in ("Zqx", "echat1:"))
    assert _hashes(store.parent) == before


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100
)
@given(where=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_bit_that_was_flipped_is_seen(secret: SQLMemory, where: int, bit: int) -> None:
    turn_id = int(secret.remember("ada", Turn("some words to be sealed")))
    with secret._open(write=True) as connection:
        sealed = sealing.seal(connection, PlanRow, turn_id, 1, {"remembered": "Rex"})["remembered"]
        data = bytearray(base64.b64decode(sealed[len(cipher.PREFIX) :]))
        data[where % len(data)] ^= 1 << bit
        changed = {"remembered": cipher.PREFIX + base64.b64encode(data).decode()}
        with pytest.raises(StoreError, match="not what was written"):
            sealing.words(connection, PlanRow, turn_id, 1, changed)


def test_a_plain_copy_put_back_is_encrypted_only_when_it_is_said_to_be_trusted(
    store: Path,
) -> None:
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        memory.remember("ada", turn())
    plain = store.read_bytes()
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
        memory.remember("ada", turn(1))
    store.write_bytes(plain)
    with pytest.raises(StoreError, match="--accept-plain"):
        SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)
    assert store.read_bytes() == plain
    with closing(
        SQLMemory(store, encryption=Encryption(accept_plain=True), unasked=REMEMBERED)
    ) as memory:
        assert memory.show("ada")[0].turn == turn()
    _raw(store, "UPDATE turns SET reply = 'hello'")
    memory = SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)
    with closing(memory), pytest.raises(StoreError, match="--accept-plain"):
        memory.show("ada")
    with closing(
        SQLMemory(store, encryption=Encryption(accept_plain=True), unasked=REMEMBERED)
    ) as memory:
        assert memory.show("ada")[0].turn.reply == "hello"


def test_a_key_that_was_rolled_back_is_never_used(secret: SQLMemory, store: Path) -> None:
    """Its id comes again, in this process or another, for another key."""
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as other:
        secret.remember("ada", Turn("hello"))
        with contextlib.suppress(KeyboardInterrupt), secret._open(write=True) as connection:
            secret._cipher.make(connection, 1)  # type: ignore[union-attr]
            raise KeyboardInterrupt
        other.remember("bob", turn())
        secret.remember("bob", turn(1))
        for memory in (secret, other):
            assert [stored.turn for stored in memory.show("bob")] == [turn(), turn(1)]


# --- erasing ---------------------------------------------------------------------------------


def test_after_erasing_a_copy_made_before_cannot_be_read(
    secret: SQLMemory, store: Path, tmp_path: Path
) -> None:
    for user in ("ada", "bob"):
        secret.remember(user, turn())
    copy, key = tmp_path / "backup.db", tmp_path / "backup.db.key"
    sqlite.copy(store, copy)
    shutil.copy(store.with_name("echat.db.key"), key)
    left = Encryption(key=_kek(store), shares=_shares(store))
    with closing(SQLMemory(copy, encryption=left, unasked=REMEMBERED)) as memory:
        assert memory.show("ada")[0].turn == turn()
    share = _raw(_shares(store), "SELECT share FROM shares WHERE user_id = 1")[0][0]
    counts = secret.erase("ada").counts
    assert counts["user_keys"] == counts["turns"] == 1
    for file in store.parent.iterdir():
        assert share not in file.read_bytes(), file.name
    with closing(SQLMemory(copy, encryption=left, unasked=REMEMBERED)) as memory:
        for read in (memory.show, memory.recall):
            with pytest.raises(StoreError, match="is destroyed"):
                read("ada")
        with pytest.raises(StoreError, match="is destroyed"):
            memory.remember("ada", turn())
        assert memory.show("bob")[0].turn == turn()
        assert memory.erase("ada").counts["turns"] == 1
        assert memory.show("ada") == []
        memory.remember("ada", Turn("hello again"))
        assert memory.show("ada")[0].turn == Turn("hello again")


def test_a_copy_of_the_database_opens_with_the_key_and_the_shares_but_with_neither_alone(
    secret: SQLMemory, store: Path, tmp_path: Path
) -> None:
    secret.remember("ada", turn())
    copy = tmp_path / "backup.db"
    sqlite.copy(store, copy)
    shutil.copy(store.with_name("echat.db.key"), tmp_path / "backup.db.key")
    with pytest.raises(StoreError, match="shares is missing"):
        SQLMemory(copy, encryption=Encryption(key=_kek(store)), unasked=REMEMBERED)
    with pytest.raises(StoreError, match="kek is missing"):
        SQLMemory(copy, encryption=Encryption(shares=_shares(store)), unasked=REMEMBERED)
    with closing(
        SQLMemory(
            copy, encryption=Encryption("fields", _kek(store), _shares(store)), unasked=REMEMBERED
        )
    ):
        pass


def test_an_erasing_that_fails_after_the_key_was_destroyed_is_ended_by_another(
    secret: SQLMemory, store: Path
) -> None:
    secret.remember("ada", turn())
    _raw(
        store,
        "CREATE TRIGGER fault BEFORE DELETE ON turns BEGIN SELECT RAISE(ABORT, 'fault'); END",
    )
    with pytest.raises(StoreError):
        secret.erase("ada")
    with pytest.raises(StoreError, match="Erase them again"):
        secret.show("ada")
    _raw(store, "DROP TRIGGER fault")
    assert secret.rotate_key() == 0  # a user whose key is destroyed is in nobody's way
    assert secret.erase("ada").counts["turns"] == 1
    assert secret.show("ada") == []


def test_reading_makes_no_key(secret: SQLMemory, store: Path) -> None:
    secret.show("nobody")
    secret.recall("nobody")
    assert _raw(store, "SELECT * FROM user_keys") == []
    assert len(_raw(_shares(store), "SELECT * FROM shares")) == 1


def test_times_of_turns_and_mood_are_as_in_a_plain_store(store: Path) -> None:
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    with closing(
        SQLMemory(store, encryption=FIELDS, clock=lambda: now, unasked=REMEMBERED)
    ) as memory:
        for i in range(3):
            memory.remember("ada", turn(i))
        assert memory.recall("ada").mood == "Lately they have sounded sad more often than not."
        assert {stored.at for stored in memory.show("ada")} == {now}
        cue = memory.show("ada")[0].turn.cues.emotion
        assert cue.distribution == MappingProxyType({"sad": 0.8})
