"""What is held of the rows is what the rows say, whoever wrote them, or it is not used."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from echat_memory import SQLMemory, episodes
from echat_memory.earlier import Earlier
from echat_memory.episodes import Held
from echat_sdk.consent import REMEMBERED, ConsentState, Purpose
from echat_sdk.cues import Cue, Cues, Emotion
from echat_sdk.pause_profile import PauseProfile
from echat_sdk.turn import Turn

Clock = Any  # of conftest

ROSES = "I planted roses behind the house."


def said(words: str, label: str = "sad") -> Turn:
    return Turn(words, cues=Cues(Cue(label, 0.9, {label: 0.9, "neutral": 0.1})), reply="I see.")


@contextmanager
def statements(memory: SQLMemory) -> Iterator[list[str]]:
    """What is asked of the database."""
    seen: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        seen.append(statement)

    engine = memory._database.connection.engine
    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def many(memory: SQLMemory) -> SQLMemory:
    memory.remember("ada", said(ROSES))
    for number in range(12):
        memory.remember("ada", said(f"I walked {number} miles.", "happy"))
    return memory


@pytest.mark.parametrize("database", ["sqlite"])
def test_who_was_made_ready_is_recalled_without_reading_a_row(many: SQLMemory) -> None:
    many.prefetch("ada")
    with statements(many) as seen:
        found = many.recall("ada", query="How are my roses?")
        assert many.allowed("ada") == REMEMBERED
    assert seen == []
    assert [episode.said for episode in found.episodes] == [ROSES]
    assert len(found.turns) == 6


@pytest.mark.parametrize("database", ["sqlite"])
def test_what_is_told_of_another_user_leaves_who_was_made_ready_so(many: SQLMemory) -> None:
    many.prefetch("ada")
    many.remember("bob", said("I like tea."))
    with statements(many) as seen:
        many.recall("ada", query="my roses")
    assert seen == []


OTHERS: dict[str, Callable[[SQLMemory], object]] = {
    "a yes": lambda memory: memory.consent("bob", Purpose.TRAIN),
    "a no": lambda memory: memory.consent("bob", Purpose.STORE_EMOTION, ConsentState.DENIED),
    "own word": lambda memory: memory.report("bob", memory.show("bob")[0].id, Emotion.HAPPY),
    "pauses": lambda memory: memory.keep_pauses("bob", PauseProfile(mean=0.9, count=3)),
    "an erasure": lambda memory: memory.erase("bob"),
}


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("database", ["sqlite"])
def test_what_another_user_says_or_takes_back_leaves_who_was_made_ready_so(
    many: SQLMemory, what: str
) -> None:
    many.remember("bob", said("I like tea."))
    many.prefetch("ada")
    OTHERS[what](many)
    with statements(many) as seen:
        found = many.recall("ada", query="my roses")
    assert seen == []
    assert [episode.said for episode in found.episodes] == [ROSES]


@pytest.mark.parametrize("database", ["sqlite"])
def test_consents_are_read_once_for_all_turns_of_a_conversation(many: SQLMemory) -> None:
    with statements(many) as seen:
        many.remember("ada", said("I like tea."))
    assert not [statement for statement in seen if "FROM consents" in statement]


def test_a_withdrawal_in_another_process_counts_at_the_next_call(
    many: SQLMemory, store: Path | str, clock: Clock
) -> None:
    many.consent("ada", REMEMBERED)
    many.prefetch("ada")
    with closing(SQLMemory(store, clock=clock)) as other:
        other.consent("ada", Purpose.STORE_EMOTION, ConsentState.WITHDRAWN)
    assert Purpose.STORE_EMOTION not in many.allowed("ada")
    row = many.remember("ada", said("I like tea."))
    assert many.show("ada")[-1].id == row
    assert many.show("ada")[-1].turn.cues == Cues()
    found = many.recall("ada", query="my roses")
    assert [episode.sounded for episode in found.episodes] == [""]


def test_what_another_process_erased_is_not_recalled(
    many: SQLMemory, store: Path | str, clock: Clock
) -> None:
    many.prefetch("ada")
    with closing(SQLMemory(store, clock=clock)) as other:
        other.erase("ada")
    found = many.recall("ada", query="my roses")
    assert (found.turns, found.episodes, found.facts) == ((), (), ())


def test_an_emotion_that_another_process_took_back_does_not_return_with_consent(
    many: SQLMemory, store: Path | str, clock: Clock
) -> None:
    many.consent("ada", REMEMBERED)
    many.prefetch("ada")
    with closing(SQLMemory(store, clock=clock)) as other:
        other.consent("ada", Purpose.STORE_EMOTION, ConsentState.WITHDRAWN)
        other.consent("ada", Purpose.STORE_EMOTION)
    many.prefetch("ada")
    (episode,) = many.recall("ada", query="my roses").episodes
    assert (episode.said, episode.sounded) == (ROSES, "")


def test_a_mood_is_as_of_now_and_not_as_of_when_somebody_was_made_ready(
    memory: SQLMemory, store: Path | str, clock: Clock
) -> None:
    for number in range(4):
        memory.remember("ada", said(f"I walked {number} miles."))
    clock.advance(days=14, seconds=-1)
    memory.prefetch("ada")
    assert memory.recall("ada").mood
    clock.advance(seconds=2)
    assert not memory.recall("ada").mood


class _Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **of: float) -> None:
        self.now += timedelta(**of)


def _answer(memory: SQLMemory, state: ConsentState) -> None:
    if memory.consents("ada").of(Purpose.STORE_EMOTION).state is ConsentState.UNKNOWN:
        memory.consent("ada", Purpose.STORE_EMOTION)
    memory.consent("ada", Purpose.STORE_EMOTION, state)


def _report(memory: SQLMemory) -> None:
    if Purpose.STORE_EMOTION in memory.allowed("ada") and (kept := memory.show("ada")):
        memory.report("ada", kept[0].id, Emotion.HAPPY)


def _replace(memory: SQLMemory, words: str) -> None:
    if kept := memory.show("ada"):
        memory.remember("ada", said(words, "fear"), turn_id=kept[0].id)


DONE: dict[str, Callable[[SQLMemory, Clock], object]] = {
    "remember": lambda memory, _: memory.remember("ada", said("I live in Leeds.")),
    "fact": lambda memory, _: memory.remember("ada", said("My dog is called Rex.", "happy")),
    "other": lambda memory, _: memory.remember("bob", said("I like tea.")),
    "replace": lambda memory, _: _replace(memory, "I painted roses."),
    "complete": lambda memory, _: _replace(memory, ROSES),
    "report": lambda memory, _: _report(memory),
    "withdraw": lambda memory, _: _answer(memory, ConsentState.WITHDRAWN),
    "grant": lambda memory, _: memory.consent("ada", Purpose.STORE_EMOTION),
    "erase": lambda memory, _: memory.erase("ada"),
    "prefetch": lambda memory, _: memory.prefetch("ada"),
    "recall": lambda memory, _: memory.recall("ada", query="my roses"),
    "pauses": lambda memory, _: memory.keep_pauses("ada", PauseProfile(mean=0.9, count=3)),
    "wait": lambda _, clock: clock.advance(hours=9),
    "wait long": lambda _, clock: clock.advance(days=13),
}


_Done = list[tuple[bool, str]]
_MUCH: st.SearchStrategy[_Done] = st.lists(
    st.tuples(st.booleans(), st.sampled_from(sorted(DONE))), max_size=12
)


@contextmanager
def two(empty_store: Path) -> Iterator[tuple[SQLMemory, SQLMemory, Callable[[], None], _Clock]]:
    """A store, opened twice; a call that compares the first with a fresh one; the clock of all."""
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "echat.db"
        for suffix in ("", ".key"):
            copied = empty_store.with_name(empty_store.name + suffix).read_bytes()
            store.with_name(store.name + suffix).write_bytes(copied)

        def opened() -> SQLMemory:
            return SQLMemory(store, turns=2, unasked=REMEMBERED, retention=None, clock=clock)

        with closing(opened()) as one, closing(opened()) as other:
            one.remember("ada", said(ROSES))
            for number in range(3):
                one.remember("ada", said(f"I walked {number} miles.", "happy"))

            def compare() -> None:
                with closing(opened()) as fresh:
                    query = "How are my roses?"
                    wanted = fresh.recall("ada", query=query)
                    assert one.at_hand("ada", query=query) in (None, wanted)
                    assert one.recall("ada", query=query) == wanted
                    assert one.consents("ada") == fresh.consents("ada")

            yield one, other, compare, clock


@settings(max_examples=25)
@given(_MUCH)
def test_whatever_two_processes_did_one_recalls_what_a_fresh_one_does(
    empty_store: Path, done: _Done
) -> None:
    with two(empty_store) as (one, other, compare, clock):
        one.prefetch("ada")
        for is_other, what in done:
            DONE[what](other if is_other else one, clock)
        compare()


@settings(max_examples=25)
@given(_MUCH)
def test_whatever_is_done_while_somebody_is_made_ready_is_recalled(
    empty_store: Path, done: _Done
) -> None:
    left = iter(done)
    take = Held.take_slowly

    def slowly(held: Held, turns: list[Earlier]) -> None:
        take(held, turns)
        for is_other, what in islice(left, 3):
            DONE[what](other if is_other else one, clock)

    with two(empty_store) as (one, other, compare, clock), pytest.MonkeyPatch.context() as patch:
        patch.setattr(episodes, "PIECE", 2)
        patch.setattr(Held, "take_slowly", slowly)
        one.prefetch("ada")
        compare()
        for is_other, what in left:
            DONE[what](other if is_other else one, clock)
        compare()
