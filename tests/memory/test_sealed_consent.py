"""What is refused, or has had its time, leaves an encrypted store as it leaves a plain one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from echat_memory import Encryption, SQLMemory, sealing
from echat_memory.schema import TurnRow
from echat_sdk.consent import REMEMBERED, ConsentState, Purpose, permitted
from echat_sdk.cues import Cue, Cues
from echat_sdk.errors import StoreError
from echat_sdk.turn import Turn

pytest.importorskip("cryptography")

TURN = Turn(
    "My dog is called Rex.",
    cues=Cues(Cue("sad", 0.5), Cue("male", 0.5)),
    think="They are sad.",
    reply="Rex! What is he like?",
    seconds=2.5,
)


@pytest.fixture
def secret(store: Path | str, clock: Callable[[], datetime]) -> Iterator[SQLMemory]:
    memory = SQLMemory(store, clock=clock, unasked=REMEMBERED, encryption=Encryption())
    yield memory
    memory.close()


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15
)
@given(refused=st.frozensets(st.sampled_from(sorted(REMEMBERED)), min_size=1))
def test_to_refuse_later_leaves_what_would_have_been_kept_had_one_refused_before(
    secret: SQLMemory, refused: frozenset[str]
) -> None:
    user = f"{secret.users()}"
    secret.remember(user, TURN)
    secret.consent(user, refused, ConsentState.DENIED)
    kept = permitted(TURN, REMEMBERED - refused)
    assert [stored.turn for stored in secret.show(user)] == ([] if kept is None else [kept])
    whole = kept is not None and Purpose.STORE_TRANSCRIPT not in refused
    assert bool(secret.facts(user)) == whole
    assert secret.consent(user, refused, ConsentState.DENIED) == {}  # there is no more to delete
    secret.rotate(user)
    assert [stored.turn for stored in secret.show(user)] == ([] if kept is None else [kept])


@pytest.mark.parametrize("words", ["", "a", "ab", "abc", "爱", "a" * 33])
def test_only_what_has_words_is_taken_for_having_words(secret: SQLMemory, words: str) -> None:
    secret.remember("ada", replace(TURN, think=words))
    with secret._open(write=False) as connection:
        told = select(TurnRow.id).where(sealing.has_words(connection, TurnRow.think))
        assert (connection.execute(told).first() is not None) == bool(words)


def test_thoughts_are_swept_once_and_words_stay(secret: SQLMemory, clock: Any) -> None:
    secret.remember("ada", TURN)
    clock.advance(days=10)
    assert secret.sweep(dry_run=True) == {"thoughts": 1}
    assert secret.sweep() == {"thoughts": 1}
    assert secret.sweep() == {}
    assert secret.show("ada")[0].turn == replace(TURN, think="")


def test_who_is_gone_for_good_is_gone_from_copies_too(secret: SQLMemory, clock: Any) -> None:
    secret.remember("ada", TURN)
    cipher = secret._cipher
    assert cipher is not None
    assert not cipher.is_destroyed(1)
    clock.advance(days=4 * 365)
    assert secret.sweep()["users"] == 1
    assert cipher.is_destroyed(1)


def test_a_store_that_was_encrypted_meanwhile_is_not_emptied_in_plain(
    store: Path | str, clock: Any
) -> None:
    with closing(SQLMemory(store, clock=clock, unasked=REMEMBERED)) as plain:
        plain.remember("ada", TURN)
        with closing(SQLMemory(store, clock=clock, encryption=Encryption())):
            pass
        with pytest.raises(StoreError, match="was encrypted after"):
            plain.consent("ada", Purpose.STORE_TRANSCRIPT, ConsentState.DENIED)
