"""Words encrypted, on each database."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from echat_memory import Encryption, SQLMemory, cipher, encrypting
from echat_sdk.consent import REMEMBERED
from echat_sdk.errors import StoreError
from echat_sdk.turn import Turn

FIELDS = Encryption()
TURN = Turn("I live in Zqxtown. My dog is called Rex.", think="Zqxthink", reply="Zqxreply")
Sql = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def secret(store: Path | str) -> Iterator[SQLMemory]:
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
        yield memory


def _texts(sql: Sql, store: Path | str) -> list[str]:
    turns = sql(store, "SELECT transcript, think, reply FROM turns")
    return [str(text) for row in turns + sql(store, "SELECT value FROM facts") for text in row]


def test_words_are_sealed_and_come_back(secret: SQLMemory, store: Path | str, sql: Sql) -> None:
    turn_id = secret.remember("ada", Turn("hello"))
    secret.remember("ada", TURN, turn_id=turn_id)
    secret.remember("bob", Turn("我住在北京"))
    assert secret.show("ada")[0].turn == TURN
    assert set(secret.recall("ada").facts) == {"they live in Zqxtown", "their dog is called Rex"}
    assert all(text.startswith("echat1:") for text in _texts(sql, store))
    secret.remember("ada", Turn("I live in York now. I no longer live in Zqxtown."))
    assert "their dog is called Rex" in secret.facts("ada")


def test_a_plain_store_is_encrypted_and_then_opens_with_its_key_alone(
    memory: SQLMemory, store: Path | str, sql: Sql, key: Path
) -> None:
    for user in ("ada", "bob", "ada"):
        memory.remember(user, TURN)
    before = memory.show("ada")
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as secret:
        assert secret.converted == 3 + 4
        assert secret.show("ada") == before
        assert all(text.startswith("echat1:") for text in _texts(sql, store))
        with pytest.raises(StoreError, match="was encrypted after"):
            memory.remember("ada", TURN)
    with pytest.raises(StoreError, match=r"words in .* are encrypted"):
        SQLMemory(store, unasked=REMEMBERED)
    key.with_suffix(".kek").write_bytes(os.urandom(32))
    with pytest.raises(StoreError, match="another key than"):
        SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)


def test_moved_words_are_refused(secret: SQLMemory, store: Path | str, sql: Sql) -> None:
    for _ in range(2):
        secret.remember("ada", TURN)
    sql(store, "UPDATE turns SET transcript = (SELECT max(transcript) FROM turns)")
    with pytest.raises(StoreError, match="moved from another row") as caught:
        secret.show("ada")
    assert "s3cr3t" not in str(caught.value)


def test_new_keys_take_the_place_of_old_ones(
    secret: SQLMemory, store: Path | str, sql: Sql
) -> None:
    for user in ("ada", "bob"):
        secret.remember(user, TURN)
    before = {text[: cipher.PREFIX_LENGTH] for text in _texts(sql, store)}
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as other:
        assert secret.rotate() == 2 * 3
        assert secret.rotate_key() == 2
        after = {text[: cipher.PREFIX_LENGTH] for text in _texts(sql, store)}
        assert len(after) == 2
        assert not before & after
        other.remember("ada", Turn("hello"))
        other.remember("cem", Turn("hello"))
        assert other.show("ada")[0].turn == TURN
    assert secret.show("ada")[1].turn == secret.show("cem")[0].turn == Turn("hello")


def test_erasing_destroys_the_key_first(
    secret: SQLMemory, store: Path | str, sql: Sql, key: Path
) -> None:
    for user in ("ada", "bob"):
        secret.remember(user, TURN)
    rows = sql(store, "SELECT user_id, wrapped FROM user_keys ORDER BY user_id")
    assert secret.erase("ada").counts["user_keys"] == 1
    assert sql(store, "SELECT user_id, wrapped FROM user_keys ORDER BY user_id") == rows[1:]
    assert sql(key.with_suffix(".shares"), "SELECT user_id FROM shares") == [(0,), (2,)]
    assert secret.show("bob")[0].turn == TURN


@pytest.mark.timeout(60)
def test_users_that_write_while_keys_change_and_processes_die_lose_nothing(
    secret: SQLMemory, store: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encrypting, "BATCH", 3)
    for user in ("ada", "bob"):
        for i in range(10):
            secret.remember(user, Turn(f"{i}. I live in York."))
    before = {user: secret.show(user, 100) for user in ("ada", "bob")}
    generator, kept = random.Random(5), 0
    for i in range(5):
        child = os.fork()
        if child == 0:
            try:
                with closing(
                    SQLMemory(store, encryption=FIELDS, busy_timeout=10, unasked=REMEMBERED)
                ) as memory:
                    for n in itertools.count(i):
                        (memory.rotate, memory.rotate_key)[n % 2]()
            finally:
                os._exit(1)
        until = time.monotonic() + generator.uniform(0.2, 0.6)
        while time.monotonic() < until:
            try:
                secret.remember("cem", Turn("hello"))
                kept += 1
            except StoreError as error:  # PostgreSQL's tables are written anew meanwhile
                assert "locked" in str(error) or "busy" in str(error)  # noqa: PT017
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
    with closing(SQLMemory(store, encryption=FIELDS, unasked=REMEMBERED)) as memory:
        memory.rotate()
        memory.rotate_key()
        assert {user: memory.show(user, 100) for user in ("ada", "bob")} == before
        assert len(memory.show("cem", 100_000)) == kept > 0
