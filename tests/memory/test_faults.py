"""Every call, failing at every statement: it is told, nothing is half there, and the next works.

On SQLite the driver fails; on PostgreSQL the server's process is ended. What a full disk does page
by page is at the end.
"""

from __future__ import annotations

import itertools
import resource
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from echat_memory import SQLMemory
from echat_memory.schema import Base
from echat_sdk.agent.events import Failed, TurnFinished
from echat_sdk.consent import REMEMBERED, ConsentState, Purpose
from echat_sdk.cues import Cue, Cues, Emotion
from echat_sdk.errors import StoreError
from echat_sdk.pause_profile import PauseProfile
from echat_sdk.testing import FakeModel, live
from echat_sdk.testing.audio import FakeAudio
from echat_sdk.testing.live import schedule
from echat_sdk.turn import Turn, TurnStatus
from tests.memory import faulty
from tests.memory.faulty import KINDS, Faults

Sql = Callable[[Path | str, str], list[tuple[Any, ...]]]
SAD = Cue("sad", 0.8, {"sad": 0.8, "neutral": 0.2})
SECRET = "Zyxwvut"
SAID = f"My dog is called {SECRET}. I live in Leeds."
WHOLE = Turn(
    SAID,
    cues=Cues(SAD, Cue("male", 0.5)),
    think="hm",
    reply="I see.",
    seconds=2.0,
)
OPEN = Turn(WHOLE.transcript, status=TurnStatus.OPEN, seconds=2.0)
PAUSES = PauseProfile(mean=0.6, count=2)

CALLS: dict[str, Callable[[SQLMemory, str], object]] = {
    "remember": lambda m, user: m.remember(user, OPEN),
    "complete": lambda m, user: m.remember(user, WHOLE, turn_id=m.show(user)[-1].id),
    "recall": lambda m, user: m.recall(user, query="my dog"),
    "prefetch": lambda m, user: m.prefetch(user),
    "consent": lambda m, user: m.consent(user, Purpose.STORE_EMOTION),
    "refuse": lambda m, user: m.consent(user, Purpose.LONG_TERM_MEMORY, ConsentState.DENIED),
    "keep pauses": lambda m, user: m.keep_pauses(user, PauseProfile(mean=0.9, count=3)),
    "pauses": lambda m, user: m.pauses(user),
    "report": lambda m, user: m.report(user, m.show(user)[0].id, Emotion.HAPPY),
    "mood": lambda m, user: m.mood(user),
    "erase": lambda m, user: m.erase(user),
    "sweep": lambda m, user: m.sweep(m._clock() + timedelta(days=100)),
}
SHORT = [name for name in CALLS if name not in ("refuse", "erase", "sweep")]
LONG = [name for name in CALLS if name not in SHORT]


def fill(memory: SQLMemory) -> None:
    for user in ("ada", "bob"):
        memory.remember(user, WHOLE)
        memory.keep_pauses(user, PAUSES)
    memory.remember("ada", OPEN)


def rows(store: Path | str, sql: Sql) -> dict[str, list[str]]:
    """All rows of a store, but for their ids, which a server does not give back."""
    found = {}
    for name, table in Base.metadata.tables.items():
        told = [c.name for c in table.columns if not c.foreign_keys and not c.primary_key]
        told = [column for column in told if column not in ("requested_at", "completed_at")]
        if told:
            found[name] = sorted(map(repr, sql(store, f"SELECT {', '.join(told)} FROM {name}")))
    return found


def personal(found: dict[str, list[str]]) -> dict[str, list[str]]:
    """Rows but for receipts and records: what was cut short has written some, and counts less."""
    return {k: v for k, v in found.items() if k not in ("erasures", "audit_log")}


def told(error: StoreError) -> StoreError:
    """An error that is told in one line, without what somebody said."""
    everything = " ".join(traceback.format_exception(error))
    assert "\n" not in str(error)
    assert SECRET not in everything.replace(repr(SAID), "")
    assert str(error)
    return error


def failed(memory: SQLMemory, call: str, user: str = "ada") -> StoreError | None:
    """Make a call that may fail; how it did."""
    try:
        CALLS[call](memory, user)
    except StoreError as error:
        return told(error)
    return None


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    with faulty.driver(monkeypatch) as faults:
        yield faults


sqlite_only = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def refill(store: Path, pristine: dict[Path, bytes]) -> None:
    for file in store.parent.iterdir():
        file.unlink()
    for file, data in pristine.items():
        file.write_bytes(data)


def opened(store: Path | str, clock: Any) -> closing[SQLMemory]:
    return closing(SQLMemory(store, clock=clock, unasked=REMEMBERED, retention=None))


