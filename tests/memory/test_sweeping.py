"""What was kept for long enough goes, on a clock that the test sets, down to the bytes."""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select, update

from echat_memory import SQLMemory
from echat_memory.schema import SafetyRow, TurnRow, UserRow
from echat_memory.sweeping import Sweep
from echat_sdk.consent import REMEMBERED, RUN, ConsentState, Purpose
from echat_sdk.cues import Cue, Cues
from echat_sdk.errors import ConfigError
from echat_sdk.pause_profile import PauseProfile
from echat_sdk.retention import Retention
from echat_sdk.turn import Recollection, Turn
from tests.memory import bytescan

CUES = Cues(Cue("zqxemotion", 0.5, {"sad": 1.0}), Cue("zqxgender", 0.5))
TURN = Turn("My dog is called Zqxrex.", cues=CUES, think="zqxthink", reply="zqxreply", seconds=2.0)
MARKERS = ("Zqxrex", "zqxthink", "zqxreply", "zqxemotion", "zqxgender")


def opened(store: Path | str, clock: Any, **given: Any) -> closing[SQLMemory]:
    return closing(SQLMemory(store, unasked=REMEMBERED, clock=clock, **given))


Contents = Callable[[], list[bytes]]
sqlite_only = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def markers(contents: Contents) -> set[str]:
    return bytescan.found(contents(), MARKERS)


def rows(memory: SQLMemory, *tables: str) -> dict[str, int]:
    with memory._open(write=False) as connection:
        return {
            table: connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
            for table in tables
        }


def test_each_kind_goes_in_its_own_time(store: Path | str, clock: Any, contents: Contents) -> None:
    keep = Retention(think_days=7, emotions_days=30, turns_days=90, facts_days=365)
    with opened(store, clock, retention=keep) as memory:
        memory.remember("ada", TURN)
        memory.keep_pauses("ada", PauseProfile(mean=0.8, count=3))
        seen: list[tuple[int, dict[str, int], set[str]]] = []
        for day in range(0, 400, 5):
            if went := memory.sweep():
                seen.append((day, went, set(MARKERS) - markers(contents)))
            clock.advance(days=5)
        assert [(day, went) for day, went, _ in seen] == [
            (10, {"thoughts": 1}),
            (35, {"emotions": 1}),
            (95, {"turns": 1, "pauses": 1}),
            (370, {"facts": 1}),
        ]
        assert [gone for *_, gone in seen] == [
            {"zqxthink"},
            {"zqxthink", "zqxemotion", "zqxgender"},
            {"zqxthink", "zqxemotion", "zqxgender", "zqxreply"},
            set(MARKERS),
        ]
        assert memory.recall("ada") == Recollection()


def test_a_fact_outlives_its_turn_and_is_told(
    store: Path | str, clock: Any, contents: Contents
) -> None:
    with opened(store, clock) as memory:
        memory.remember("ada", TURN)
        clock.advance(days=80)
        memory.remember("ada", Turn("hello"))
        clock.advance(days=20)
        assert memory.sweep() == {"turns": 1}
        assert memory.recall("ada").facts == ("their dog is called Zqxrex",)
        assert [stored.turn.transcript for stored in memory.show("ada")] == ["hello"]
        # And goes with consent to words, or to a voice: nobody knows any more whether it was said.
        memory.consent("ada", Purpose.PROCESS_VOICE, ConsentState.DENIED)
        assert "Zqxrex" not in markers(contents)


def test_facts_that_pass_go_by_their_kind_and_those_that_were_replaced_with_turns(
    store: Path | str, clock: Any
) -> None:
    with opened(store, clock) as memory:
        for said in ("I live in Leeds.", "I live in York.", "I have an exam on Friday."):
            memory.remember("ada", Turn(said))
        assert rows(memory, "facts") == {"facts": 3}
        for day, went in ((61, 1), (91, 1), (200, 0)):  # the exam, Leeds, nothing: she talks on
            clock.now = clock.now.replace(month=3, day=2) + timedelta(days=day)
            memory.remember("ada", Turn("hello"))
            assert memory.sweep().get("facts", 0) == went
        assert memory.recall("ada").facts == ("they live in York",)


