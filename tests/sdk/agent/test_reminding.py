"""A long conversation is told again what it is: once it is due, before the next answer, whole."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from typing import Any

import pytest

from echat_memory import GuestMemory
from echat_sdk.agent import Agent
from echat_sdk.agent.events import TurnFinished
from echat_sdk.agent.rights import Manner
from echat_sdk.audio import Seconds
from echat_sdk.consent import RUN, ConsentState, Purpose
from echat_sdk.disclosure import EVERY, configured
from echat_sdk.testing import FakeModel, Line, RAMMemory, virtual_time
from echat_sdk.testing.audio import FakeAudio, ScriptedVAD
from echat_sdk.testing.live import ALONE, Part, plain, schedule
from echat_sdk.turn import Lang, SpeechDelta, TextDelta, TurnStatus

AI = "I am an AI, not a person."


class Says(FakeModel):
    """Answers a typed or spoken turn with its number; takes half a second for a word of ours."""

    def say(self, text: str, **given: Any) -> Iterator[SpeechDelta]:
        return super().say(" ".join([text] * 5), **given)


def talk(*parts: Part, manner: Manner, memory: Any = None) -> list[tuple[Seconds, Any]]:
    """The events of a conversation and when they came."""
    events: list[tuple[Seconds, Any]] = []

    async def main() -> None:
        model = Says(Line("one", ("1.",)), Line("two", ("2.",)), Line("three", ("3.",)))
        conversation = Agent(
            model,
            memory or RAMMemory(),
            user="ada",
            lang="en",
            audio=FakeAudio(schedule(*parts)),
            vad=ScriptedVAD(),
            policy=ALONE,
            manner=manner,
        )
        async with conversation as talking:
            now = asyncio.get_running_loop().time
            async for event in talking.events():
                events.append((now(), event))

    virtual_time.run(main())
    return events


def told(lang: Lang, allowed: Collection[str]) -> str:
    return configured("auto", "service", lang, allowed)


def words(events: list[tuple[Seconds, Any]]) -> list[str]:
    return [said.text for _, event in events if isinstance(said := plain(event), TextDelta)]


def turns(events: list[tuple[Seconds, Any]]) -> list[Any]:
    return [event.answer.turn for _, event in events if isinstance(event, TurnFinished)]


TURN: tuple[Part, ...] = (("speech", 1), ("quiet", 9))


def test_it_is_told_before_the_next_answer_once_it_is_due_and_not_again_at_once() -> None:
    parts: list[Part] = [*TURN, ("quiet", 60), *TURN, *TURN]
    events = talk(*parts, manner=Manner(disclosure=told, remind_every=60))
    assert [said[: len(AI)] for said in words(events)] == ["1.", AI, "2.", "3."]
    assert [turn.reply for turn in turns(events)] == ["1.", "2.", "3."]  # it is no part of a turn


def test_a_conversation_of_less_is_not_told_again() -> None:
    events = talk(*TURN, *TURN, manner=Manner(disclosure=told, remind_every=60))
    assert words(events) == ["1.", "2."]


def test_by_default_it_is_due_every_three_hours_and_only_where_something_is_disclosed() -> None:
    assert Manner().remind_every == EVERY == 3 * 3600
    events = talk(*TURN, ("quiet", 60), *TURN, manner=Manner(remind_every=60))
    assert words(events) == ["1.", "2."]
    private = Manner(
        disclosure=lambda lang, allowed: configured("auto", "private", lang, allowed),
        remind_every=60,
    )
    events = talk(*TURN, ("quiet", 60), *TURN, manner=private)
    assert words(events) == ["1.", "2."]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_after_three_hours_it_is_told() -> None:
    events = talk(*TURN, ("quiet", EVERY), *TURN, manner=Manner(disclosure=told))
    assert [said[: len(AI)] for said in words(events)] == ["1.", AI, "2."]


def test_it_tells_what_is_inferred_by_then() -> None:
    memory = GuestMemory(unasked=RUN)
    memory.consent("ada", Purpose.INFER_EMOTION, ConsentState.DENIED)
    manner = Manner(disclosure=told, remind_every=5)
    events = talk(*TURN, *TURN, manner=manner, memory=memory)
    (reminder,) = [said for said in words(events) if said.startswith(AI)]
    assert "your gender" in reminder
    assert "how you feel" not in reminder


def test_it_is_said_aloud_before_the_answer_is() -> None:
    events = talk(*TURN, *TURN, manner=Manner(disclosure=told, remind_every=5))
    spoken = [(at, e) for at, each in events if isinstance(e := plain(each), SpeechDelta)]
    at_reminder, at_answer = (
        next(at for at, e in spoken if e.text.startswith(start)) for start in (AI, "2.")
    )
    length = next(len(e.samples) / e.sample_rate for _, e in spoken if e.text.startswith(AI))
    assert at_answer - at_reminder >= length - 0.2


def test_who_cuts_it_off_is_told_before_the_next_answer() -> None:
    parts: list[Part] = [*TURN, ("speech", 1), ("quiet", 2), ("speech", 3), ("quiet", 20)]
    events = talk(*parts, manner=Manner(disclosure=told, remind_every=5))
    assert sum(said.startswith(AI) for said in words(events)) == 2
    cut = next(turn for turn in turns(events) if turn.status is TurnStatus.INTERRUPTED)
    assert cut.reply == ""  # of the answer itself nothing was heard
    assert turns(events)[-1].reply == "3."