QUICK = [("remember", "broken"), ("erase", "full"), ("prefetch", "broken")]
EVERY = [(call, kind) for call, kind in zip(CALLS, itertools.cycle(KINDS), strict=False)]


@sqlite_only
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("call", "kind"),
    [
        *QUICK,
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in EVERY
            if each[0] not in dict(QUICK)
        ),
    ],
)
def test_a_call_that_fails_at_any_statement_is_told_and_done_again(
    store: Path, clock: Any, faults: Faults, sql: Sql, call: str, kind: str
) -> None:
    with closing(SQLMemory(store, clock=clock, unasked=REMEMBERED)) as memory:
        fill(memory)
    SQLMemory(store, clock=clock, unasked=REMEMBERED).close()  # it writes down when it is swept
    before = rows(store, sql)
    pristine = {file: file.read_bytes() for file in store.parent.iterdir()}
    with opened(store, clock) as memory:
        faults.arm()
        CALLS[call](memory, "ada")
        count, after = faults.steps, rows(store, sql)
    assert count >= 3
    for at in range(1, count + 1, 2 if call == "sweep" else 1):  # a sweep repeats itself
        refill(store, pristine)
        with opened(store, clock) as memory:
            faults.arm(at, kind)
            error = failed(memory, call)
            assert faults.has_failed
            left = rows(store, sql)
            if call == "sweep":  # which goes in steps, each whole
                assert {stored.turn.transcript for stored in memory.show("bob")} <= {SAID}
            elif error is not None:
                assert left in (before, after) or call == "erase"  # which goes in steps as well
                assert personal(left) in (personal(before), personal(after))
                if call in LONG:
                    is_done = personal(left) == personal(after)
                    assert ("rows are deleted" in str(error)) == is_done
            # Whether somebody has written may stay unknown: then all is read again.
            if error is not None or personal(left) != personal(after):
                CALLS[call](memory, "ada")
            assert personal(rows(store, sql)) == personal(after)
            assert memory.remember("bob", WHOLE)


@sqlite_only
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "kind", [*KINDS][:1] + [pytest.param(k, marks=pytest.mark.slow) for k in [*KINDS][1:]]
)
def test_a_store_that_fails_at_any_statement_while_it_is_opened_opens_the_next_time(
    store: Path, clock: Any, faults: Faults, kind: str, tmp_path: Path
) -> None:
    with closing(SQLMemory(store, clock=clock, unasked=REMEMBERED)) as memory:
        fill(memory)
    clock.advance(days=2)  # it is swept, too
    pristine = {file: file.read_bytes() for file in store.parent.iterdir()}
    for at in itertools.count(1):
        refill(store, pristine)
        faults.arm(at, kind)
        try:
            SQLMemory(store, clock=clock, unasked=REMEMBERED).close()
        except StoreError as error:
            told(error)
        is_over = not faults.has_failed
        faults.arm()
        with closing(SQLMemory(store, clock=clock, unasked=REMEMBERED)) as memory:
            assert len(memory.show("ada")) == 2
            assert memory.recall("bob").turns == (WHOLE,)
        if is_over:
            break
    assert at > 8


@pytest.mark.timeout(120)
@pytest.mark.parametrize("step", [37, pytest.param(9, marks=pytest.mark.slow)])
def test_a_new_store_that_fails_at_any_statement_can_be_made_the_next_time(
    tmp_path: Path, faults: Faults, step: int
) -> None:
    for at in itertools.count(1, step):
        path = tmp_path / f"{at}" / "echat.db"
        faults.arm(at, "full")
        try:
            SQLMemory(path, unasked=REMEMBERED).close()
        except StoreError as error:
            told(error)
        is_over = not faults.has_failed
        faults.arm()
        with closing(SQLMemory(path, unasked=REMEMBERED)) as memory:
            memory.remember("ada", WHOLE)
            assert memory.recall("ada").turns == (WHOLE,)
        if is_over:
            break
    assert at > 20


# --- a conversation ------------------------------------------------------------------------------


