"""Children that write to a store and are killed, or write to it at once."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from echat_memory import SQLMemory
from echat_sdk.consent import REMEMBERED
from echat_sdk.cues import Cue, Cues
from echat_sdk.turn import Turn

CUES = Cues(Cue("sad", 0.5, {"sad": 0.5}), Cue("male", 0.5))


def _write_forever(store: Path, name: int, promises: int) -> None:
    """Remember one turn after another, and write each id to the pipe as soon as it is promised."""
    memory = SQLMemory(store, unasked=REMEMBERED)
    for i in itertools.count(1):
        turn = Turn(f"{name} {i}. My dog is called Rex. I live in Leeds.", cues=CUES)
        turn_id = memory.remember("ada", turn)
        os.write(promises, f"{turn_id} {name} {i}\n".encode())


def _kill_writers(store: Path, kills: int) -> list[str]:
    """Kill as many writers at random moments; returns what they had promised to keep."""
    generator = random.Random(7)
    promised: list[str] = []
    for name in range(kills):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                _write_forever(store, name, writer)
            finally:
                os._exit(1)
        os.close(writer)
        with os.fdopen(reader) as promises:
            # Only after a first promise: else a kill may hit before anything was done.
            promised.append(promises.readline().strip())
            time.sleep(generator.uniform(0, 0.02))
            os.kill(child, signal.SIGKILL)
            promised += [line.strip() for line in promises]
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
    return promised


@pytest.mark.parametrize(
    "kills", [25, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_a_promised_turn_survives_kill_9(store: Path, kills: int) -> None:
    promised = _kill_writers(store, kills)
    assert len({line.split()[1] for line in promised}) == kills
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        kept = memory.show("ada", limit=1_000_000)
        assert len(memory.recall("ada").facts) == 2
    said = {stored.id: stored.turn.transcript.split(".")[0] for stored in kept}
    lost = [line for line in promised if said.get(line.split()[0]) != line.split(" ", 1)[1]]
    assert lost == []
    assert len(set(said.values())) == len(kept)  # none twice
    assert all(stored.turn.cues.gender.is_known for stored in kept)  # none half
    # At most the one turn that each writer was at when it died was kept without a promise.
    assert len(kept) - len(promised) <= kills
    with closing(sqlite3.connect(store)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []


def _write_thirty(store: Path, name: str) -> None:
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        for i in range(30):
            memory.remember("ada", Turn(f"{name} {i}. I live in Leeds."))
            memory.recall("ada")


def test_two_processes_write_one_store_at_once(store: Path) -> None:
    context = multiprocessing.get_context("fork")
    twins = [context.Process(target=_write_thirty, args=(store, name)) for name in ("a", "b")]
    for twin in twins:
        twin.start()
    for twin in twins:
        twin.join()
    assert [twin.exitcode for twin in twins] == [0, 0]
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        kept = [s.turn.transcript.split(".")[0] for s in memory.show("ada", limit=1000)]
        assert memory.recall("ada").facts == ("they live in Leeds",)
        assert memory.users() == 1
    for name in ("a", "b"):
        assert [said for said in kept if said[0] == name] == [f"{name} {i}" for i in range(30)]


def test_a_store_survives_power_cuts_by_waiting_for_the_disk(memory: SQLMemory) -> None:
    wanted = {"synchronous": 2, "foreign_keys": 1, "secure_delete": 1, "journal_mode": "wal"}
    found = {
        name: memory._connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in wanted
    }
    memory._connection.rollback()
    assert found == wanted
