"""What breaks in a live conversation is said, aloud or in writing, and the next turn works."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from echat_sdk.agent.events import Aside, Event, Failed, State, StateChanged, UserStopped
from echat_sdk.agent.lines import LINES
from echat_sdk.audio import AudioFrame, Seconds, Waveform
from echat_sdk.errors import AudioDeviceError, GenerationError, StoreError
from echat_sdk.testing import FakeHearing, FakeModel, Line, RAMMemory, live
from echat_sdk.testing.audio import FakeAudio
from echat_sdk.testing.live import Part, schedule
from echat_sdk.turn import Recollection, SpeechDelta, TextDelta, Turn, TurnStatus
from echat_sdk.turn_policy import TurnPolicy

WITHIN: Seconds = 3.0
OURS = {line[lang] for line in LINES.values() for lang in line}
TWO_TURNS: tuple[Part, ...] = (("speech", 1), ("quiet", 8), ("speech", 1), ("quiet", 4))
CALM = TurnPolicy(reengagements=0)


def fallbacks(events: list[tuple[Seconds, Event]]) -> list[Seconds]:
    """How long after the end of each turn the agent said something of its own accord."""
    waits = []
    ended: Seconds | None = None
    for at, event in events:
        match event:
            case UserStopped():
                ended = at
            case Aside(TextDelta(text)) if text in OURS and ended is not None:
                waits.append(at - ended)
                ended = None
    return waits


# --- on virtual time ------------------------------------------------------------------------------


class RunsOut(FakeModel):
    """Runs out of memory once: while it listens, hears, thinks or speaks."""

    def __init__(self, where: str) -> None:
        super().__init__(Line("hello there", ("Here I am.",)))
        self._where: str | None = where

    def _at(self, where: str) -> None:
        if self._where == where:
            self._where = None
            raise MemoryError

    def listen(self, **given: Any) -> FakeHearing:
        self._at("listen")
        hearing = super().listen(**given)
        heard, push = hearing.heard, hearing.push

        def hears() -> Any:
            self._at("heard")
            return heard()

        def pushes(frame: AudioFrame) -> None:
            self._at("push")
            push(frame)

        hearing.heard, hearing.push = hears, pushes  # type: ignore[method-assign]
        return hearing

    def say(self, text: str, **given: Any) -> Iterator[SpeechDelta]:
        if text == "Here I am.":
            self._at("say")
        yield from super().say(text, **given)


@pytest.mark.parametrize("where", ["listen", "push", "heard", "say"])
def test_a_model_that_runs_out_of_memory_is_apologised_for_and_the_next_turn_works(
    where: str,
) -> None:
    policy = TurnPolicy(reengagements=0, speculations=0)
    run = live.converse(RunsOut(where), FakeAudio(schedule(*TWO_TURNS)), policy=policy)
    assert "MemoryError" in str(run.of(Failed)[0].error)
    (wait,) = fallbacks(run.events)
    assert wait < WITHIN
    assert run.turns[-1].reply == "Here I am."
    assert run.turns[-1].status is TurnStatus.COMPLETE


class Speechless(FakeModel):
    """Its voice fails, its words do not."""

    def say(self, text: str, **given: Any) -> Iterator[SpeechDelta]:
        raise GenerationError("no voice")
        yield


def test_where_every_voice_fails_the_fallback_comes_in_writing() -> None:
    run = live.converse(Speechless(), FakeAudio(schedule(*TWO_TURNS)))
    assert run.voiced() == []
    waits = fallbacks(run.events)
    assert len(waits) == 2
    assert max(waits) < WITHIN


def test_a_store_that_cannot_be_read_is_told_and_the_answer_comes_without_it() -> None:
    class Amnesia(RAMMemory):
        def recall(self, user: str, *, query: str = "") -> Recollection:
            if query:
                raise StoreError("disk error")
            return super().recall(user)

    run = live.converse(FakeModel(), FakeAudio(schedule(*TWO_TURNS)), memory=Amnesia())
    assert isinstance(run.of(Failed)[0].error, StoreError)
    assert [turn.status for turn in run.turns] == [TurnStatus.COMPLETE] * 2


def test_what_was_heard_before_the_host_cut_in_is_kept() -> None:
    model = FakeModel(Line("tell me a story", (" ".join(["word"] * 200),)))
    run = live.converse(
        model,
        FakeAudio(schedule(("speech", 1), ("quiet", 9))),
        at=4,
        script=lambda conversation: conversation.say("Please leave the building."),
    )
    (turn,) = run.turns
    assert turn.status is TurnStatus.INTERRUPTED
    assert len(turn.reply.split()) == pytest.approx((4 - 1.7) / 0.05, abs=3)


class DyingSpeaker(FakeAudio):
    """Plays for a while, and then cannot."""

    async def play(self, samples: Waveform) -> None:
        if asyncio.get_running_loop().time() > 3:
            raise AudioDeviceError("the speaker was unplugged")
        await super().play(samples)


def test_a_lost_speaker_ends_the_conversation_plainly_and_keeps_what_was_heard() -> None:
    model = FakeModel(Line("tell me a story", (" ".join(["word"] * 200),)))
    run = live.converse(model, DyingSpeaker(schedule(*TWO_TURNS)))
    assert isinstance(run.of(Failed)[0].error, AudioDeviceError)
    assert run.seconds == pytest.approx(3, abs=0.5)
    assert run.of(StateChanged)[-1].state is State.ENDED
    (turn,) = run.turns
    assert turn.status is TurnStatus.INTERRUPTED
    assert 0 < len(turn.reply.split()) < 200


class DyingMicrophone(FakeAudio):
    """Hears half a sentence."""

    async def frames(self) -> AsyncIterator[AudioFrame]:
        async for frame in super().frames():
            if asyncio.get_running_loop().time() > 0.8:
                raise AudioDeviceError("the microphone was unplugged")
            yield frame


def test_what_was_said_before_the_microphone_was_lost_is_answered_and_kept() -> None:
    run = live.converse(FakeModel(), DyingMicrophone(schedule(("speech", 10))))
    assert isinstance(run.of(Failed)[0].error, AudioDeviceError)
    assert run.seconds < WITHIN
    assert [turn.reply for turn in run.turns] == ["I hear you."]


# --- in real time: what hangs, hangs --------------------------------------------------------------

HANGS = TurnPolicy(reengagements=0, gives_up_after=3.5)


async def talk(
    model: FakeModel, memory: RAMMemory, *parts: Part, policy: TurnPolicy = HANGS
) -> list[tuple[Seconds, Event]]:
    """Converse in real time; the events, and when each came."""
    events: list[tuple[Seconds, Event]] = []
    now = asyncio.get_running_loop().time
    with live.opened(
        model, FakeAudio(schedule(*parts)), memory=memory, policy=policy
    ) as conversation:

        async def read() -> None:
            async for event in conversation.events():
                events.append((now(), event))

        async with asyncio.TaskGroup() as group:
            group.create_task(read(), name="reader")
            await conversation.run()
    return events


class Hanging(FakeModel):
    """Hangs once, at a text or when it opens an utterance."""

    def __init__(self, at: str, *lines: Line) -> None:
        super().__init__(*lines)
        self.goes_on = threading.Event()
        self._at: str | None = at

    def _hang(self, at: str) -> None:
        if self._at == at:
            self._at = None
            self.goes_on.wait(12)

    def listen(self, **given: Any) -> FakeHearing:
        self._hang("listen")
        return super().listen(**given)

    def say(self, text: str, **given: Any) -> Iterator[SpeechDelta]:
        self._hang(text)
        yield from super().say(text, **given)


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("at", ["listen", "One.", LINES["moment"]["en"]])
async def test_a_model_that_hangs_is_excused_within_three_seconds_and_the_next_turn_works(
    at: str,
) -> None:
    memory = RAMMemory()
    model = Hanging(at, Line("first", ("One.",)), Line("second", ("Two.",)))
    events = await talk(
        model, memory, ("speech", 0.6), ("quiet", 6.5), ("speech", 0.6), ("quiet", 2)
    )
    model.goes_on.set()
    assert fallbacks(events)[0] < WITHIN
    last = memory.recall("ada").turns[-1]
    assert last.status is TurnStatus.COMPLETE


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_a_model_that_hangs_within_its_answer_is_excused_within_three_seconds() -> None:
    policy = TurnPolicy(reengagements=0, gives_up_after=6)
    model = Hanging("Two.", Line("first", ("One.", "Two.")), Line("second", ("Three.",)))
    parts: tuple[Part, ...] = (("speech", 0.6), ("quiet", 6.5), ("speech", 0.6), ("quiet", 2))
    events = await talk(model, RAMMemory(), *parts, policy=policy)
    model.goes_on.set()
    assert fallbacks(events)[0] < WITHIN


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_what_was_heard_of_an_answer_that_was_given_up_is_kept() -> None:
    memory = RAMMemory()
    model = Hanging("Two.", Line("first", ("One.", "Two.")), Line("second", ("Three.",)))
    parts: tuple[Part, ...] = (("speech", 0.6), ("quiet", 6.5), ("speech", 0.6), ("quiet", 2))
    await talk(model, memory, *parts)
    model.goes_on.set()
    first, last = memory.recall("ada").turns
    assert (first.reply, first.status) == ("One.", TurnStatus.INTERRUPTED)
    assert (last.reply, last.status) == ("Three.", TurnStatus.COMPLETE)


class Locked(RAMMemory):
    """Is locked at its first use, in one method, for some seconds."""

    def __init__(self, method: str, seconds: Seconds) -> None:
        super().__init__()
        self._method: str | None = method
        self._seconds = seconds

    def _wait(self, method: str) -> None:
        if self._method == method:
            self._method = None
            time.sleep(self._seconds)

    def recall(self, user: str, *, query: str = "") -> Recollection:
        if query:
            self._wait("recall")
        return super().recall(user, query=query)

    def remember(self, user: str, turn: Turn, *, turn_id: str | None = None) -> str:
        self._wait("remember" if turn_id is None else "complete")
        return super().remember(user, turn, turn_id=turn_id)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("method", ["recall", "remember"])
@pytest.mark.parametrize(
    "seconds",
    [pytest.param(3.2, marks=pytest.mark.slow), pytest.param(5.0, marks=pytest.mark.endurance)],
)
async def test_a_locked_store_is_excused_within_three_seconds_and_the_next_turn_works(
    method: str, seconds: Seconds
) -> None:
    memory = Locked(method, seconds)
    model = FakeModel(Line("first", ("One.",)), Line("second", ("Two.",)))
    events = await talk(
        model, memory, ("speech", 0.6), ("quiet", 6.5), ("speech", 0.6), ("quiet", 2)
    )
    assert fallbacks(events)[0] < WITHIN
    last = memory.recall("ada").turns[-1]
    assert (last.transcript, last.reply, last.status) == ("second", "Two.", TurnStatus.COMPLETE)


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_a_store_that_is_locked_when_an_answer_ends_holds_up_no_turn_for_ever() -> None:
    memory = Locked("complete", 4.0)
    model = FakeModel(Line("first", ("One.",)), Line("second", ("Two.",)))
    parts: tuple[Part, ...] = (("speech", 0.6), ("quiet", 2), ("speech", 0.6), ("quiet", 5))
    await talk(model, memory, *parts, policy=CALM)
    assert [(turn.reply, turn.status) for turn in memory.recall("ada").turns] == [
        ("One.", TurnStatus.COMPLETE),
        ("Two.", TurnStatus.COMPLETE),
    ]
