"""Children that write to a store and are killed, or write to it at once."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from echat_memory import Encryption, SQLMemory
from echat_sdk.consent import REMEMBERED
from echat_sdk.cues import Cue, Cues
from echat_sdk.errors import StoreError
from echat_sdk.turn import Turn

Sql = Callable[[Path | str, str], list[tuple[Any, ...]]]

CUES = Cues(Cue("sad", 0.5, {"sad": 0.5}), Cue("male", 0.5))


def _write_forever(store: Path | str, name: int, promises: int) -> None:
    """Remember one turn after another, and write each id to the pipe as soon as it is promised."""
    memory = SQLMemory(store, unasked=REMEMBERED)
    for i in itertools.count(1):
        turn = Turn(f"{name} {i}. My dog is called Rex. I live in Leeds.", cues=CUES)
        turn_id = memory.remember("ada", turn)
        os.write(promises, f"{turn_id} {name} {i}\n".encode())


def _kill_writers(store: Path | str, kills: int) -> list[str]:
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


@pytest.mark.parametrize("kills", [25])
def test_a_promised_turn_survives_kill_9(store: Path | str, kills: int, sql: Sql) -> None:
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
    if isinstance(store, Path):
        assert sql(store, "PRAGMA integrity_check") == [("ok",)]
        assert sql(store, "PRAGMA foreign_key_check") == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("mode", ["", "file"])
def test_a_store_that_is_open_twice_in_one_process_keeps_what_it_promised(
    store: Path, tmp_path: Path, mode: str
) -> None:
    """To close a file takes all locks that a process has on it, whoever in it took them."""
    given: Any = {"unasked": REMEMBERED, "encryption": Encryption(mode="file") if mode else None}
    path = tmp_path / "sealed.db" if mode else store
    with closing(SQLMemory(path, **given)) as memory:
        memory.remember("ada", Turn("before"))
        SQLMemory(path, **given).close()
        opens = [sys.executable, "-c", _OPENS, str(path), mode]
        subprocess.run(opens, check=True)  # and closes: nobody may take our log away
        memory.remember("ada", Turn("after"))
        subprocess.run(opens, check=True)
        with closing(SQLMemory(path, **given)) as other:
            assert [s.turn.transcript for s in other.show("ada")] == ["before", "after"]


_OPENS = """
import sys
from pathlib import Path
from echat_memory import Encryption, SQLMemory
encryption = Encryption(mode="file") if sys.argv[2] else None
SQLMemory(Path(sys.argv[1]), encryption=encryption).close()
"""


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("what", ["echat.db", "echat.db-wal"])
@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_what_nobody_would_find_again_is_not_promised(
    memory: SQLMemory, store: Path, what: str, how: str
) -> None:
    memory.remember("ada", Turn("before"))
    path = store.with_name(what)
    aside = path.rename(path.with_name("aside"))
    if how == "replaced":
        path.write_bytes(aside.read_bytes())
    for call in (lambda: memory.remember("ada", Turn("lost")), lambda: memory.recall("ada")):
        with pytest.raises(StoreError, match="was removed or replaced while the store was open"):
            call()
    aside.replace(path)
    memory.remember("ada", Turn("after"))
    assert [stored.turn.transcript for stored in memory.show("ada")] == ["before", "after"]


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(600)
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_promised_turn_survives_many_kills(store: str, sql: Sql) -> None:
    """For SQLite see `test_kills.py`."""
    test_a_promised_turn_survives_kill_9(store, 200, sql)


def _write_thirty(store: Path | str, name: str) -> None:
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        for i in range(30):
            memory.remember("ada", Turn(f"{name} {i}. I live in Leeds."))
            memory.recall("ada")


def test_two_processes_write_one_store_at_once(store: Path | str, sql: Sql) -> None:
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
    (places,) = sql(store, "SELECT count(*), count(DISTINCT seq), min(seq), max(seq) FROM turns")
    assert places == (60, 60, 1, 60)
    for name in ("a", "b"):
        assert [said for said in kept if said[0] == name] == [f"{name} {i}" for i in range(30)]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_store_survives_power_cuts_by_waiting_for_the_disk(memory: SQLMemory) -> None:
    wanted = {"synchronous": 3, "foreign_keys": 1, "secure_delete": 1, "journal_mode": "wal"}
    found = {
        name: memory._database.connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
        for name in wanted
    }
    memory._database.connection.rollback()
    assert found == wanted
