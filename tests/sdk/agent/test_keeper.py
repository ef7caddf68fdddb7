"""Turns that wait in RAM for a store that fails: reduced to what consent allows, never written past
a refusal."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echat_memory import SQLMemory
from echat_sdk.agent.exchange import Answer
from echat_sdk.agent.keeper import Keeper
from echat_sdk.bridge import Worker
from echat_sdk.consent import (
    REMEMBERED,
    RUN,
    ConsentState,
    Purpose,
    in_session,
    permitted,
)
from echat_sdk.cues import Cue, Cues
from echat_sdk.errors import StoreError
from echat_sdk.testing import RAMMemory
from echat_sdk.turn import Recollection, Turn

SAD = Cues(emotion=Cue("sad", 0.9), gender=Cue("female", 0.9))
TURN = Turn("my dog died", cues=SAD, think="sad", reply="Oh no.", seconds=2.0)


class AtHand:
    """A worker that does its work at once, in the thread of the test."""

    def submit(self, function, *args) -> None:  # type: ignore[no-untyped-def]
        function(*args)


class Breaks(SQLMemory):
    """A store whose writing of turns can be broken."""

    is_broken = True

    def remember(self, user: str, turn: Turn, *, turn_id: str | None = None) -> str:
        if self.is_broken:
            raise StoreError("the disk is full")
        return super().remember(user, turn, turn_id=turn_id)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Breaks]:
    memory = Breaks(tmp_path / "m.db", unasked=RUN)
    memory.consent("ada", REMEMBERED)
    yield memory
    memory.close()


def keeper_of(memory: Breaks) -> Keeper:
    return Keeper(memory, AtHand(), "ada")  # type: ignore[arg-type]


def answer(turn: Turn) -> Answer:
    return Answer(turn, "", np.zeros(0, np.int16), 24_000, Recollection())


def test_what_waits_is_written_when_the_store_is_whole_again(memory: Breaks) -> None:
    keeper = keeper_of(memory)
    keeper.keep(answer(TURN), lambda: "")
    assert keeper.held() == (TURN,)
    memory.is_broken = False
    keeper.close()
    assert [stored.turn for stored in memory.show("ada")] == [TURN]
    assert keeper.held() == ()


def test_what_waits_is_reduced_as_soon_as_it_is_known_what_may_be_inferred(
    memory: Breaks,
) -> None:
    keeper = keeper_of(memory)
    keeper.keep(answer(TURN), lambda: "")
    memory.consent("ada", Purpose.INFER_EMOTION, ConsentState.WITHDRAWN)
    keeper.allowed()
    (held,) = keeper.held()
    assert held.cues.emotion == Cue(why="not consented")
    assert held.think == ""
    assert held.cues.gender == SAD.gender


@pytest.mark.parametrize("purpose", [Purpose.LONG_TERM_MEMORY, Purpose.PROCESS_VOICE])
def test_what_was_said_before_a_withdrawal_is_not_written_after_a_new_yes(
    memory: Breaks, purpose: Purpose
) -> None:
    keeper = keeper_of(memory)
    keeper.keep(answer(TURN), lambda: "")
    memory.consent("ada", purpose, ConsentState.WITHDRAWN)
    keeper.allowed()  # as each turn asks
    memory.consent("ada", purpose, ConsentState.GRANTED)
    memory.is_broken = False
    keeper.keep(answer(Turn("and now?")), lambda: "")
    assert [stored.turn.transcript for stored in memory.show("ada")] == ["and now?"]


def test_what_was_withdrawn_while_nobody_asked_is_not_written_either(memory: Breaks) -> None:
    keeper = keeper_of(memory)
    keeper.keep(answer(TURN), lambda: "")
    memory.consent("ada", Purpose.STORE_TRANSCRIPT, ConsentState.WITHDRAWN)
    memory.is_broken = False
    keeper.close()
    (stored,) = memory.show("ada")
    assert (stored.turn.transcript, stored.turn.reply) == ("", "")
    assert b"my dog died" not in (memory_file(memory)).read_bytes()


def memory_file(memory: SQLMemory) -> Path:
    return Path(str(memory._database.path))  # type: ignore[attr-defined]


def test_spoken_turns_are_not_even_held_once_nobody_may_listen(memory: Breaks) -> None:
    keeper = keeper_of(memory)
    keeper.keep(answer(TURN), lambda: "")
    keeper.keep(answer(Turn("typed")), lambda: "")
    memory.consent("ada", Purpose.PROCESS_VOICE, ConsentState.WITHDRAWN)
    keeper.allowed()
    assert [turn.transcript for turn in keeper.held()] == ["typed"]


_allowed = st.frozensets(st.sampled_from(sorted(REMEMBERED))).map(
    lambda some: some | {Purpose.PROCESS_VOICE}
)


@settings(max_examples=60)
@given(over_time=st.lists(_allowed, min_size=1, max_size=4))
def test_what_is_written_was_allowed_all_the_while(over_time: list[frozenset[str]]) -> None:
    class Asks(RAMMemory):
        now: frozenset[str] = frozenset()
        is_broken = True
        written: list[Turn] = []  # noqa: RUF012 - one memory an example

        def allowed(self, user: str) -> frozenset[str]:
            return self.now

        def remember(self, user: str, turn: Turn, *, turn_id: str | None = None) -> str:
            if self.is_broken:
                raise StoreError("the disk is full")
            if (kept := permitted(turn, self.now)) is not None:
                self.written = [*self.written, kept]
            return "1"

    memory = Asks()
    keeper = Keeper(memory, AtHand(), "ada")  # type: ignore[arg-type]
    keeper.keep(answer(TURN), lambda: "")
    for allowed in over_time:
        memory.now = allowed
        keeper.allowed()
        (held,) = keeper.held()
        assert held == in_session(held, allowed)
    memory.is_broken = False
    keeper.close()
    lasting = frozenset.intersection(*over_time)
    allowed_turn = permitted(TURN, lasting)
    assert len(memory.written) == (allowed_turn is not None)
    for written in memory.written:
        assert allowed_turn is not None
        assert (written.transcript, written.reply) == (allowed_turn.transcript, allowed_turn.reply)
        for name in ("emotion", "gender", "age"):
            # Taken away in RAM it says why; what was never there says nothing.
            assert getattr(written.cues, name).label == getattr(allowed_turn.cues, name).label


async def test_a_keeper_forgets_what_waits_since_a_moment_and_keeps_the_order() -> None:
    def fails() -> None:
        raise StoreError("the disk is full")

    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    store = Worker("store")
    keeper = Keeper(RAMMemory(fails=fails), store, "ada", lambda: now)
    for hour in range(5):
        now = now.replace(hour=12 + hour)
        keeper.keep(answer(Turn(f"{hour}")), lambda: "")
    assert [turn.transcript for turn in await store.call(keeper.held)] == list("01234")
    noon = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)
    assert await store.call(lambda: keeper.forget(since=noon)) == 2
    assert [turn.transcript for turn in await store.call(keeper.held)] == list("012")
    await store.closed(2)


class Quick(RAMMemory):
    """A memory that has all at hand, and counts how it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def at_hand(self, user: str, *, query: str = "") -> Recollection | None:
        self.asked.append("at hand")
        return Recollection(turns=(TURN,))


def test_what_is_at_hand_is_taken_unless_something_waits_to_be_written() -> None:
    memory, worker, gate = Quick(), Worker("store"), threading.Event()
    keeper = Keeper(memory, worker, "ada")
    try:
        assert keeper.at_hand("x") == Recollection(turns=(TURN,))
        worker.submit(gate.wait, 5)
        assert keeper.at_hand("x") is None  # what waits may be the turn before this one
        gate.set()
        while not worker.is_idle:
            time.sleep(0.001)
        keeper.told = (Turn("told"),)
        found = keeper.at_hand("x")
        assert found is not None
        assert [turn.transcript for turn in found.turns] == ["told", TURN.transcript]
        assert memory.asked == ["at hand"] * 2
    finally:
        gate.set()
        worker.close()


def test_of_a_memory_that_must_read_nothing_is_at_hand() -> None:
    worker = Worker("store")
    assert Keeper(RAMMemory(), worker, "ada").at_hand("x") is None
    worker.close()
