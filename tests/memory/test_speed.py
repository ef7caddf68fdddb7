"""What memory takes of a turn; `pytest tests/memory/test_speed.py -m slow -s` prints it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import closing
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

ROUNDS = 20
USERS = 100


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


def _fill(store: Path, turns: int, encryption: Encryption | None) -> None:
    memory = SQLMemory(store, encryption=encryption, unasked=REMEMBERED)
    memory._database.connection.exec_driver_sql(
        "PRAGMA synchronous = OFF"
    )  # only while it is filled
    memory._database.connection.commit()
    for i in range(turns):
        memory.remember(f"user {i % USERS}", TURN)
    memory.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("encryption", [None, Encryption("fields"), Encryption("file")])
def test_recall_takes_no_longer_in_a_store_ten_times_as_large(
    tmp_path: Path, encryption: Encryption | None
) -> None:
    sys.stdout.write(f"\n\nencrypted: {encryption.mode if encryption else 'no'}")
    took = {}
    for turns in (1_000, 10_000):
        store = tmp_path / f"{turns}.db"
        _fill(store, turns, encryption)
        with closing(SQLMemory(store, encryption=encryption, unasked=REMEMBERED)) as memory:
            took[turns] = _milliseconds(
                f"recall in {turns} turns",
                lambda i, memory=memory: memory.recall(f"user {i % USERS}", query="my dog"),  # type: ignore[misc]
                200,
            )
            _milliseconds(
                "remember",
                lambda i, memory=memory: memory.remember(f"user {i % USERS}", TURN),  # type: ignore[misc]
                50,
            )
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
            lambda _, store=store: SQLMemory(
                store, encryption=encryption, unasked=REMEMBERED
            ).close(),
            20,
        )  # type: ignore[misc]
    # Without its indexes, ten times the turns would take ten times as long.
    assert took[10_000] < 2 * took[1_000]
