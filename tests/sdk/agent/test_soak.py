"""An hour of conversation and a thousand interruptions: nothing grows, and none sticks."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import tracemalloc

import numpy as np
import pytest

from echat_sdk.agent.events import Event, TurnFinished
from echat_sdk.testing import FakeModel, Line, RAMMemory
from echat_sdk.testing.audio import FakeAudio
from echat_sdk.testing.live import Part, converse, schedule
from echat_sdk.turn import Turn, TurnStatus

pytestmark = pytest.mark.timeout(1200)

ROUND: list[Part] = [("speech", 0.8), ("quiet", 1.5), ("speech", 0.9), ("quiet", 1.0)]
"""A question, a moment of the answer, and speech over it: about an hour for a thousand of them."""


class LastTurn(RAMMemory):
    """Keeps the last turn alone, so that what grows is the agent's."""

    def remember(self, user: str, turn: Turn, *, turn_id: str | None = None) -> str:
        if turn_id is None:
            self._turns.clear()
            self._began.clear()
        return super().remember(user, turn, turn_id=turn_id)


class Deaf(FakeAudio):
    """Does not keep what was said to it."""

    async def play(self, samples: np.ndarray) -> None:
        await super().play(samples)
        del self.said[:-5]


@pytest.mark.parametrize(
    "barge_ins",
    [pytest.param(150, marks=pytest.mark.slow), pytest.param(1000, marks=pytest.mark.endurance)],
)
def test_interruptions_for_an_hour_leave_nothing_behind(barge_ins: int) -> None:
    model = FakeModel(Line("tell me everything", (" ".join(["word"] * 200),)))
    model.recollections = _Bin()
    turns = interrupted = 0
    sizes: list[tuple[int, int, int, int]] = []

    def count(event: Event) -> None:
        nonlocal turns, interrupted
        if not isinstance(event, TurnFinished):
            return
        turns += 1
        interrupted += event.answer.turn.status is TurnStatus.INTERRUPTED
        if turns % 200 == 100:
            gc.collect()
            sizes.append(
                (
                    tracemalloc.get_traced_memory()[0],
                    len(asyncio.all_tasks()),
                    threading.active_count(),
                    len(os.listdir("/proc/self/fd")),
                )
            )

    audio = Deaf(frame for _ in range(barge_ins) for frame in schedule(*ROUND))
    tracemalloc.start()
    try:
        run = converse(model, audio, memory=LastTurn(), on_event=count, within=11 * barge_ins)
    finally:
        tracemalloc.stop()
    assert run.seconds > 3.6 * barge_ins
    assert interrupted >= barge_ins
    memory, tasks, threads, handles = zip(*sizes, strict=True)
    assert memory[-1] - memory[0] < 200_000, "bytes grew"
    for counts in (tasks, threads, handles):
        assert max(counts) - min(counts) <= 3


class _Bin(list):  # type: ignore[type-arg]
    """A list that keeps nothing."""

    def append(self, _: object) -> None:
        pass
