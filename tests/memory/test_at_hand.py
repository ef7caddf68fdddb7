"""Who recalls what is at hand waits for nobody, and is given nothing that is no more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from echat_memory import Encryption, SQLMemory, earlier, episodes
from echat_memory.earlier import Earlier
from echat_memory.episodes import Held
from echat_memory.watching import Watch
from echat_sdk.consent import REMEMBERED, ConsentState, Purpose
from echat_sdk.errors import StoreError
from echat_sdk.turn import Turn

SOON = 20.0  # seconds; what hangs would hang for ever

SEALS = "We walked along the harbour and saw two seals."


@pytest.fixture
def database() -> str:
    """A server tells nobody cheaply that somebody has written; so nothing is at hand of it."""
    return "sqlite"


def talk(memory: SQLMemory, user: str, n: int = 12) -> list[str]:
    """Tell of seals, then of other things; the ids of the turns."""
    others = [Turn(f"I had number {i} today.") for i in range(n)]
    return [memory.remember(user, turn) for turn in (Turn(SEALS), *others)]


def found(memory: SQLMemory, user: str = "ada") -> list[str]:
    return [episode.said for episode in memory.recall(user, query="the seals").episodes]


class Gate:
    """Where a thread is held up until it is let through."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def wait(self, *_: object) -> None:
        self.reached.set()
        assert self.opened.wait(SOON)

    @contextmanager
    def beside(self, call: Callable[..., object], *arguments: Any) -> Iterator[Future[object]]:
        """Make a call in a thread that is at the gate in this block, and at its end after it."""
        with ThreadPoolExecutor(1) as threads:
            called = threads.submit(call, *arguments)
            try:
                assert self.reached.wait(SOON)
                yield called
                assert not called.done()
            finally:
                self.opened.set()
            called.result(SOON)


@pytest.fixture
def gate() -> Gate:
    return Gate()


def in_time(call: Callable[[], object]) -> object:
    """What a call gives that must not hang."""
    threads = ThreadPoolExecutor(1)
    try:
        return threads.submit(call).result(SOON / 2)
    finally:
        threads.shutdown(wait=False)


def test_a_recall_is_answered_while_a_write_hangs_in_its_commit(
    memory: SQLMemory, gate: Gate
) -> None:
    talk(memory, "ada")
    memory.prefetch("ada")
    engine = memory._database.connection.engine
    event.listen(engine, "commit", gate.wait)
    with gate.beside(memory.remember, "bob", Turn("I like tea.")):
        assert in_time(lambda: found(memory)) == [SEALS]
        assert in_time(lambda: memory.allowed("ada")) == REMEMBERED
    event.remove(engine, "commit", gate.wait)
    assert found(memory) == [SEALS]


def test_a_recall_is_answered_while_the_rows_of_another_are_read(
    memory: SQLMemory, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user in ("ada", "bob"):
        talk(memory, user)
    memory.prefetch("ada")
    read = earlier.read

    def slowly(*arguments: Any, **named: Any) -> list[Earlier]:
        gate.wait()
        return read(*arguments, **named)

    monkeypatch.setattr(earlier, "read", slowly)
    with gate.beside(memory.prefetch, "bob"):
        assert in_time(lambda: found(memory)) == [SEALS]
    assert found(memory, "bob") == [SEALS]


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch, gate: Gate) -> Gate:
    """Where whoever is made ready in pieces waits after the first."""
    monkeypatch.setattr(episodes, "PIECE", 5)
    take = Held.take_slowly

    def slowly(held: Held, turns: list[Earlier]) -> None:
        take(held, turns)
        gate.wait()

    monkeypatch.setattr(Held, "take_slowly", slowly)
    return gate


