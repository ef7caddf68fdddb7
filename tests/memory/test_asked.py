"""What people ask of their own memory in a store: what it knows, and to forget a part of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from echat_memory import Encryption, SQLMemory
from echat_memory.schema import PauseRow, SessionRow, UserRow
from echat_sdk.consent import REMEMBERED, RUN, ConsentState, Purpose
from echat_sdk.cues import Cue, Cues
from echat_sdk.pause_profile import PauseProfile
from echat_sdk.turn import Known, Recollection, Turn

SAD = Cues(emotion=Cue("sad", 0.9, {"sad": 0.9, "neutral": 0.1}), gender=Cue("female", 0.9))


def rows(memory: SQLMemory, table: type) -> list[object]:
    from sqlalchemy import select

    with memory._open(write=False) as connection:
        return [tuple(row) for row in connection.execute(select(table.__table__))]  # type: ignore[attr-defined]


@pytest.fixture
def day(memory: SQLMemory, clock: Any) -> SQLMemory:
    """A user with a turn of yesterday and two of today, in one sitting over midnight."""
    clock.now = clock.now.replace(hour=23, minute=50)
    memory.remember("ada", Turn("I live in Bonn.", cues=SAD, strategy="home"))
    clock.advance(minutes=20)
    memory.remember("ada", Turn("My dog is called Zorro.", cues=SAD, reply="Zorro!"))
    clock.advance(minutes=1)
    memory.remember("ada", Turn("I live in Quedlinburg.", cues=SAD))
    return memory


def test_what_came_of_a_forgotten_day_is_as_it_would_be_without_it(
    day: SQLMemory, clock: Any, store: Path | str
) -> None:
    midnight = clock.now.replace(hour=0, minute=0)
    assert day.recall("ada", query="Quedlinburg and Zorro").facts
    assert day.forget("ada", since=midnight) == 2
    assert day.facts("ada") == ("they live in Bonn",)  # what it had replaced holds again
    assert [each.turn.transcript for each in day.show("ada")] == ["I live in Bonn."]
    recalled = day.recall("ada", query="Quedlinburg and Zorro")
    assert recalled.facts == ("they live in Bonn",)
    assert recalled.episodes == ()
    assert day.mood("ada").n_turns == 1


def test_no_trace_stays_of_when_it_was_said(day: SQLMemory, clock: Any) -> None:
    yesterday = day.show("ada")[0].at
    day.forget("ada", since=clock.now.replace(hour=0, minute=0))
    ((_, _, began, ended),) = rows(day, SessionRow)
    assert (began, ended) == (yesterday, yesterday)
    ((_, _, created, seen),) = rows(day, UserRow)
    assert (created, seen) == (yesterday, yesterday)


def test_how_somebody_pauses_goes_with_their_last_turn(day: SQLMemory, clock: Any) -> None:
    day.keep_pauses("ada", PauseProfile(mean=1, count=2))
    day.forget("ada", since=clock.now.replace(hour=0, minute=0))
    assert len(rows(day, PauseRow)) == 1
    day.forget("ada", since=clock.now - timedelta(days=2))
    assert rows(day, PauseRow) == rows(day, SessionRow) == []


def test_what_is_known_is_counted_and_told_since_when(day: SQLMemory, clock: Any) -> None:
    known = day.known("ada")
    assert known == Known(
        turns=3,
        since=day.show("ada")[0].at,
        facts=("they live in Quedlinburg", "their dog is called Zorro"),
        mood="Lately they have sounded sad more often than not.",
    )
    assert day.known("ada", lang="zh").facts[0] == "用户住在Quedlinburg"


def test_what_was_swept_but_for_its_facts_is_known_still(day: SQLMemory, clock: Any) -> None:
    clock.advance(days=100)
    day.sweep()
    known = day.known("ada")
    assert known.turns == 0
    assert len(known.facts) == 2
    assert known.since is not None


def test_the_last_turn_is_one_of_this_sitting(day: SQLMemory, clock: Any) -> None:
    assert day.last_turn("ada") == day.show("ada")[-1].id
    clock.advance(minutes=31)
    assert day.last_turn("ada") is None


def test_of_two_the_one_said_last_is_the_last_wherever_it_is(store: Path | str, clock: Any) -> None:
    memory = SQLMemory(store, unasked=RUN, clock=clock)
    held = memory.remember("ada", Turn("as a guest"))
    assert memory.last_turn("ada") == held
    clock.advance(minutes=1)
    memory.consent("ada", REMEMBERED)
    kept = memory.remember("ada", Turn("as one who is remembered"))
    assert memory.last_turn("ada") == kept
    clock.advance(minutes=1)
    memory.consent("ada", Purpose.STORE_TRANSCRIPT, ConsentState.WITHDRAWN)
    both = memory.remember("ada", Turn("with words in RAM", cues=SAD))
    assert memory.forget("ada", turn=both) == 1
    assert "with words in RAM" not in [t.transcript for t in memory.recall("ada").turns]
    memory.close()


def test_what_a_grant_allowed_that_has_ended_is_used_no_more_though_its_person_can_see_it(
    store: Path | str, clock: Any
) -> None:
    memory = SQLMemory(store, unasked=RUN, clock=clock)
    memory.consent("ada", REMEMBERED, expires_at=clock.now + timedelta(days=1))
    for _ in range(3):
        memory.remember("ada", Turn("My dog is called Rex.", cues=SAD))
    clock.advance(days=2)
    assert memory.recall("ada") == Recollection()
    known = memory.known("ada")
    assert (known.facts, known.mood) == ((), "")
    assert memory.facts("ada") == ("their dog is called Rex",)
    assert len(memory.show("ada")) == memory.mood("ada").n_turns == 3
    assert memory.trace("ada").turn.transcript
    memory.sweep()
    assert memory.show("ada") == []
    assert memory.known("ada") == Known()
    memory.close()


@pytest.mark.parametrize("scope", ["turn", "since"])
def test_no_byte_of_what_was_forgotten_is_left_in_any_file(
    scope: str, tmp_path: Path, clock: Any
) -> None:
    memory = SQLMemory(tmp_path / "m.db", unasked=REMEMBERED, clock=clock)
    for number in range(30):
        memory.remember("ada", Turn(f"I told of number {number} and walked on.", reply="Mm-hm."))
    clock.advance(days=1)
    words = "My sister is called Xanthippe."
    turn_id = memory.remember("ada", Turn(words, think=words, reply=words, cues=SAD))
    midnight = clock.now.replace(hour=0, minute=0)
    found = {"turn": {"turn": turn_id}, "since": {"since": midnight}}[scope]
    assert memory.forget("ada", **found) == 1  # type: ignore[arg-type]
    scans = [b"Xanthippe" in file.read_bytes() for file in tmp_path.rglob("m.db*")]
    assert not any(scans)
    memory.close()


def test_words_that_are_sealed_are_told_and_forgotten(tmp_path: Path, clock: Any) -> None:
    memory = SQLMemory(tmp_path / "m.db", unasked=REMEMBERED, clock=clock, encryption=Encryption())
    memory.remember("ada", Turn("My dog is called Rex."))
    assert memory.known("ada").facts == ("their dog is called Rex",)
    turn_id = memory.last_turn("ada")
    assert memory.forget("ada", turn=turn_id) == 1
    assert memory.known("ada") == Known()
    memory.close()


def test_another_process_finds_nothing_of_it(
    day: SQLMemory, clock: Any, store: Path | str, opener: Callable[[], SQLMemory]
) -> None:
    other = opener()
    other.recall("ada", query="Quedlinburg")  # it holds an index by now
    day.forget("ada", since=clock.now.replace(hour=0, minute=0))
    assert "Quedlinburg" not in repr(other.recall("ada", query="Quedlinburg"))


@pytest.fixture
def opener(
    store: Path | str, clock: Any, request: pytest.FixtureRequest
) -> Callable[[], SQLMemory]:
    def opened() -> SQLMemory:
        memory = SQLMemory(store, unasked=REMEMBERED, clock=clock)
        request.addfinalizer(memory.close)
        return memory

    return opened


def test_what_is_forgotten_aloud_leaves_a_receipt_and_of_a_guest_nothing(
    store: Path | str, clock: Any
) -> None:
    with closing(SQLMemory(store, clock=clock)) as memory:
        memory.consent("ada", REMEMBERED)
        for user in ("ada", "guest"):
            memory.remember(user, Turn("I live in Bonn."))
            assert memory.forget(user, since=clock.now) == 1
            assert memory.recall(user).turns == ()
        (receipt,) = memory.receipts()
        assert receipt.counts["turns"] == 1
        assert {(record.actor, record.action) for record in memory.audit("ada")} >= {
            ("voice", "erase asked"),
            ("store", "erased"),
        }
        assert memory.audit("guest") == []
