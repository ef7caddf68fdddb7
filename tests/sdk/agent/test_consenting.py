from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from echat_memory import GuestMemory
from echat_sdk import Agent
from echat_sdk.agent.events import Failed, HeardLate, TurnFinished, UserStopped
from echat_sdk.consent import RUN, ConsentState, Purpose
from echat_sdk.cues import Cue, Cues
from echat_sdk.errors import ConsentError, StoreError
from echat_sdk.testing import FakeHearing, FakeModel, Line
from echat_sdk.testing.audio import FakeAudio
from echat_sdk.testing.live import Conversation, Part, converse, opened, schedule
from echat_sdk.turn import Recollection, Turn, TurnStatus
from echat_sdk.turn_policy import TurnPolicy

SAD = Cues(Cue("sad", 0.9), Cue("female", 0.9))
SOUND = np.full(16_000, 500, np.int16)
LONG = " ".join(["word"] * 100)  # five seconds of the fake voice


class Sees(FakeModel):
    """Tells what its replies were made from."""

    def __init__(self) -> None:
        super().__init__(Line("my dog died", cues=SAD))
        self.seen: list[Cues] = []

    def read(self, text: str, cues: Cues, *, lang: object = "auto") -> object:  # type: ignore[override]
        self.seen.append(cues)
        return super().read(text, cues)


async def test_a_cue_that_was_not_consented_reaches_neither_reply_nor_record() -> None:
    model, memory = Sees(), GuestMemory(unasked=RUN)
    async with Agent(model, memory, user="ada") as agent:
        assert (await agent.answer(SOUND)).turn.cues == SAD
        assert model.seen == []
        memory.consent("ada", Purpose.INFER_EMOTION, ConsentState.DENIED)
        turn = (await agent.answer(SOUND)).turn
        assert turn.cues.emotion == Cue(why="not consented")
        assert turn.cues.gender == SAD.gender
        assert model.seen == [turn.cues]


async def test_who_did_not_agree_to_be_heard_is_not_but_may_type() -> None:
    async with Agent(FakeModel(), GuestMemory(), user="ada") as agent:
        with pytest.raises(ConsentError, match="nobody is listened to"):
            await agent.answer(SOUND)
        assert (await agent.answer_text("hello")).turn.transcript == "hello"


# --- live ------------------------------------------------------------------------------------

CRY = Cues(events=Cue("cry", 0.9))
ASKED: list[Part] = [
    ("speech", 1.0),
    ("quiet", 2.0),
    ("speech", 0.6),
    ("quiet", 3.0),
]  # over the answer, once


class Cries(FakeModel):
    """Answers at length, also to what it is given to read."""

    def listen(self, *, lang: object = "auto") -> FakeHearing:
        line = super().listen()._line
        return FakeHearing(self, replace(line, clauses=(LONG,)), "en")

    def read(self, text: str, cues: Cues, *, lang: object = "auto") -> FakeHearing:
        hearing = FakeHearing(self, Line(text, (LONG,)), "en")
        hearing.given(text, cues)
        return hearing


def over_the_agent(*refused: str) -> Conversation[FakeModel]:
    memory = GuestMemory(unasked=RUN)
    for purpose in refused:
        memory.consent("ada", purpose, ConsentState.DENIED)
    model = Cries(Line("tell me of whales"), Line("mm", cues=CRY), Line("and?"))
    return converse(model, FakeAudio(schedule(*ASKED)), memory=memory)


def test_who_cries_over_the_agent_stops_it_only_where_feelings_may_be_inferred() -> None:
    first, *_ = over_the_agent().of(TurnFinished)
    assert first.answer.turn.status is TurnStatus.INTERRUPTED
    (only,) = over_the_agent(Purpose.INFER_EMOTION).of(TurnFinished)
    assert only.answer.turn.status is TurnStatus.COMPLETE


def test_a_store_that_cannot_be_asked_has_nobody_judged_over_the_agent() -> None:
    class Broken(GuestMemory):
        asked = 0

        def allowed(self, user: str) -> frozenset[str]:
            self.asked += 1
            if self.asked > 1:  # from the answer on
                raise StoreError("the disk is gone")
            return super().allowed(user)

        def remember(self, user: str, turn: Turn, *, turn_id: str | None = None) -> str:
            return self._guests.add(user, turn, turn_id)

        def recall(self, user: str, *, query: str = "") -> Recollection:
            return Recollection()

    model = Cries(Line("tell me of whales"), Line("mm", cues=CRY), Line("and?"))
    audio = FakeAudio(schedule(*ASKED))
    run = converse(model, audio, memory=Broken(unasked=RUN))
    (only,) = run.of(TurnFinished)
    assert only.answer.turn.status is TurnStatus.COMPLETE
    assert any(isinstance(event.error, StoreError) for event in run.of(Failed))


async def test_what_is_known_late_is_kept_without_the_cues_that_were_refused() -> None:
    memory = GuestMemory(unasked=RUN)
    memory.consent("ada", Purpose.INFER_EMOTION, ConsentState.DENIED)
    audio = FakeAudio(schedule(("speech", 0.5), ("quiet", 2)))
    policy = TurnPolicy(reengagements=0, speculations=0)
    model, told = SlowEar(Line("my secret", cues=SAD)), []
    with opened(model, audio, memory=memory, policy=policy) as conversation:

        async def host() -> None:
            async for event in conversation.events():
                if isinstance(event, UserStopped):
                    conversation.interrupt()
                if isinstance(event, HeardLate):
                    told.append(event.heard.cues.emotion)

        async with asyncio.TaskGroup() as group:
            group.create_task(host(), name="host")
            await conversation.run()
    assert told == [Cue(why="not consented")]
    assert [turn.transcript for turn in memory.recall("ada").turns] == ["my secret"]


class SlowEar(FakeModel):
    """Takes a while of real time to know the words."""

    def listen(self, **given: Any) -> FakeHearing:
        hearing = super().listen(**given)
        known = hearing.heard
        hearing.heard = lambda: time.sleep(0.1) or known()  # type: ignore[method-assign,func-returns-value]
        return hearing


class Leaves(FakeModel):
    """Can leave cues alone, and keeps which it was told to infer."""

    def __init__(self) -> None:
        super().__init__(Line("hello"))
        self.asked: list[frozenset[str]] = []

    def listen(self, *, lang: object = "auto") -> FakeHearing:
        hearing = super().listen()
        hearing.infer_only = lambda cues: self.asked.append(frozenset(cues))  # type: ignore[attr-defined]
        return hearing


def no_feelings() -> GuestMemory:
    memory = GuestMemory(unasked=RUN)
    memory.consent("ada", Purpose.INFER_EMOTION, ConsentState.DENIED)
    return memory


async def test_a_model_that_can_leave_cues_alone_is_told_which() -> None:
    model = Leaves()
    async with Agent(model, no_feelings(), user="ada") as agent:
        await agent.answer(SOUND)
    assert set(model.asked) == {frozenset({"gender", "age"})}


def test_live_a_model_that_can_leave_cues_alone_is_told_which() -> None:
    parts: list[Part] = [("speech", 1), ("quiet", 4)]
    run = converse(Leaves(), FakeAudio(schedule(*parts)), memory=no_feelings())
    assert set(run.model.asked) == {frozenset({"gender", "age"})}