def test_all_others_go_on_while_somebody_is_made_ready(memory: SQLMemory, pieces: Gate) -> None:
    for user in ("ada", "bob"):
        talk(memory, user)
    with pieces.beside(memory.prefetch, "ada"):
        # Neither recalled nor written before: rows are read, and a turn is made durable.
        assert in_time(lambda: found(memory, "bob")) == [SEALS]
        assert in_time(lambda: memory.remember("bob", Turn("I like tea.")))
    assert found(memory) == [SEALS]


def test_what_is_kept_while_somebody_is_made_ready_is_found(
    memory: SQLMemory, pieces: Gate
) -> None:
    kept = talk(memory, "ada")
    otters = "We saw two otters and a seal."
    with pieces.beside(memory.prefetch, "ada"):
        memory.remember("ada", Turn(otters), turn_id=kept[1])
        talk(memory, "ada")
    assert set(found(memory)) == {SEALS, otters}
    assert len(memory._episodes) == 26


ERASED: dict[str, Callable[[SQLMemory, str], object]] = {
    "all": lambda memory, _: memory.erase("ada"),
    "a turn": lambda memory, turn: memory.erase("ada", turn=turn),
    "said so": lambda memory, turn: memory.forget("ada", turn=turn),
    "refused": lambda memory, _: memory.consent(
        "ada", Purpose.STORE_TRANSCRIPT, ConsentState.DENIED
    ),
    "replaced": lambda memory, turn: memory.remember("ada", Turn("Never mind."), turn_id=turn),
}


@pytest.mark.parametrize("is_other", [False, True], ids=["here", "in another process"])
@pytest.mark.parametrize("how", ERASED)
def test_what_is_erased_while_somebody_is_made_ready_leaves_nothing(
    memory: SQLMemory, store: Path, clock: Any, pieces: Gate, how: str, is_other: bool
) -> None:
    first, *_ = talk(memory, "ada")
    with closing(SQLMemory(store, clock=clock, unasked=REMEMBERED)) as other:
        with pieces.beside(memory.prefetch, "ada"):
            ERASED[how](other if is_other else memory, first)
        assert found(memory) == []
    held = memory._episodes._held.values()
    if not is_other:
        assert not [said for each in held for said in each.said.values() if said.text == SEALS]
    memory.prefetch("ada")
    assert found(memory) == []
    assert len(memory._episodes) in ((0,) if how in ("all", "refused") else (12, 13))


def test_a_store_that_is_closed_while_somebody_is_made_ready_says_so(
    memory: SQLMemory, pieces: Gate
) -> None:
    talk(memory, "ada")
    with pytest.raises(StoreError, match="closed"), pieces.beside(memory.prefetch, "ada"):
        memory.close()
    assert "ada" not in memory._episodes


def test_two_who_make_the_same_user_ready_do_it_once_in_the_end(
    memory: SQLMemory, pieces: Gate
) -> None:
    talk(memory, "ada")
    with pieces.beside(memory.prefetch, "ada"):
        assert found(memory) == [SEALS]
    assert len(memory._episodes) == 13
    assert found(memory) == [SEALS]


def test_who_speaks_is_given_what_they_just_said_whatever_others_do(memory: SQLMemory) -> None:
    users = [f"user {i}" for i in range(4)]
    is_over = threading.Event()

    def converse(user: str) -> None:
        for i in range(12):
            memory.prefetch(user)
            memory.recall(user, query="the seals")
            open_id = memory.remember(user, Turn(f"I saw {i} seals."))
            memory.remember(user, Turn(f"I saw {i} seals.", reply="Oh!"), turn_id=open_id)
            last = memory.recall(user, query="the seals").turns[-1]
            assert (last.transcript, last.reply) == (f"I saw {i} seals.", "Oh!")

    def answer() -> None:
        while not is_over.wait(0.002):
            memory.consent("eve", Purpose.TRAIN)

    with ThreadPoolExecutor(len(users) + 1) as threads:
        beside = threads.submit(answer)
        talks = [threads.submit(converse, user) for user in users]
        try:
            for each in talks:
                each.result(SOON)
        finally:
            is_over.set()
        beside.result(SOON)
    for user in users:
        assert found(memory, user) == [f"I saw {i} seals." for i in (5, 4, 3, 2, 1)]


