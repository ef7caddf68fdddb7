from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from echat_sdk.agent import Agent, Answer
from echat_sdk.agent.events import State, StateChanged, TurnFinished
from echat_sdk.audio import AudioFrame
from echat_sdk.cues import Cue, Cues, ReplyEmotion
from echat_sdk.errors import ConfigError, GenerationError, StoreError
from echat_sdk.testing import FakeHearing, FakeModel, Line, RAMMemory
from echat_sdk.testing.audio import FakeAudio, ScriptedVAD
from echat_sdk.turn import (
    Heard,
    SafetyEvent,
    SpeechDelta,
    TextDelta,
    ThinkDelta,
    Thought,
    TurnStatus,
)

SECOND = np.zeros(16_000, np.int16)
SAD = Cues(emotion=Cue("sad", 0.9))


def agent(model: FakeModel, memory: RAMMemory | None = None, **given: object) -> Agent:
    return Agent(model, memory or RAMMemory(), user="ada", **given)  # type: ignore[arg-type]


async def test_an_answer_holds_what_was_heard_thought_said_and_spoken() -> None:
    model = FakeModel(Line("my dog died", ("Oh no.", " Your dog."), SAD))
    async with agent(model) as a:
        answer = await a.answer(SECOND)
    turn = answer.turn
    assert (turn.transcript, turn.reply, turn.think) == (
        "my dog died",
        "Oh no. Your dog.",
        "<think>fake<think end>",
    )
    assert turn.cues == SAD
    assert turn.reply_emotion is ReplyEmotion.COMFORTING
    assert turn.status is TurnStatus.COMPLETE
    assert turn.seconds == pytest.approx(1.0)
    assert len(answer.speech) == 4 * 24_000 // 20
    assert answer.turn_id


async def test_a_danger_that_the_model_saw_is_in_the_turn_that_is_kept() -> None:
    seen = SafetyEvent("self", "risk", "rules", "caring reply")

    class Sees(FakeModel):
        def read(self, text: str, cues: Cues, **given: Any) -> FakeHearing:
            hearing = super().read(text, cues, **given)
            reply = hearing.reply
            hearing.reply = lambda *a, **k: (  # type: ignore[method-assign]
                replace(d, safety=seen) if isinstance(d, Thought) else d for d in reply(*a, **k)
            )
            return hearing

    memory = RAMMemory()
    async with agent(Sees(), memory) as a:
        await a.answer_text("I want to die.")
    assert memory.recall("ada").turns[0].safety == seen


async def test_deltas_come_in_the_order_of_the_protocol_and_speech_before_the_text_ends() -> None:
    async with agent(FakeModel(Line("hi", ("One.", " Two.")))) as a:
        kinds = [type(piece) async for piece in a.stream(SECOND)]
    assert kinds == [
        Heard, ThinkDelta, Thought, TextDelta, SpeechDelta, TextDelta, SpeechDelta, Answer
    ]  # fmt: skip


async def test_a_conversation_has_one_opaque_key_and_no_two_have_the_same() -> None:
    models = [FakeModel(Line("one", ("1.",)), Line("two", ("2.",))) for _ in range(2)]
    for model in models:
        async with agent(model) as a:
            await a.answer(SECOND)
            await a.answer(SECOND)
    keys = [{r.key for r in model.recollections} for model in models]
    assert [len(k) for k in keys] == [1, 1]
    assert keys[0] != keys[1]


async def test_timings_rise_and_count_from_the_end_of_the_utterance() -> None:
    ticks = iter(range(100))
    model = FakeModel(Line("hi", ("One.",)))
    async with agent(model, clock=lambda: float(next(ticks))) as a:
        timings = (await a.answer(SECOND)).turn.timings
    times = [timings.heard, timings.think, timings.first_text, timings.first_audio, timings.done]
    assert None not in times
    assert times == sorted(times, key=float)  # type: ignore[arg-type]
    assert times[0] == 1.0


async def test_the_next_turn_is_given_the_last_one() -> None:
    model = FakeModel(Line("my dog died"), Line("it was yesterday"))
    async with agent(model) as a:
        first = await a.answer(SECOND)
        second = await a.answer(SECOND)
    assert [r.turns for r in model.recollections] == [(), (first.turn,)]
    assert second.recollection == model.recollections[1]


