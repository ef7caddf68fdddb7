"""What memory takes beside recalling and remembering, which `echat bench memory` measures.

`pytest tests/memory/test_speed.py -m slow -s` prints it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from echat_memory import Encryption, SQLMemory
from echat_sdk.consent import REMEMBERED
from echat_sdk.cues import Cue, Cues, Emotion
from echat_sdk.pause_profile import PauseProfile
from echat_sdk.turn import Timings, Turn

EVEN = {emotion.value: 1 / 8 for emotion in Emotion}
TURN = Turn(
    "My dog is called Rex and I had quite a day, I must say. " * 4,
    cues=Cues(Cue("sad", 0.8, EVEN), Cue("male", 0.9, {"male": 0.9, "female": 0.1})),
    think="<think>They are tired and a bit proud of the day.<think end>",
    reply="That sounds like a lot for one day. What was the best of it?",
    timings=Timings(0.2, 0.4, 0.6, 0.9, 2.0),
)


PAUSES = PauseProfile(mean=0.8, count=23)

ROUNDS = 5
USERS = 10


def _milliseconds(name: str, call: Callable[[int], object], n: int) -> float:
    """The median of a call in the calmest of several rounds; printed with its 95th percentile."""
    rounds = []
    for _ in range(ROUNDS):
        took = []
        for i in range(n):
            began = time.perf_counter()
            call(i)
            took.append(time.perf_counter() - began)
        ordered = sorted(took)
        rounds.append((ordered[n // 2] * 1e3, ordered[n * 95 // 100] * 1e3))
    p50, p95 = min(rounds)
    sys.stdout.write(f"\n{name}: p50 {p50:.2f} ms, p95 {p95:.2f} ms")
    return p50


FAST = {"sqlite": "PRAGMA synchronous = OFF", "postgresql": "SET synchronous_commit = off"}


def _fill(
    store: Path | str,
    turns: int,
    *,
    users: int = USERS,
    hours: float = 0,
    encryption: Encryption | None = None,
) -> None:
    """So many turns, each some hours after the one before; 0: all now."""
    now = datetime.now(UTC)
    at = [now]
    memory = SQLMemory(
        store,
        unasked=REMEMBERED,
        retention=None,
        encryption=encryption,
        clock=lambda: at[0],
    )
    connection = memory._database.connection  # only while it is filled:
    connection.exec_driver_sql(FAST[connection.dialect.name])
    connection.commit()
    for i in range(turns):
        at[0] = now - timedelta(hours=hours * (turns - i))
        memory.remember(f"user {i % users}", TURN)
    memory.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("database", "encryption"),
    [
        pytest.param("sqlite", None, marks=pytest.mark.slow),
        pytest.param("sqlite", Encryption("fields"), marks=pytest.mark.slow),
        pytest.param("sqlite", Encryption("file"), marks=pytest.mark.endurance),
        pytest.param("postgresql", None, marks=[pytest.mark.slow, pytest.mark.postgres]),
        pytest.param("postgresql", Encryption("fields"), marks=pytest.mark.endurance),
    ],
    indirect=["database"],
)
def test_recall_takes_no_longer_in_a_store_ten_times_as_large(
    store: Path | str, tmp_path: Path, encryption: Encryption | None
) -> None:
    mode = encryption.mode if encryption else "no"
    sys.stdout.write(f"\n\nencrypted: {mode}")
    if mode == "file":
        store = tmp_path / "file.db"
    took = {}
    filled = 0
    for turns in (200, 2_000):
        _fill(store, turns - filled, encryption=encryption)
        filled = turns
        with closing(SQLMemory(store, encryption=encryption, unasked=REMEMBERED)) as memory:

            def read(i: int, memory: SQLMemory = memory) -> None:
                memory._ready.drop()  # else rows were read once
                memory.recall(f"user {i % USERS}", query="my dog")

            took[turns] = _milliseconds(f"recall in {turns} turns, rows read", read, 200)
            _milliseconds(
                "pauses",
                lambda i, memory=memory: memory.pauses(f"user {i % USERS}"),  # type: ignore[misc]
                200,
            )
            _milliseconds(
                "keep pauses",
                lambda i, memory=memory: memory.keep_pauses(f"user {i % USERS}", PAUSES),  # type: ignore[misc]
                50,
            )
        _milliseconds(
            "open",
            lambda _: SQLMemory(store, encryption=encryption, unasked=REMEMBERED).close(),
            20,
        )
    # Without its indexes, ten times the turns would take ten times as long. What runs beside it on
    # a busy machine has made twice of once.
    assert took[2_000] < 4 * took[200]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_mood_is_made_from_thousands_of_turns_of_one_user(tmp_path: Path) -> None:
    store = tmp_path / "mood.db"
    _fill(store, 2_000, users=1, hours=2)
    since = datetime.now(UTC).date() - timedelta(days=55)
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        assert memory.mood("user 0").n_turns == 2_000
        few = memory.mood("user 0", since=since).n_turns
        whole = _milliseconds("mood over 2000 turns", lambda _: memory.mood("user 0"), 9)
        part = _milliseconds(
            f"mood over the last {few} of them", lambda _: memory.mood("user 0", since=since), 9
        )
    assert part < whole  # days before are not read
