"""`kill -9` at every step of a turn, of what ends turns, and at random: no promise is lost.

A step is a statement, or the moment between a commit and its promise. What a commit itself does
until it is durable is taken apart in `test_power_loss.py`; here the random kills hit it.
`pytest tests/memory/test_kills.py -m endurance -s` tells how many there were.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from echat_memory import SQLMemory, remembering
from echat_memory.database import open_database
from echat_memory.migrations import migrate
from echat_memory.pseudonym import create_key, pseudonym, read_key
from echat_sdk.consent import REMEMBERED
from echat_sdk.turn import Turn, TurnStatus
from tests.memory import kill_child
from tests.memory.kill_child import PLANTED, Life, said

KILLED = -signal.SIGKILL


class Nursery:
    """Has children live and die; keeps what they were promised, and how many were killed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.promised: list[list[str]] = []
        self.kills = 0

    def live(self, life: Life) -> bool:
        """Whether it was killed, rather than done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(asdict(life))}\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            stage, *told = line.split()
            if stage == "died":
                status = int(told[0])
                assert status in (KILLED, 0)
                self.kills += status == KILLED
                return status == KILLED
            self.promised.append([stage, *told])
        raise AssertionError("the nursery is gone")

    def names(self, stage: str) -> set[str]:
        return {name for what, name, *_ in self.promised if what == stage}


@contextmanager
def opened(store: Path) -> Iterator[Nursery]:
    """A nursery, for as long as it is needed."""
    command = [sys.executable, kill_child.__file__, str(store)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Nursery(process)
        process.communicate()
    assert process.returncode == 0


@pytest.fixture
def tmp_path(in_ram: Path) -> Path:
    """What a process wrote outlives it in RAM as on a disk, and a thousand kills wait for none."""
    return in_ram


@pytest.fixture
def nursery(store: Path) -> Iterator[Nursery]:
    with opened(store) as nursery:
        yield nursery


@pytest.fixture
def database() -> str:
    """For PostgreSQL see `test_durability.py` and `test_faults.py`."""
    return "sqlite"


def broken(store: Path, nursery: Nursery) -> list[str]:
    """What a store has that differs from what was promised to whoever talked to it."""
    with closing(sqlite3.connect(store)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
    with closing(SQLMemory(store, unasked=REMEMBERED, retention=None)) as memory:
        kept = memory.show("ada", 1_000_000)
        wrong = [] if len(memory.facts("ada")) == 2 else ["facts are lost or doubled"]
    by_id = {stored.id: stored.turn for stored in kept}
    for stage, *told in nursery.promised:
        if stage in ("open", "whole"):
            name, number, turn_id = told
            turn = by_id.get(turn_id)
            if turn is None or turn.transcript != said(name, int(number)):
                wrong.append(f"{name} {number} is lost")
            elif stage == "whole" and turn.status is not TurnStatus.COMPLETE:
                wrong.append(f"{name} {number} is as it was before")
    times = Counter(stored.turn.transcript for stored in kept)
    wrong += [f"{words} is there {count} times" for words, count in times.items() if count > 1]
    for turn in by_id.values():
        parts = {bool(turn.reply), bool(turn.think), turn.cues.gender.is_known}
        if parts != {turn.status is TurnStatus.COMPLETE}:
            wrong.append(f"{turn.transcript} is half there")
    return wrong


def tell(nursery: Nursery, what: str) -> None:
    turns = sum(stage == "whole" for stage, *_ in nursery.promised)
    sys.stdout.write(
        f"\n{what}: {nursery.kills} kills, {turns} whole turns promised: 0 lost, 0 doubled, 0 half"
    )


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(1, marks=pytest.mark.timeout(60)),
        pytest.param(3, marks=[pytest.mark.endurance, pytest.mark.timeout(600)]),
    ],
)
def test_a_kill_at_any_step_of_a_turn_loses_no_promise(
    store: Path, nursery: Nursery, rounds: int
) -> None:
    for number in range(rounds):
        for at in itertools.count(1):
            name = f"r{number}at{at}"
            nursery.live(Life("turns", str(store), name, at=at, checkpoint=4))
            if name in nursery.names("whole"):  # it died in the turn after
                break
    assert broken(store, nursery) == []
    assert nursery.kills > 20 * rounds
    tell(nursery, "at every step of a turn")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "kills",
    [pytest.param(150, marks=pytest.mark.slow), pytest.param(800, marks=pytest.mark.endurance)],
)
def test_a_kill_at_a_random_moment_loses_no_promise(
    store: Path, nursery: Nursery, kills: int
) -> None:
    generator = random.Random(7)
    for number in range(kills):
        after = generator.uniform(1e-6, 0.02)
        checkpoint = generator.choice((1, 4, 1000))
        life = Life("turns", str(store), f"k{number}", after=after, checkpoint=checkpoint)
        assert nursery.live(life)
    assert broken(store, nursery) == []
    assert len(nursery.names("whole")) > kills / 20
    tell(nursery, "at random moments")


@pytest.mark.parametrize(
    ("work", "step"),
    [
        pytest.param("erase", 5, marks=pytest.mark.timeout(60)),
        *(
            pytest.param(work, step, marks=[mark, pytest.mark.timeout(600)])
            for work in ("erase", "consent", "sweep")
            for step, mark in ((4, pytest.mark.slow), (1, pytest.mark.endurance))
        ),
    ],
)
def test_a_kill_at_any_step_of_what_ends_turns_leaves_all_or_nothing_and_others_untouched(
    store: Path, nursery: Nursery, work: str, step: int
) -> None:
    left: dict[str, int] = {}
    for at in itertools.count(1, step):
        killed = nursery.live(Life(work, str(store), name := f"gone{at}", at=at))
        with closing(SQLMemory(store, unasked=REMEMBERED, retention=None)) as memory:
            turns = [stored.turn for stored in memory.show(name)]
            left[name] = len(turns)
            assert all(turn.reply and turn.cues.gender.is_known for turn in turns)
            if work != "sweep":
                assert len(turns) in (0, PLANTED)
                assert len(memory.facts(name)) == (2 if turns else 0)
        if not killed:
            break
    assert broken(store, nursery) == []
    assert {left[name] for name in nursery.names("ended")} == {0}
    assert max(left.values()) == PLANTED
    assert nursery.kills * step > 15
    tell(nursery, f"at every step of {work}")


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(61, marks=pytest.mark.timeout(60)),
        pytest.param(5, marks=[pytest.mark.endurance, pytest.mark.timeout(600)]),
    ],
)
def test_a_kill_at_any_step_of_a_migration_loses_nothing(
    tmp_path: Path, nursery: Nursery, step: int
) -> None:
    old = tmp_path / "old" / "echat.db"
    with closing(open_database(old, timeout=5)) as database:
        migrate(database, head="0001")
        create_key(database.key_file)
        who = pseudonym(read_key(database.key_file), "ada")
        with database.transaction(write=True) as connection:
            for number in range(PLANTED):
                turn = Turn(said("before", number))
                now = datetime(2026, 3, 2, tzinfo=UTC)
                remembering.remember(
                    connection, who, turn, turn_id=None, now=now, allowed=REMEMBERED
                )
    for at in itertools.count(1, step):
        folder = tmp_path / "now"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(old.parent, folder)
        killed = nursery.live(Life("migrate", str(folder / "echat.db"), "m", at=at))
        with closing(SQLMemory(folder / "echat.db", unasked=REMEMBERED)) as memory:
            found = [stored.turn.transcript for stored in memory.show("ada")]
            assert found == [said("before", number) for number in range(PLANTED)]
            assert len(memory.facts("ada")) == 2
            memory.remember("ada", Turn("after"))
        assert (folder / "echat.db.before-0001.bak").exists()
        if not killed:
            break
    assert nursery.kills > 1
    tell(nursery, "while it migrates")
