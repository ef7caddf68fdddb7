"""A conversation whose store is locked by another process ends all the same.

`pytest tests/memory/test_locked.py -m slow -s` tells after how long.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from echat_memory import SQLMemory
from echat_sdk import Agent
from echat_sdk.agent.events import StateChanged, TurnFinished, UserStopped
from echat_sdk.consent import REMEMBERED
from echat_sdk.testing import FakeModel, Line
from echat_sdk.testing.audio import FakeAudio, ScriptedVAD
from echat_sdk.testing.live import ALONE, schedule
from echat_sdk.turn import SpeechDelta

LONG = " ".join(["word"] * 100)
STATES: dict[str, type] = {
    "idle": StateChanged,
    "a turn is being made durable": UserStopped,
    "an answer is being said": SpeechDelta,
    "an answer was interrupted": TurnFinished,
}


@pytest.fixture
def other(
    database: str, store: Path | str, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], object]]:
    """Runs statements of another process."""
    if isinstance(store, Path):
        with closing(sqlite3.connect(store, isolation_level=None)) as connection:
            yield connection.execute
    else:
        postgres = request.getfixturevalue("postgres")
        with postgres.connect(make_url(store).database) as connection:
            yield connection.execute


LOCK = {
    "sqlite": ("BEGIN IMMEDIATE",),
    "postgresql": ("BEGIN", "LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE"),
}


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("state", STATES)
async def test_a_conversation_ends_while_its_store_is_locked_for_ever(
    database: str, store: Path | str, other: Callable[[str], object], state: str
) -> None:
    asks = (("speech", 0.4), ("quiet", 0.3), ("speech", 0.6), ("quiet", 2))
    audio = FakeAudio(schedule(*asks, ("speech", 1.5), ("quiet", 20)))
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        model = FakeModel(Line("tell me", (LONG,)))
        async with Agent(
            model, memory, user="ada", audio=audio, vad=ScriptedVAD(), policy=ALONE
        ) as agent:
            async for event in agent.events():
                if isinstance(event, STATES[state]):
                    break
            for statement in LOCK[database]:
                other(statement)
            await asyncio.sleep(0.2)
            began = time.perf_counter()
        sys.stdout.write(f"\n{state}: ended in {time.perf_counter() - began:.2f} s")
        other("ROLLBACK")
        said = [stored.turn.transcript for stored in memory.show("ada")]
    if state.startswith("an answer"):  # what was answered aloud had been made durable before
        assert said == ["tell me"]