async def test_no_speech_is_not_answered_and_not_kept() -> None:
    model, memory = FakeModel(Line("")), RAMMemory()
    async with agent(model, memory) as a:
        answer = await a.answer(SECOND)
    assert (answer.turn.transcript, answer.turn_id, len(answer.speech)) == ("", "", 0)
    assert memory.recall("ada").turns == ()


async def test_closing_the_stream_is_an_interruption_that_keeps_what_was_given_out() -> None:
    model, memory = FakeModel(Line("hi", ("One.", " Two.", " Three."))), RAMMemory()
    a = agent(model, memory)
    async with aclosing(a.stream(SECOND)) as pieces:
        async for piece in pieces:
            if isinstance(piece, TextDelta) and "Two" in piece.text:
                break
    a.close()
    (kept,) = memory.recall("ada").turns
    assert (kept.reply, kept.status) == ("One. Two.", TurnStatus.INTERRUPTED)
    assert model.closed == 1


async def test_a_failing_model_leaves_a_failed_turn_with_the_words_that_were_heard() -> None:
    model, memory = FakeModel(Line("hi", error=GenerationError("broken"))), RAMMemory()
    a = agent(model, memory)
    with pytest.raises(GenerationError):
        await a.answer(SECOND)
    a.close()
    (kept,) = memory.recall("ada").turns
    assert (kept.transcript, kept.status) == ("hi", TurnStatus.FAILED)


async def test_nothing_is_said_when_the_words_heard_cannot_be_kept() -> None:
    def full() -> None:
        raise StoreError("disk full")

    async with agent(FakeModel(), RAMMemory(fails=full)) as a:
        pieces = a.stream(SECOND)
        with pytest.raises(StoreError):
            await anext(pieces)


async def test_the_users_words_are_durable_before_the_answer_starts() -> None:
    memory = RAMMemory()
    async with agent(FakeModel(Line("hi")), memory) as a, aclosing(a.stream(SECOND)) as pieces:
        async for piece in pieces:
            assert isinstance(piece, Heard)
            (kept,) = memory.recall("ada").turns
            assert (kept.transcript, kept.status) == ("hi", TurnStatus.OPEN)
            break


async def test_typed_words_bring_their_own_cues() -> None:
    async with agent(FakeModel(Line("")), speak=False) as a:
        answer = await a.answer_text("I got the job.", SAD)
    assert (answer.turn.transcript, answer.turn.cues) == ("I got the job.", SAD)
    assert len(answer.speech) == 0


async def test_users_do_not_see_each_others_turns() -> None:
    memory = RAMMemory()
    async with Agent(FakeModel(Line("secret")), memory, user="ada") as a:
        await a.answer(SECOND)
    model = FakeModel(Line("hello"))
    async with Agent(model, memory, user="bob") as b:
        await b.answer(SECOND)
    assert model.recollections[0].turns == ()


async def test_a_live_agent_tells_what_happens_until_it_ends() -> None:
    audio = FakeAudio(AudioFrame(np.full(320, 1000 * (n < 25), np.int16)) for n in range(100))
    async with agent(FakeModel(), audio=audio, vad=ScriptedVAD(), greeting="Hello.") as a:
        async for event in a.events():
            if isinstance(event, TurnFinished):
                a.end()
        assert a.state is State.ENDED
    assert event == StateChanged(State.ENDED)


async def test_leaving_a_live_agent_ends_it_from_any_state_and_an_error_comes_through() -> None:
    audio = FakeAudio(AudioFrame(np.full(320, 1000, np.int16)) for _ in range(1000))

    async def converse() -> None:
        async with agent(FakeModel(), audio=audio, vad=ScriptedVAD()) as a:
            async for _ in a.events():
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await converse()
    assert [t.get_name() for t in asyncio.all_tasks() if "echat" in t.get_name()] == []


async def test_an_agent_without_audio_says_that_it_cannot_converse() -> None:
    async with agent(FakeModel()) as a:
        with pytest.raises(ConfigError, match="no audio"):
            a.say("hello")
    with pytest.raises(ConfigError, match="VAD"):
        agent(FakeModel(), audio=FakeAudio())
