"""What an export takes; `pytest tests/memory/test_export_speed.py -m slow -s` prints it.

Each step runs in a process of its own, whose peak of memory is told beside that of one that did
the same with a hundredth of the turns.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from echat_memory import SQLMemory
from echat_sdk.consent import REMEMBERED
from echat_sdk.cues import Cue, Cues, Emotion
from echat_sdk.turn import Timings, Turn

TURNS = 100_000
A_SITTING = 50
EVEN = {emotion.value: 1 / 8 for emotion in Emotion}
TURN = Turn(
    "I had quite a day at the river with my sister, I must say. " * 4,
    cues=Cues(Cue("sad", 0.8, EVEN), Cue("male", 0.9, {"male": 0.9, "female": 0.1})),
    think="<think>They are tired and a bit proud of the day.<think end>",
    reply="That sounds like a lot for one day. What was the best of it?",
    strategy="asked",
    timings=Timings(0.2, 0.4, 0.6, 0.9, 2.0),
    seconds=3.0,
)

_STEP = """
import json, re, sys, time
from contextlib import closing
from pathlib import Path
from echat_memory import Encryption, SQLMemory
from echat_sdk.consent import REMEMBERED

step, store, document, mode = sys.argv[1:]
encryption = Encryption() if mode == "fields" else None
with closing(
    SQLMemory(Path(store), unasked=REMEMBERED, retention=None, encryption=encryption)
) as memory:
    began, worked = time.perf_counter(), time.process_time()
    if step == "export":
        with open(document, "w", encoding="utf-8") as file:
            file.writelines(memory.export("ada"))
    else:
        memory.import_document(Path(document))
took, worked = time.perf_counter() - began, time.process_time() - worked
# Not `getrusage`, which begins with the peak of whoever started us.
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps([took, worked, peak]))
"""


def _write(path: Path, count: int) -> None:
    """A document of so many turns like one that was kept."""
    at = datetime(2026, 3, 2, tzinfo=UTC)
    with closing(
        SQLMemory(path.with_suffix(".one"), unasked=REMEMBERED, clock=lambda: at)
    ) as memory:
        memory.remember("ada", TURN)
        found = json.loads("".join(memory.export("ada")))
    (turn,), (session,) = found.pop("turns"), found.pop("sessions")
    with path.open("w") as file:
        sittings = [{**session, "id": 1 + i} for i in range(-(-count // A_SITTING))]
        file.write(f'{json.dumps({**found, "sessions": sittings})[:-1]}, "turns": [')
        for i in range(count):
            place = {"id": 1 + i, "session": 1 + i // A_SITTING, "seq": 1 + i % A_SITTING}
            file.write(f"{',' if i else ''}\n{json.dumps({**turn, **place})}")
        file.write("]}")


def _run(step: str, store: Path, document: Path, mode: str) -> tuple[float, float, float]:
    arguments = [sys.executable, "-c", _STEP, step, str(store), str(document), mode]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    took, worked, peak = json.loads(done.stdout)
    return took, worked, peak


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("mode", "turns"),
    [
        pytest.param("plain", TURNS, marks=pytest.mark.endurance),
        pytest.param("plain", TURNS // 5, marks=pytest.mark.slow),
        pytest.param("fields", TURNS // 10, marks=pytest.mark.slow),
    ],
)
def test_a_hundred_thousand_turns_take_less_than_a_minute_and_no_more_memory_than_a_thousand(
    tmp_path: Path, mode: str, turns: int
) -> None:
    measured = {}
    for count in (TURNS // 100, turns):
        store, given, got = (tmp_path / f"{count}.{name}" for name in ("db", "json", "out"))
        _write(given, count)
        for step, document in (("import", given), ("export", got)):
            measured[step, count] = took, worked, peak = _run(step, store, document, mode)
            size = document.stat().st_size / 1e6
            sys.stdout.write(
                f"\n{mode}: {step} of {count} turns, {size:.0f} MB: {took:.1f} s, "
                f"{worked:.1f} s of a processor, peak {peak:.0f} MB"
            )
        assert got.read_bytes().count(b"river") == 4 * count
    # Of a processor's time, for how long it takes beside others is not ours to tell.
    assert measured["export", turns][1] < 60
    for step in ("import", "export"):
        assert measured[step, turns][2] - measured[step, TURNS // 100][2] < 64
