"""Scripted conversations on virtual time: who speaks when, and what is heard and kept of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from echat_sdk.agent.events import Failed, State, StateChanged, TurnFinished, UserStopped
from echat_sdk.agent.lines import LINES
from echat_sdk.cues import Cues
from echat_sdk.errors import AudioDeviceError, GenerationError, StoreError
from echat_sdk.testing import FakeHearing, FakeModel, Line, RAMMemory, live
from echat_sdk.testing.audio import FakeAudio
from echat_sdk.testing.live import Conversation, Part, plain, schedule
from echat_sdk.turn import Heard, Recollection, SpeechDelta, TextDelta, Turn, TurnStatus
from echat_sdk.turn_policy import TurnPolicy

DARING = TurnPolicy(reengagements=0, speculations=0)
LONG = " ".join(["word"] * 200)  # ten seconds of the fake voice


def converse(
    *parts: Part,
    model: FakeModel | None = None,
    audio: FakeAudio | None = None,
    **given: Any,
) -> Conversation[FakeModel]:
    model = model or FakeModel(Line("hello there"))
    return live.converse(model, audio or FakeAudio(schedule(*parts)), **given)


def test_a_question_is_answered_aloud_and_kept() -> None:
    model = FakeModel(Line("how are you", ("I am fine.", " And you?")))
    run = converse(("quiet", 1), ("speech", 1), ("quiet", 4), model=model)
    (turn,) = run.turns
    assert (turn.transcript, turn.reply) == ("how are you", "I am fine. And you?")
    assert turn.status is TurnStatus.COMPLETE
    ((begin, end),) = run.voiced()
    assert begin == pytest.approx(2 + TurnPolicy().delay, abs=0.1)
    assert end - begin == pytest.approx(5 * 0.05, abs=0.05)
    assert run.of(TurnFinished)[0].answer.turn == turn


def test_what_will_be_recalled_is_made_ready_when_somebody_begins_to_speak() -> None:
    done: list[str] = []

    class Watched(RAMMemory):
        def prefetch(self, user: str) -> None:
            done.append(f"prefetch {user}")

        def recall(self, user: str, *, query: str = "") -> Recollection:
            done.append("recall")
            return super().recall(user, query=query)

    converse(("quiet", 1), ("speech", 1), ("quiet", 4), memory=Watched())
    assert done == ["prefetch ada", "recall", "recall"]  # the last one is the test's own


def test_states_follow_each_other_as_the_picture_says() -> None:
    run = converse(("quiet", 1), ("speech", 1), ("quiet", 4))
    states = [event.state for event in run.of(StateChanged)]
    assert states == [
        State.LISTENING,
        State.HEARING,
        State.THINKING,
        State.SPEAKING,
        State.LISTENING,
        State.ENDED,
    ]


def test_the_answer_begins_before_the_turn_is_sure_to_have_ended_and_is_silent_until_then() -> None:
    run = converse(("speech", 1), ("quiet", 5))
    (turn,) = run.turns
    assert turn.timings.heard == pytest.approx(TurnPolicy().soft_end, abs=0.01)
    assert turn.timings.first_audio == pytest.approx(TurnPolicy().delay, abs=0.05)
    assert len(run.model.recollections) == 1


def test_who_pauses_and_goes_on_is_heard_out_and_the_unheard_answer_is_dropped() -> None:
    model = FakeModel(Line("half a"), Line("never heard"))
    run = converse(("speech", 1), ("quiet", 0.4), ("speech", 1), ("quiet", 4), model=model)
    assert len(run.turns) == 1
    assert len(run.of(UserStopped)) == 1
    assert model.closed == 2
    assert len(run.voiced()) == 1


class Completeness:
    """A `TurnEnd` that always says the same."""

    def __init__(self, chance: float) -> None:
        self._chance = chance

    def chance(self, samples: object) -> float:
        return self._chance


def test_what_sounds_complete_is_answered_sooner_than_what_does_not() -> None:
    def answered(chance: float) -> float:
        run = converse(("speech", 1), ("quiet", 6), turn_end=Completeness(chance))
        return run.voiced()[0][0]

    assert answered(0.95) < answered(0.4) < answered(0.01)


def test_words_that_hang_in_the_air_are_waited_for_however_complete_they_sound() -> None:
    def answered(words: str, chance: float) -> float:
        model = FakeModel(Line(words, ("Yes.",)))
        parts: list[Part] = [("speech", 1), ("quiet", 6)]
        return converse(*parts, model=model, turn_end=Completeness(chance)).voiced()[0][0]

    assert answered("And then I told him that the", 0.99) > answered("I told him so.", 0.99) + 0.5
    assert answered("I told him so.", 0.01) < answered("I told him so", 0.01) - 0.3


# --- barge-in -------------------------------------------------------------------------------------


def talking_over(words: str, seconds: float, *, after: float = 2.0) -> Conversation[FakeModel]:
    model = FakeModel(Line("tell me a story", (LONG,)), Line(words, ("Sure.",)))
    return converse(
        ("speech", 1), ("quiet", 0.7 + after), ("speech", seconds), ("quiet", 15), model=model
    )


def test_a_sentence_over_the_agent_stops_it_and_is_answered() -> None:
    run = talking_over("no the other one", 1.5)
    story, second = run.turns
    assert story.status is TurnStatus.INTERRUPTED
    assert second.reply == "Sure."
    (begin, end), _ = run.voiced()
    assert end - (1 + 0.7 + 2.0) <= TurnPolicy().confirm + 0.2
    heard = round((end - begin) / 0.05)
    assert len(story.reply.split()) == pytest.approx(heard, abs=1)


def test_the_agent_is_quiet_soon_after_stop_and_stays_so() -> None:
    run = talking_over("stop", 0.4)
    assert [t.status for t in run.turns] == [TurnStatus.INTERRUPTED]
    (_, end) = run.voiced()[-1]
    assert end - (1 + 0.7 + 2.0) <= 0.6


@pytest.mark.parametrize("words", ["mm-hm", "yeah", ""])
def test_a_backchannel_or_a_noise_does_not_stop_it(words: str) -> None:
    run = talking_over(words, 0.4)
    (story,) = run.turns
    assert story.status is TurnStatus.COMPLETE
    assert story.reply == LONG


def test_the_voice_is_lowered_while_somebody_speaks_over_it() -> None:
    run = talking_over("mm-hm", 0.3)
    sound = np.abs(run.audio.recording().astype(int))
    over = round((1 + 0.7 + 2.0 + 0.25) * 24_000)
    before = sound[over - 24_000 : over - 12_000].max()
    assert sound[over : over + 1200].max() < before * 0.35


def test_the_next_answer_knows_what_was_heard_of_the_last() -> None:
    run = talking_over("no the other one", 1.5)
    (past,) = run.model.recollections[-1].turns[:1]
    assert past.status is TurnStatus.INTERRUPTED
    assert 0 < len(past.reply) < len(LONG)


# --- the host -------------------------------------------------------------------------------------


def test_the_host_can_greet_say_tell_and_end() -> None:
    run = converse(
        ("quiet", 30), greeting="Hello you.", at=2, script=lambda live: live.tell("typed words")
    )
    assert run.turns[0].transcript == "hello there" or run.turns[0].transcript == "typed words"
    assert len(run.voiced()) >= 2
    ended = converse(("quiet", 30), at=3, script=lambda live: live.end())
    assert ended.seconds == pytest.approx(3, abs=0.3)


def test_who_speaks_before_a_typed_turn_is_answered_begins_a_turn_of_their_own() -> None:
    class Slow(FakeModel):
        def read(self, text: str, *given: Any, **more: Any) -> FakeHearing:
            hearing = super().read(text, *given, **more)
            hearing.heard = lambda: time.sleep(0.2) or Heard("typed words", "en", Cues())  # type: ignore[method-assign,func-returns-value,return-value]
            return hearing

    model = Slow(Line("typed words", ("Read.",)), Line("spoken words", ("Heard.",)))
    run = converse(
        ("quiet", 2.0), ("speech", 1), ("quiet", 4),
        model=model, at=1.95, script=lambda agent: agent.tell("typed words"),
    )  # fmt: skip
    assert run.turns[-1].transcript == "spoken words"
    assert run.turns[-1].reply == "Heard."
    assert all("spoken" not in turn.transcript for turn in run.turns[:-1])


def test_who_speaks_after_an_interruption_by_the_host_begins_a_new_turn() -> None:
    model = FakeModel(Line("one", (LONG,)), Line("two", ("Second.",)))
    run = converse(
        ("speech", 1), ("quiet", 3), ("speech", 1), ("quiet", 4),
        model=model, at=3, script=lambda agent: agent.interrupt(),
    )  # fmt: skip
    assert [turn.transcript for turn in run.turns] == ["one", "two"]
    assert [turn.status for turn in run.turns] == [TurnStatus.INTERRUPTED, TurnStatus.COMPLETE]


class SlowEar(FakeModel):
    """Takes a while of real time to know the words."""

    def listen(self, **given: Any) -> FakeHearing:
        hearing = super().listen(**given)
        known = hearing.heard
        hearing.heard = lambda: time.sleep(0.1) or known()  # type: ignore[method-assign,func-returns-value]
        return hearing


@pytest.mark.parametrize("how", ["end", "interrupt", "tell"])
async def test_what_was_said_is_kept_though_the_host_cuts_in_before_its_words_are_known(
    how: str,
) -> None:
    model, memory = SlowEar(Line("my secret", ("Yes.",))), RAMMemory()
    audio = FakeAudio(schedule(("speech", 0.5), ("quiet", 2)))
    with live.opened(model, audio, memory=memory, policy=DARING) as conversation:

        async def host() -> None:
            async for event in conversation.events():
                if isinstance(event, UserStopped):
                    acts = {"tell": lambda: conversation.tell("typed"), "end": conversation.end}
                    acts.get(how, conversation.interrupt)()

        async with asyncio.TaskGroup() as group:
            group.create_task(host(), name="host")
            await conversation.run()
    turns = [t for t in memory.recall("ada").turns if t.transcript == "my secret"]
    assert [turn.status for turn in turns] == [TurnStatus.INTERRUPTED]


def test_who_is_speaking_when_the_host_ends_is_kept_as_far_as_they_were_heard() -> None:
    run = converse(("quiet", 0.5), ("speech", 5), at=2, script=lambda agent: agent.end())
    assert [turn.transcript for turn in run.turns] == ["hello there"]
    assert [turn.status for turn in run.turns] == [TurnStatus.INTERRUPTED]


async def test_a_turn_that_is_being_written_when_it_is_cut_is_kept_once() -> None:
    class Slow(RAMMemory):
        def remember(self, user: str, turn: Turn, *, turn_id: str | None = None) -> str:
            time.sleep(0.1)
            return super().remember(user, turn, turn_id=turn_id)

    memory = Slow()
    audio = FakeAudio(schedule(("speech", 0.5), ("quiet", 2)))
    with live.opened(FakeModel(Line("once")), audio, memory=memory) as conversation:

        async def host() -> None:
            async for event in conversation.events():
                if isinstance(event, Heard):
                    await asyncio.sleep(0.03)
                    conversation.end()

        async with asyncio.TaskGroup() as group:
            group.create_task(host(), name="host")
            await conversation.run()
    turns = memory.recall("ada").turns
    assert [(turn.transcript, turn.status) for turn in turns] == [("once", TurnStatus.INTERRUPTED)]


def test_answers_that_were_begun_and_dropped_are_counted() -> None:
    run = converse(("speech", 1), ("quiet", 0.4), ("speech", 1), ("quiet", 4))
    assert [event.dropped for event in run.of(UserStopped)] == [1]
    assert [event.dropped for event in converse(("speech", 1), ("quiet", 4)).of(UserStopped)] == [0]


def test_a_muted_agent_hears_nothing() -> None:
    run = converse(("quiet", 1), ("speech", 2), ("quiet", 3), at=0.5, script=lambda a: a.mute())
    assert run.turns == ()


def test_a_farewell_is_answered_and_ends_the_conversation() -> None:
    model = FakeModel(Line("okay, goodbye!", ("Bye, take care.",)))
    run = converse(("speech", 1), ("quiet", 60), model=model)
    assert run.turns[0].reply == "Bye, take care."
    assert run.seconds < 5


def test_a_silent_user_is_asked_twice_and_then_left_in_peace() -> None:
    run = converse(("quiet", 120), policy=TurnPolicy())
    assert len(run.voiced()) == 2


# --- never stuck ----------------------------------------------------------------------------------


def test_a_model_that_fails_is_apologised_for_and_the_next_turn_works() -> None:
    model = FakeModel(Line("boom", error=GenerationError("lost")), Line("again", ("Here I am.",)))
    run = converse(
        ("speech", 1), ("quiet", 6), ("speech", 1), ("quiet", 4), model=model, policy=DARING
    )
    assert [t.status for t in run.turns] == [TurnStatus.FAILED, TurnStatus.COMPLETE]
    assert isinstance(run.of(Failed)[0].error, GenerationError)
    assert len(run.voiced()) >= 2


def test_an_unheard_answer_that_fails_is_tried_again_and_nobody_notices() -> None:
    class FailsOnce(FakeModel):
        def say(self, text: str, **given: Any) -> Iterator[SpeechDelta]:
            if text == "Here I am." and len(self.recollections) == 1:
                raise GenerationError("lost")
            yield from super().say(text, **given)

    run = converse(("speech", 1), ("quiet", 6), model=FailsOnce(Line("hi", ("Here I am.",))))
    assert [t.reply for t in run.turns] == ["Here I am."]
    assert run.of(Failed) == []


def test_an_error_that_is_nobodys_becomes_ours_without_its_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = FakeModel(Line("boom", error=ZeroDivisionError("about ada")))
    run = converse(("speech", 1), ("quiet", 6), model=model, policy=DARING)
    assert "ZeroDivisionError" in str(run.of(Failed)[0].error)
    assert "ada" not in caplog.text + str(run.of(Failed)[0].error)


class Failing(RAMMemory):
    """A store that fails for some writes, and then works again."""

    def __init__(self, writes: int) -> None:
        self.left = writes
        super().__init__(fails=self._fail)

    def _fail(self) -> None:
        if self.left:
            self.left -= 1
            raise StoreError("locked")


def test_a_conversation_goes_on_while_the_store_fails_and_all_of_it_is_kept_later() -> None:
    model = FakeModel(Line("one", ("First.",)), Line("two", ("Second.",)), Line("3", ("Third.",)))
    turns: list[Part] = [("speech", 1), ("quiet", 4)]
    run = converse(*turns * 3, model=model, memory=Failing(3))
    assert [turn.reply for turn in run.turns] == ["First.", "Second.", "Third."]
    assert all(isinstance(event.error, StoreError) for event in run.of(Failed))
    assert run.of(Failed), "the host is told"
    second = run.model.recollections[1]
    assert [turn.reply for turn in second.turns] == ["First."], "what waits is remembered"


def test_a_store_that_never_works_again_loses_the_turns_and_nothing_else() -> None:
    run = converse(*[("speech", 1), ("quiet", 4)] * 2, memory=Failing(10_000))  # type: ignore[arg-type]
    assert run.turns == ()
    assert len(run.of(TurnFinished)) == 2
    assert len(run.voiced()) == 2


def test_an_answer_that_a_locked_store_refused_is_kept_later() -> None:
    class Refuses(RAMMemory):
        """Refuses to complete the first turn, once."""

        times = 1

        def remember(self, user: str, turn: Turn, *, turn_id: str | None = None) -> str:
            if turn_id is not None and self.times:
                self.times -= 1
                raise StoreError("locked")
            return super().remember(user, turn, turn_id=turn_id)

    for parts in ([("speech", 1), ("quiet", 4)], [("speech", 1), ("quiet", 4)] * 2):
        run = converse(*parts, memory=Refuses())  # type: ignore[arg-type]
        assert [turn.status for turn in run.turns] == [TurnStatus.COMPLETE] * (len(parts) // 2)


def test_a_lost_microphone_ends_the_conversation_plainly() -> None:
    audio = FakeAudio(schedule(("speech", 10)), lost_at=2)
    run = converse(audio=audio)
    assert isinstance(run.of(Failed)[0].error, AudioDeviceError)
    assert run.seconds < 5


def test_nothing_is_left_when_a_conversation_has_ended() -> None:
    before = threading.active_count()
    for _ in range(5):
        converse(("speech", 1), ("quiet", 3))
    for _ in range(200):  # a thread that was told to end may need a moment on a busy machine
        if threading.active_count() <= before:
            return
        time.sleep(0.02)
    raise AssertionError([thread.name for thread in threading.enumerate()])


class Hanging(FakeModel):
    """Hangs when it opens its first utterance, until it is told to go on."""

    def __init__(self, goes_on: threading.Event) -> None:
        super().__init__(Line("heard", ("Here I am.",)))
        self._goes_on = goes_on
        self._is_first = True

    def listen(self, **given: Any) -> FakeHearing:
        if self._is_first:
            self._is_first = False
            self._goes_on.wait()
        return super().listen(**given)


async def test_a_model_that_hangs_is_left_behind_and_the_next_turn_works() -> None:
    goes_on = threading.Event()
    model, memory = Hanging(goes_on), RAMMemory()
    policy = TurnPolicy(reengagements=0, hangs_after=0.9, gives_up_after=1.5)
    audio = FakeAudio(schedule(("speech", 0.5), ("quiet", 3), ("speech", 0.5), ("quiet", 1.5)))
    with live.opened(model, audio, memory=memory, policy=policy) as conversation:
        await conversation.run()
    goes_on.set()
    events = [event async for event in conversation.events()]
    (failed,) = (e for e in events if isinstance(e, Failed))
    assert "no answer came" in str(failed.error)
    said = [e.text for each in events if isinstance(e := plain(each), TextDelta)]
    assert said[:2] == [LINES["moment"]["en"], LINES["sorry"]["en"]]
    assert [turn.reply for turn in memory.recall("ada").turns] == ["Here I am."]


class SlowAtFirst(FakeModel):
    """Takes a second and a half of real time for the first words that it ever says."""

    def say(self, text: str, **given: Any) -> Iterator[SpeechDelta]:
        if text.startswith("Too late"):
            time.sleep(1.5)
        yield from super().say(text, **given)


async def test_who_goes_on_before_a_word_was_heard_is_heard_out_in_the_same_turn() -> None:
    model, memory = SlowAtFirst(Line("one thing", ("Too late.", " Yes."))), RAMMemory()
    schedule_ = schedule(("speech", 0.5), ("quiet", 1.0), ("speech", 0.5), ("quiet", 3.0))
    with live.opened(model, FakeAudio(schedule_), memory=memory) as conversation:
        await conversation.run()
    events = [event async for event in conversation.events()]
    assert sum(isinstance(event, UserStopped) for event in events) == 2
    (turn,) = memory.recall("ada").turns
    assert turn.status is TurnStatus.COMPLETE
    assert [e.answer.turn for e in events if isinstance(e, TurnFinished)] == [turn]


async def test_a_store_that_is_locked_is_said_aloud_and_the_answer_comes_when_it_is_free() -> None:
    locked = [1.5]
    memory = RAMMemory(fails=lambda: time.sleep(locked.pop() if locked else 0))
    policy = TurnPolicy(reengagements=0, hangs_after=0.5)
    audio = FakeAudio(schedule(("speech", 0.5), ("quiet", 4)))
    with live.opened(FakeModel(), audio, memory=memory, policy=policy) as conversation:
        await conversation.run()
    events = [plain(each) async for each in conversation.events()]
    said = [e.text for e in events if isinstance(e, TextDelta)]
    assert said == [LINES["moment"]["en"], "I hear you."]
    assert [turn.status for turn in memory.recall("ada").turns] == [TurnStatus.COMPLETE]