def test_to_sweep_again_finds_nothing_and_a_dry_run_deletes_nothing(
    store: Path | str, clock: Any
) -> None:
    with opened(store, clock) as memory:
        for _ in range(3):
            memory.remember("ada", TURN)
        clock.advance(days=100)
        due = memory.sweep(dry_run=True)
        assert due == {"turns": 3}
        assert len(memory.show("ada")) == 3
        assert memory.sweep() == due
        assert memory.sweep() == {}
        assert rows(memory, "turns", "turn_emotions", "turn_cues", "sessions") == dict.fromkeys(
            ("turns", "turn_emotions", "turn_cues", "sessions"), 0
        )


@sqlite_only
def test_without_secure_delete_the_scan_finds_what_was_swept(
    store: Path | str, clock: Any, contents: Contents
) -> None:
    with opened(store, clock) as memory:
        memory._database.connection.exec_driver_sql("PRAGMA secure_delete = OFF")
        memory._database.connection.commit()
        for _ in range(20):
            memory.remember("ada", TURN)
        clock.advance(days=100)
        memory.sweep()
        assert markers(contents)


def test_records_and_whoever_is_gone_for_good_go_last(store: Path | str, clock: Any) -> None:
    with opened(store, clock) as memory:
        memory.consent("ada", REMEMBERED)
        memory.remember("ada", TURN)
        memory.consent("ada", Purpose.TRAIN)
        memory.consent("ada", Purpose.TRAIN, ConsentState.WITHDRAWN)
        with memory._open(write=True) as connection:
            user_id = connection.execute(select(UserRow.id)).scalar_one()
            turn_id = connection.execute(select(TurnRow.id)).scalar_one()
            event = {"user_id": user_id, "turn_id": turn_id, "category": "self-harm", "at": clock()}
            told = {"severity": "high", "detector": "words", "action": "care"}
            connection.execute(insert(SafetyRow), event | told)
        clock.advance(days=91)
        memory.sweep()
        assert rows(memory, "turns", "safety_events") == {"turns": 0, "safety_events": 1}
        clock.advance(days=300)
        assert memory.sweep() == {"facts": 1, "safety events": 1}
        clock.advance(days=3 * 365 + 1)
        assert memory.consents("ada").of(Purpose.TRAIN).state is ConsentState.WITHDRAWN
        # The log had begun; three answers, two sweeps that found something.
        assert memory.sweep() == {"old answers": 1, "users": 1, "audit": 6, "receipts": 2}
        assert rows(memory, "users", "consents") == {"users": 0, "consents": 0}
        assert [record.action for record in memory.audit()] == ["audit swept", "swept"]
        assert memory.verify().is_whole


def test_who_comes_back_keeps_their_answers(store: Path | str, clock: Any) -> None:
    with opened(store, clock) as memory:
        memory.consent("ada", REMEMBERED)
        clock.advance(days=4 * 365)
        memory.remember("ada", Turn("hello"))
        memory.sweep()
        assert memory.allowed("ada") >= REMEMBERED
        assert len(memory.show("ada")) == 1


@pytest.mark.parametrize("purpose", sorted(REMEMBERED - RUN))
def test_what_a_consent_had_allowed_goes_when_it_ends(
    store: Path | str, clock: Any, purpose: Purpose
) -> None:
    with closing(SQLMemory(store, clock=clock)) as memory:
        memory.consent("ada", REMEMBERED - {purpose})
        memory.consent("ada", purpose, expires_at=clock.now + timedelta(days=1))
        memory.consent("bob", REMEMBERED)
        for user in ("ada", "bob"):
            memory.remember(user, TURN)
        clock.advance(days=2)
        assert memory.sweep(dry_run=True) == {"expired consents": 1}
        assert memory.sweep() == {"expired consents": 1}
        assert memory.consents("ada").of(purpose).state is ConsentState.EXPIRED
        assert memory.sweep() == {}
        assert memory.recall("bob").turns == (TURN,)
        left = [stored.turn for stored in memory.show("ada")]
        if purpose is Purpose.LONG_TERM_MEMORY:
            assert left == []
        elif purpose is Purpose.STORE_TRANSCRIPT:
            assert (left[0].transcript, left[0].cues) == ("", TURN.cues)
        else:
            assert (left[0].transcript, left[0].cues) == (TURN.transcript, Cues())


def age(memory: SQLMemory, clock: Any, days: float) -> None:
    """Let all turns have been said so long ago."""
    with memory._open(write=True) as connection:
        old = clock.now - timedelta(days=days)
        connection.execute(update(TurnRow).values(created_at=old))


