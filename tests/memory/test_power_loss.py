"""A power cut at every moment: what was promised is there, what was erased is not."""

from __future__ import annotations

import random
import sys
from contextlib import closing
from pathlib import Path

import pytest

from echat_sdk.errors import StoreError
from echat_sdk.turn import TurnStatus
from tests.memory import power, power_child

CHILD = Path(power_child.__file__)


class Promises:
    """What the child was promised so far."""

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._stages: dict[str, dict[int, str]] = {}
        self._erasing: str = ""
        self._erased: dict[str, int] = {}  # up to which turn

    def hear(self, line: str) -> None:
        stage, user, *number = line.split()
        match stage:
            case "erasing":
                self._erasing = user
            case "erased":
                self._erasing = ""
                self._erased[user] = max(self._stages.pop(user, {0: ""}))
            case _:
                self._stages.setdefault(user, {})[int(number[0])] = stage

    def broken_by(self, folder: Path) -> list[str]:
        """How what a power cut left differs from what was promised."""
        data = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
        wrong = [
            f"{user} is not erased"
            for user, last in self._erased.items()
            if any(f"zqx{user} {n}.".encode() in data for n in range(1, last + 1))
        ]
        if not self._stages:
            return wrong
        with closing(power_child.opened(folder / "new" / "echat.db", self._mode)) as memory:
            for user, stages in self._stages.items():
                try:
                    shown = memory.show(user, 100_000)
                except StoreError as error:  # the key to their words goes first
                    if self._erasing != user or "Erase them again" not in str(error):
                        raise
                    memory.erase(user)
                    shown = memory.show(user)
                kept = {
                    int(stored.turn.transcript.split(".")[0].split()[1]): stored.turn
                    for stored in shown
                }
                if self._erasing == user and not kept:
                    continue  # gone already, as asked
                for number, stage in stages.items():
                    if number not in kept:
                        wrong.append(f"{user} {number} is lost")
                    elif stage == "whole" and kept[number].status is not TurnStatus.COMPLETE:
                        wrong.append(f"{user} {number} is as it was before")
                for number, turn in kept.items():
                    is_whole = turn.status is TurnStatus.COMPLETE
                    parts = (bool(turn.reply), bool(turn.think), turn.cues.gender.is_known)
                    if set(parts) != {is_whole}:
                        wrong.append(f"{user} {number} is half there")
                if not memory.facts(user):
                    wrong.append(f"what {user} told is lost")
        return wrong


def losses(
    in_ram: Path, turns: int, *, mode: str = "", synchronous: str = "", torn: int = 0
) -> tuple[int, list[str]]:
    """Cut the power at every sync and promise; how often, and what was broken."""
    root, trace, left = (in_ram / name for name in ("disk", "trace", "left"))
    root.mkdir()
    power.record(CHILD, trace, str(root / "new" / "echat.db"), str(turns), mode, synchronous)
    disk, promises, generator = power.Disk(root), Promises(mode), random.Random(5)
    wrong: list[str] = []
    cuts, before = 0, ""
    for event in disk.play(trace):
        if event != "sync":
            promises.hear(event)
        # Before a sync that follows a promise the disk has what it had then.
        whole = [None] if event != "sync" or before == "sync" else []
        before = event
        for how in (*whole, *[generator] * torn):
            disk.cut(left, how)
            cuts += 1
            broken = promises.broken_by(left)
            wrong += [f"{event}: {each}" for each in broken]
    return cuts, wrong


SLOW = [pytest.mark.slow, pytest.mark.timeout(300)]
WHOLE = [pytest.mark.endurance, pytest.mark.timeout(600)]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("turns", "mode", "torn"),
    [
        (21, "", 0),
        pytest.param(14, "", 1, marks=SLOW),
        pytest.param(7, "fields", 1, marks=SLOW),
        pytest.param(4, "file", 1, marks=SLOW),
        pytest.param(44, "", 1, marks=WHOLE),
        pytest.param(22, "fields", 1, marks=WHOLE),
        pytest.param(8, "file", 1, marks=WHOLE),
    ],
)
def test_no_promise_is_lost_with_the_power(in_ram: Path, turns: int, mode: str, torn: int) -> None:
    """`pytest tests/memory/test_power_loss.py -m endurance -s` tells how often it was cut."""
    cuts, wrong = losses(in_ram, turns, mode=mode, torn=torn)
    sys.stdout.write(f"\n{turns} turns, the power cut {cuts} times: {len(wrong)} promises broken")
    assert wrong == []
    assert cuts > 2 * turns


@pytest.mark.timeout(60)
def test_a_store_that_does_not_wait_for_the_disk_loses_turns(in_ram: Path) -> None:
    _, wrong = losses(in_ram, 3, synchronous="NORMAL")
    assert any(each.endswith("is lost") for each in wrong)