@pytest.mark.parametrize("when", ["before the stamp", "before others", "after others"])
def test_what_another_process_erases_just_after_a_commit_of_ours_is_seen(
    memory: SQLMemory, store: Path, clock: Any, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    talk(memory, "ada")
    with closing(SQLMemory(store, clock=clock, unasked=REMEMBERED)) as other:
        memory.remember("bob", Turn("I like tea."))  # whose consents are at hand from then on
        memory.prefetch("ada")
        wrote, others = memory._wrote, memory._database.others

        def late(*arguments: Any) -> None:
            def asked() -> int | None:
                if when == "before others":
                    other.erase("ada")
                number = others()
                if when == "after others":
                    other.erase("ada")
                return number

            if when == "before the stamp":
                other.erase("ada")
            with monkeypatch.context() as patch:
                patch.setattr(memory._database, "others", asked)
                wrote(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(memory, "_wrote", late)
            memory.remember("bob", Turn("I like tea."))
        assert other.show("ada") == []
        assert found(memory) == []


def test_what_could_not_be_read_for_the_search_is_read_at_the_next_call(
    memory: SQLMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.prefetch("ada")
    talk(memory, "ada", n=2)
    memory.prefetch("ada")
    talk(memory, "ada")
    with monkeypatch.context() as patch:
        patch.setattr(earlier, "read", lambda *_, **__: (_ for _ in ()).throw(StoreError("no")))
        with pytest.raises(StoreError):
            found(memory)
    assert found(memory) == [SEALS, SEALS]


def test_where_it_is_unknown_who_has_written_rows_are_read(
    memory: SQLMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk(memory, "ada")
    memory.prefetch("ada")
    monkeypatch.setattr(Watch, "stamp", lambda _: None)
    memory.remember("ada", Turn("I like tea."))
    assert memory.recall("ada", query="the seals").turns[-1].transcript == "I like tea."
    assert found(memory) == [SEALS]


def test_a_watch_makes_no_file(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "none.db")
    assert watch.stamp() is None
    watch.close()
    assert list(tmp_path.iterdir()) == []


def test_no_watch_is_kept_by_a_closed_store(memory: SQLMemory) -> None:
    assert memory._database.stamp() is not None
    memory.close()
    assert memory._database.stamp() is None


def test_a_file_with_a_new_key_is_watched_as_before(tmp_path: Path, clock: Any) -> None:
    pytest.importorskip("sqlcipher3")
    how: dict[str, Any] = {"clock": clock, "unasked": REMEMBERED, "encryption": Encryption("file")}
    with closing(SQLMemory(tmp_path / "a.db", **how)) as memory:
        talk(memory, "ada")
        memory.prefetch("ada")
        before = memory._database.stamp()
        memory.rotate_file()
        assert memory._database.stamp() not in (None, before)
        with closing(SQLMemory(tmp_path / "a.db", **how)) as other:
            other.erase("ada")
        assert found(memory) == []


def test_what_is_at_hand_is_what_a_recall_gives_and_nothing_before_it_was_read(
    memory: SQLMemory,
) -> None:
    talk(memory, "ada")
    assert memory.at_hand("ada", query="the seals") is None
    memory.prefetch("ada")
    given = memory.at_hand("ada", query="the seals")
    assert given is not None
    assert given == memory.recall("ada", query="the seals")


def test_nothing_is_at_hand_while_what_is_held_is_changed(memory: SQLMemory) -> None:
    talk(memory, "ada")
    memory.prefetch("ada")
    with memory._holding:
        assert in_time(lambda: memory.at_hand("ada", query="the seals")) is None


def test_of_a_closed_store_nothing_is_at_hand(memory: SQLMemory) -> None:
    memory.prefetch("ada")
    memory.close()
    with pytest.raises(StoreError, match="closed"):
        memory.at_hand("ada")