def thought(store: Path | str, clock: Any, **given: Any) -> bool:
    """Whether the last thought is still there once the store was opened."""
    with opened(store, clock, **given) as memory:
        return bool(memory.show("ada")[-1].turn.think)


def test_a_store_is_swept_when_it_is_opened_once_a_day_from_its_second_day_on(
    store: Path | str, clock: Any
) -> None:
    with opened(store, clock) as memory:
        memory.remember("ada", TURN)
        age(memory, clock, days=10)
    assert thought(store, clock)  # whoever has just migrated a store has a day to look at it
    clock.advance(days=1)
    assert thought(store, clock, retention=None)
    assert not thought(store, clock)
    with opened(store, clock) as memory:
        memory.remember("ada", TURN)
        age(memory, clock, days=10)
    clock.advance(hours=23)
    assert thought(store, clock)
    clock.advance(hours=1)
    assert not thought(store, clock)


@sqlite_only
def test_a_store_that_is_locked_opens_all_the_same(store: Path | str, clock: Any) -> None:
    with opened(store, clock) as memory:
        memory.remember("ada", TURN)
    assert thought(store, clock)
    clock.advance(days=100)
    with closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert thought(store, clock, busy_timeout=0.05)
        other.execute("ROLLBACK")
    with opened(store, clock) as memory:
        assert memory.show("ada") == []


def test_a_sweep_whose_time_is_up_goes_on_the_next_time(store: Path | str, clock: Any) -> None:
    with opened(store, clock, retention=None) as memory:
        for _ in range(100):
            memory.remember("ada", TURN)
        clock.advance(days=100)

        @contextmanager
        def open_(write: bool) -> Iterator[Connection]:
            with memory._open(write=write) as connection:
                yield connection

        ticks = iter(range(10**6))
        sweep = Sweep(
            open_, Retention(), clock.now, within=20, clock=lambda: float(next(ticks)),
            rest=lambda _: None,
        )  # fmt: skip
        first = sweep.run()
        assert 0 < first["turns"] < 100
        assert memory.sweep()["turns"] == 100 - first["turns"]


def test_a_retention_of_a_kind_of_fact_that_there_is_not_is_told(store: Path | str) -> None:
    with pytest.raises(ConfigError, match="no kind 'hobby' of fact; one of name, home"):
        SQLMemory(store, retention=Retention(facts_by_kind_days={"hobby": 3}))


def _longest_wait(store: Path | str, is_over: threading.Event, waits: list[float]) -> None:
    """How long another process could not have begun to write, again and again, in milliseconds."""
    with closing(sqlite3.connect(store, isolation_level=None, timeout=0)) as other:
        while not is_over.is_set():
            began = time.perf_counter()
            while True:
                try:
                    other.execute("BEGIN IMMEDIATE")
                    break
                except sqlite3.OperationalError:
                    time.sleep(0.0005)
            other.execute("ROLLBACK")
            waits.append((time.perf_counter() - began) * 1e3)
            time.sleep(0.002)


@sqlite_only
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_who_writes_beside_a_sweep_waits_for_milliseconds_only(
    store: Path | str, clock: Any
) -> None:
    """`pytest tests/memory/test_sweeping.py -m slow -s` tells for how long."""
    with opened(store, clock, retention=None) as memory:
        memory._database.connection.exec_driver_sql(
            "PRAGMA synchronous = OFF"
        )  # only while it is filled
        memory._database.connection.commit()
        for i in range(3_000):
            memory.remember(f"user {i % 100}", TURN)
        memory._database.connection.exec_driver_sql("PRAGMA synchronous = FULL")
        memory._database.connection.commit()
        clock.advance(days=100)
        waits: list[float] = []
        is_over = threading.Event()
        probe = threading.Thread(target=_longest_wait, args=(store, is_over, waits))
        probe.start()
        assert memory.sweep()["turns"] == 3_000
        is_over.set()
        probe.join()
    waits.sort()
    p50, p99 = (waits[len(waits) * share // 100] for share in (50, 99))
    sys.stdout.write(
        f"\nwaits for the lock: p50 {p50:.1f}, p99 {p99:.1f}, longest {waits[-1]:.1f} ms"
    )