@sqlite_only
@pytest.mark.timeout(120)
@pytest.mark.parametrize("step", [7, pytest.param(2, marks=pytest.mark.slow)])
def test_a_conversation_goes_on_in_ram_whatever_statement_fails_and_keeps_all_of_it_in_the_end(
    store: Path, clock: Any, faults: Faults, step: int
) -> None:
    parts: tuple[live.Part, ...] = (("speech", 1), ("quiet", 6)) * 2
    times = 0
    for at in itertools.count(1, step):
        with opened(store, clock) as memory:
            memory.remember(f"{at}", Turn("hello"))
            faults.arm(at)
            try:
                run = live.converse(
                    FakeModel(), FakeAudio(schedule(*parts)), memory=memory, user=f"{at}"
                )
            except StoreError:  # it was over, and looked at
                break
            assert faults.has_failed
            answered = [each.answer.turn.reply for each in run.of(TurnFinished)]
            assert answered == ["I hear you."] * 2
            assert all(isinstance(each.error, StoreError) for each in run.of(Failed))
            times += bool(run.of(Failed))
            kept = [stored.turn for stored in memory.show(f"{at}")][1:]
            assert [(turn.reply, turn.status) for turn in kept] == [
                ("I hear you.", TurnStatus.COMPLETE)
            ] * 2
    assert times >= 10 // step
    assert at > 40


# --- a server ------------------------------------------------------------------------------------


@pytest.mark.postgres
@pytest.mark.timeout(300)
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_whose_server_goes_away_at_any_statement_is_told_and_done_again(
    store: str, clock: Any, sql: Sql, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from echat_memory import postgres

    pids = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'echat'"
    faults = Faults()

    def step(*_: object) -> None:
        try:
            faults.step()
        except sqlite3.OperationalError:  # of another kind here
            sql(store, f"SELECT pg_terminate_backend(pid, 5000) {pids}")

    commit = postgres._Driver.commit

    def commits(driver: postgres._Driver) -> None:
        step()
        commit(driver)

    monkeypatch.setattr(postgres._Driver, "commit", commits)
    # To write all tables anew takes its time, and is many statements of one kind.
    for at in itertools.count(1, 10 if call in LONG else 1):
        user = f"{call} {at}"
        with opened(store, clock) as memory:
            event.listen(memory._database.connection.engine, "before_cursor_execute", step)
            memory.remember(user, WHOLE)
            memory.remember(user, OPEN)
            memory.keep_pauses(user, PAUSES)
            before = len(memory.show(user))
            faults.arm(at)
            error = failed(memory, call, user)
            if not faults.has_failed:
                break
            faults.arm()
            left = memory.show(user)  # at once: nobody has waited in vain
            assert all(stored.turn in (WHOLE, OPEN) for stored in left)
            if error is not None and call in ("erase", "refuse"):
                assert len(left) == (0 if "rows are deleted" in str(error) else before)
            elif error is not None and call != "sweep":
                assert len(left) == before
            CALLS[call](memory, user)
            assert memory.remember("bob", WHOLE)
    assert at >= 3


# --- a full disk ---------------------------------------------------------------------------------


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """For this process, a disk that is full there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@sqlite_only
@pytest.mark.timeout(120)
@pytest.mark.parametrize("call", ["remember", "erase"])
def test_a_disk_that_is_full_at_any_page_is_told_and_nothing_is_half_there(
    store: Path, clock: Any, sql: Sql, call: str
) -> None:
    with opened(store, clock) as memory:
        fill(memory)
        for _ in range(9):
            memory.remember("ada", WHOLE)
    before, pristine = rows(store, sql), {f: f.read_bytes() for f in store.parent.iterdir()}
    times = 0
    for pages in itertools.count(0):
        refill(store, pristine)
        with opened(store, clock) as memory:
            with no_file_longer_than(pages * 4096):
                error = failed(memory, call)
            left = rows(store, sql)
            assert sql(store, "PRAGMA integrity_check") == [("ok",)]
            if error is None:
                break
            if call == "erase" and "rows are deleted" not in str(error):
                assert personal(left) == personal(before)
            elif call != "erase":
                assert left == before
            CALLS[call](memory, "ada")
            assert memory.recall("bob").turns == (WHOLE,)
            times += 1
    assert times > 3


@pytest.mark.timeout(120)
@pytest.mark.parametrize("step", [13, pytest.param(2, marks=pytest.mark.slow)])
def test_a_disk_that_is_full_at_any_page_while_a_store_is_made_is_told_and_it_is_made_later(
    tmp_path: Path, step: int
) -> None:
    for pages in itertools.count(0, step):
        path, error = tmp_path / f"{pages}" / "echat.db", None
        with no_file_longer_than(pages * 4096):
            try:
                SQLMemory(path, unasked=REMEMBERED).close()
            except StoreError as caught:
                error = told(caught)
        with closing(SQLMemory(path, unasked=REMEMBERED)) as memory:
            memory.remember("ada", WHOLE)
            assert memory.recall("ada").turns == (WHOLE,)
        if error is None:
            break
    assert pages > 10
