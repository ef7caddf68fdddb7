"""An hour of conversation and a thousand interruptions: nothing grows, and none sticks."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from echat_sdk.agent.events import TurnFinished
from echat_sdk.agent.live import Live
from echat_sdk.audio import FRAME_LEN, AudioFrame
from echat_sdk.bridge import Worker
from echat_sdk.testing import FakeModel, Line, RAMMemory, virtual_time
from echat_sdk.testing.audio import FakeAudio, ScriptedVAD
from echat_sdk.turn import Turn, TurnStatus
from echat_sdk.turn_policy import TurnPolicy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SPEECH = AudioFrame(np.full(FRAME_LEN, 1000, np.int16))
SILENCE = AudioFrame(np.zeros(FRAME_LEN, np.int16))
BARGE_INS = 1000
ROUND = (("speech", 0.8), ("quiet", 1.5), ("speech", 0.9), ("quiet", 1.0))
"""A question, a moment of the answer, and speech over it: about an hour for a thousand of them."""


class LastTurn(RAMMemory):
    """Keeps the last turn alone, so that what grows is the agent's."""

    def remember(self, user: str, turn: Turn, *, turn_id: str | None = None) -> str:
        if turn_id is None:
            self._turns.clear()
        return super().remember(user, turn, turn_id=turn_id)


def schedule(rounds: int) -> Iterator[AudioFrame]:
    for _ in range(rounds):
        for what, seconds in ROUND:
            for _ in range(round(seconds / 0.02)):
                yield SPEECH if what == "speech" else SILENCE


class Deaf(FakeAudio):
    """Does not keep what was said to it."""

    async def play(self, samples: np.ndarray) -> None:
        await super().play(samples)
        del self.said[:-5]


def test_a_thousand_interruptions_in_an_hour_leave_nothing_behind() -> None:
    model = FakeModel(Line("tell me everything", (" ".join(["word"] * 200),)))
    model.recollections = _Bin()
    interrupted = 0
    sizes: list[tuple[int, int, int, int]] = []

    async def main() -> None:
        nonlocal interrupted
        store = Worker("echat-memory")
        live = Live(
            model, LastTurn(), Deaf(schedule(BARGE_INS)), vad=ScriptedVAD(), turn_end=None,
            policy=TurnPolicy(reengagements=0), user="ada", key="k", think="tag", lang="en",
            store=store,
        )  # fmt: skip

        async def read() -> None:
            nonlocal interrupted
            turns = 0
            async for event in live.events():
                if isinstance(event, TurnFinished):
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

        async with asyncio.TaskGroup() as group:
            group.create_task(read(), name="reader")
            await live.run()
        assert asyncio.get_running_loop().time() > 3600
        store.close()

    tracemalloc.start()
    try:
        virtual_time.run(main())
    finally:
        tracemalloc.stop()
    assert interrupted >= BARGE_INS
    memory, tasks, threads, handles = zip(*sizes, strict=True)
    assert memory[-1] - memory[0] < 200_000, "bytes grew over 1,600 turns"
    for counts in (tasks, threads, handles):
        assert max(counts) - min(counts) <= 3


class _Bin(list):  # type: ignore[type-arg]
    """A list that keeps nothing."""

    def append(self, _: object) -> None:
        pass
