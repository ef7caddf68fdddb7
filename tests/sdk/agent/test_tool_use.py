"""Tools in conversations: who asks is answered with what was found, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from echat_sdk.agent import Agent
from echat_sdk.agent.events import ToolCalled, ToolReturned, TurnFinished
from echat_sdk.agent.lines import LINES
from echat_sdk.errors import ConfigError
from echat_sdk.testing import FakeModel, Line, RAMMemory, live
from echat_sdk.testing.audio import FakeAudio
from echat_sdk.testing.live import Conversation, Part, schedule
from echat_sdk.tools import Tool, tool
from echat_sdk.turn import Finding, TextDelta, TurnStatus

ASK: list[Part] = [("speech", 1), ("quiet", 6)]


class Offers:
    """A plugin of some tools."""

    def __init__(self, *tools: Tool) -> None:
        self._tools = tools

    def tools(self) -> Sequence[Tool]:
        return self._tools


@tool(examples={"what time is it": {}}, looks_only=True)
def clock() -> str:
    """The time of day."""
    return "It is noon."


def asking(*tools: Tool, calls: str = "", parts: Sequence[Part] = ASK) -> Conversation[FakeModel]:
    model = FakeModel(Line("what time is it", calls=calls or tools[0].name))
    return live.converse(model, FakeAudio(schedule(*parts)), plugins=[Offers(*tools)])


def test_who_asks_for_a_tool_is_answered_with_what_it_found() -> None:
    run = asking(clock)
    assert [turn.reply for turn in run.turns] == ["It is noon."]
    assert [event.call.tool for event in run.of(ToolCalled)] == [clock]
    assert [event.finding for event in run.of(ToolReturned)] == [Finding("clock", "It is noon.")]


def test_who_only_talks_is_answered_without_a_tool() -> None:
    model = FakeModel(Line("hello", ("Hi.",)))
    run = live.converse(model, FakeAudio(schedule(*ASK)), plugins=[Offers(clock)])
    assert [turn.reply for turn in run.turns] == ["Hi."]
    assert run.of(ToolCalled) == []


def test_a_tool_that_changes_something_waits_for_the_end_of_the_turn_others_do_not() -> None:
    ran: list[float] = []

    def note() -> str:
        """Write down when it ran."""
        ran.append(asyncio.get_running_loop().time())
        return "Done."

    async def noted() -> str:
        """Write down when it ran."""
        return note()

    for looks in (True, False):
        asking(tool(examples={"x": {}}, looks_only=looks)(noted))
    begun, released = ran
    assert begun == pytest.approx(1.14, abs=0.05)
    assert released == pytest.approx(1.7, abs=0.05)


def test_a_turn_that_goes_on_runs_no_tool_that_changes_something() -> None:
    ran = []

    @tool(examples={"x": {}})
    async def act() -> None:
        """Act."""
        ran.append(1)

    run = asking(act, parts=[("speech", 1), ("quiet", 0.4), ("speech", 1), ("quiet", 5)])
    assert len(run.turns) == 1
    assert ran == [1]


async def slow(seconds: float, cancelled: list[int]) -> str:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        cancelled.append(1)
        raise
    return "Here it is."


def test_a_slow_tool_is_waited_for_aloud_and_its_answer_comes() -> None:
    @tool(examples={"x": {}}, looks_only=True)
    async def search() -> str:
        """Search."""
        return await slow(4, [])

    run = asking(search, parts=[("speech", 1), ("quiet", 12)])
    said = [event.text for event in run.of(TextDelta)]
    assert said == [LINES["moment"]["en"], "Here it is."]


def test_a_tool_that_is_late_or_fails_is_told_and_the_next_turn_works() -> None:
    cancelled: list[int] = []

    @tool(examples={"x": {}}, deadline=1)
    async def late() -> str:
        """Take long."""
        return await slow(30, cancelled)

    @tool(examples={"x": {}})
    def broken() -> str:
        """Fail."""
        raise ZeroDivisionError("about ada")

    for each, error in ((late, "late"), (broken, "ZeroDivisionError")):
        run = asking(each)
        assert [event.finding.error for event in run.of(ToolReturned)] == [error]
        assert [turn.status for turn in run.turns] == [TurnStatus.COMPLETE]
    assert cancelled == [1]


def test_what_an_error_says_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    @tool(examples={"x": {}})
    def broken() -> str:
        """Fail."""
        raise ValueError("ada said something")

    with caplog.at_level(logging.DEBUG):
        asking(broken)
    assert "ada" not in caplog.text
    assert "broken" in caplog.text


def test_who_goes_on_speaking_cancels_the_tool_and_it_runs_anew_for_the_whole_turn() -> None:
    cancelled: list[int] = []

    @tool(examples={"x": {}})
    async def search() -> str:
        """Search."""
        return await slow(2.4, cancelled)

    parts: list[Part] = [("speech", 1), ("quiet", 2), ("speech", 1), ("quiet", 6)]
    run = asking(search, parts=parts)
    assert cancelled == [1]
    assert [turn.reply for turn in run.turns] == ["Here it is."]


def test_an_interruption_by_the_host_cancels_the_tool() -> None:
    cancelled: list[int] = []

    @tool(examples={"x": {}})
    async def search() -> str:
        """Search."""
        return await slow(5, cancelled)

    model = FakeModel(Line("what time is it", calls="search"))
    run = live.converse(
        model,
        FakeAudio(schedule(*ASK)),
        plugins=[Offers(search)],
        script=lambda agent: agent.interrupt(),
        at=3,
    )
    assert cancelled == [1]
    assert [turn.status for turn in run.turns] == [TurnStatus.INTERRUPTED]


async def test_a_tool_that_hangs_in_its_thread_is_left_behind_and_the_next_one_runs() -> None:
    goes_on = threading.Event()

    @tool(examples={"x": {}}, deadline=0.2)
    def hang() -> str:
        """Hang."""
        goes_on.wait()
        return "never"

    model = FakeModel(Line("one", calls="hang"), Line("two", calls="clock"))
    async with Agent(model, RAMMemory(), user="ada", plugins=[Offers(hang, clock)]) as agent:
        first = await agent.answer(np.zeros(16_000, np.int16))
        second = await agent.answer(np.zeros(16_000, np.int16))
    goes_on.set()
    assert first.turn.reply == "late"
    assert second.turn.reply == "It is noon."
    assert second.recollection.finding == Finding("clock", "It is noon.")


async def test_a_sync_tool_does_not_hold_up_the_event_loop() -> None:
    @tool(examples={"x": {}})
    def sleep() -> None:
        """Sleep."""
        time.sleep(0.3)

    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.02)
            ticks += 1

    model = FakeModel(Line("hi", calls="sleep"))
    async with (
        Agent(model, RAMMemory(), user="ada", plugins=[Offers(sleep)]) as agent,
        asyncio.TaskGroup() as group,
    ):
        ticking = group.create_task(tick(), name="tick")
        await agent.answer(np.zeros(16_000, np.int16))
        ticking.cancel()
    assert ticks >= 5


def test_a_model_that_cannot_choose_is_refused_at_once() -> None:
    class Talks:
        name = "talks"

    def talks() -> Any:
        return Talks()

    with pytest.raises(ConfigError, match="talks cannot use the tools"):
        Agent(talks(), RAMMemory(), user="ada", plugins=[Offers(clock)])
    Agent(talks(), RAMMemory(), user="ada", plugins=[Offers()]).close()


def test_what_tools_give_is_kept_with_the_turn_that_asked() -> None:
    run = asking(clock)
    (finished,) = run.of(TurnFinished)
    assert finished.answer.recollection.finding == Finding("clock", "It is noon.")
