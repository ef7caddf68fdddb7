"""A conversation ends within 3 s from any state, loses nothing, and leaves nothing behind.

In real time and with real threads: what hangs here hangs as it would for a user.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import pytest

from echat_sdk import Agent
from echat_sdk.agent.events import Aside, Event, Failed, State
from echat_sdk.audio import AudioFrame, Seconds, Waveform
from echat_sdk.errors import StoreError
from echat_sdk.testing import FakeHearing, FakeModel, Line, RAMMemory
from echat_sdk.testing.audio import FakeAudio, ScriptedVAD
from echat_sdk.testing.live import ALONE, SPEECH, Part, schedule
from echat_sdk.turn import Heard, Recollection, SpeechDelta, TextDelta, ThinkDelta, Turn
from echat_sdk.turn_policy import TurnPolicy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

WITHIN: Seconds = 3.0
LONG = " ".join(["word"] * 400)  # twenty seconds of the fake voice
HANGS: Seconds = 5.0
"""What hangs comes back after so long, so that a failure here does not hold up the next test."""


class Stuck:
    """Something that does not come back until it is let go."""

    def __init__(self) -> None:
        self._goes_on = threading.Event()
        self.is_on = False

    def __call__(self, *_: object, **__: object) -> None:
        if self.is_on:
            self._goes_on.wait(HANGS)

    def let_go(self) -> None:
        self._goes_on.set()


@dataclass
class Scene:
    """A conversation, and the moment at which it is ended.

    Attributes:
        parts: What the microphone hears, before silence.
        is_there: Whether the moment has come.
        then: Called at that moment.
        stuck: What hangs for good, in a thread of its own.
    """

    parts: tuple[Part, ...] = (("quiet", 60),)
    is_there: Callable[[Agent, list[Event]], bool] = lambda agent, events: True
    model: FakeModel = field(default_factory=lambda: FakeModel(Line("hello there", (LONG,))))
    memory: RAMMemory = field(default_factory=RAMMemory)
    make_audio: Callable[[Iterator[AudioFrame]], Any] = FakeAudio
    policy: TurnPolicy = ALONE
    greeting: str = ""
    then: Callable[[Agent], object] = lambda agent: None
    stuck: Stuck = field(default_factory=Stuck)


def is_in(state: State) -> Callable[[Agent, list[Event]], bool]:
    return lambda agent, events: agent.state is state


def has_come(kind: type[Any]) -> Callable[[Agent, list[Event]], bool]:
    return lambda agent, events: any(isinstance(event, kind) for event in events)


# --- the states -----------------------------------------------------------------------------------


class SlowThinker(FakeModel):
    """Thinks for a second before it says a word."""

    def say(self, text: str, **given: Any) -> Iterator[SpeechDelta]:
        if text == LONG:
            time.sleep(1.0)
        yield from super().say(text, **given)


class HangingModel(FakeModel):
    def __init__(self, stuck: Stuck) -> None:
        super().__init__(Line("hello there"))
        self._stuck = stuck

    def listen(self, **given: Any) -> FakeHearing:
        self._stuck()
        return super().listen(**given)


class HangingVoice(FakeModel):
    def __init__(self, stuck: Stuck) -> None:
        super().__init__(Line("hello there"))
        self._stuck = stuck

    def say(self, text: str, **given: Any) -> Iterator[SpeechDelta]:
        self._stuck()
        yield from super().say(text, **given)


class SlowRecall(RAMMemory):
    """Keeps whoever wants to remember waiting."""

    def recall(self, user: str, *, query: str = "") -> Recollection:
        time.sleep(0.7 if query else 0)
        return super().recall(user)


class HangingMemory(RAMMemory):
    """Hangs in one of its methods."""

    def __init__(self, stuck: Stuck, method: str) -> None:
        super().__init__()
        self._stuck, self._method = stuck, method

    def recall(self, user: str, *, query: str = "") -> Recollection:
        if self._method == "recall":
            self._stuck()
        return super().recall(user, query=query)

    def remember(self, user: str, turn: Turn, *, turn_id: str | None = None) -> str:
        if self._method == "remember":
            self._stuck()
        return super().remember(user, turn, turn_id=turn_id)


class DeafSpeaker(FakeAudio):
    """Takes a piece and never has room for another."""

    async def play(self, samples: Waveform) -> None:
        await asyncio.Event().wait()


class DumbMicrophone(FakeAudio):
    """Never gives a frame."""

    async def frames(self) -> AsyncIterator[AudioFrame]:
        await asyncio.Event().wait()
        yield AudioFrame(Waveform([]))  # never


class HangingDriver(FakeAudio):
    """Does not close."""

    async def close(self) -> None:
        await asyncio.sleep(HANGS)


def fails() -> None:
    raise StoreError("the store is locked")


def hanging(make: Callable[[Stuck], Any], **given: Any) -> Callable[[], Scene]:
    """A scene whose model, or memory, hangs from its first word on."""

    def scene() -> Scene:
        stuck = Stuck()
        stuck.is_on = True
        made = make(stuck)
        named = {"memory" if isinstance(made, RAMMemory) else "model": made}
        return Scene(TURN, stuck=stuck, **named, **given)

    return scene


TURN: tuple[Part, ...] = (("quiet", 0.1), ("speech", 0.6), ("quiet", 60))
OVER: tuple[Part, ...] = (("speech", 0.6), ("quiet", 1.6), ("speech", 60))
PATIENT = TurnPolicy(reengagements=0, delay=2.0)

STATES: dict[str, Callable[[], Scene]] = {
    "at once": Scene,
    "listening": lambda: Scene(is_there=is_in(State.LISTENING)),
    "hearing": lambda: Scene((("speech", 60),), is_in(State.HEARING)),
    "pausing": lambda: Scene(
        TURN, lambda agent, _: bool(agent._model.recollections), policy=PATIENT
    ),
    "thinking": lambda: Scene(
        TURN, has_come(ThinkDelta), SlowThinker(Line("hello there", (LONG,)))
    ),
    "a slow recall": lambda: Scene(TURN, has_come(Heard), memory=SlowRecall()),
    "speaking": lambda: Scene(TURN, is_in(State.SPEAKING)),
    "overlapped": lambda: Scene(
        OVER, is_in(State.OVERLAPPED), FakeModel(Line("tell me", (LONG,)), Line("no not that"))
    ),
    "muted": lambda: Scene(TURN, is_in(State.SPEAKING), then=lambda agent: agent.mute()),
    "greeting": lambda: Scene(is_there=is_in(State.SPEAKING), greeting=LONG),
    "re-engaging": lambda: Scene(
        (("quiet", 60),), is_in(State.SPEAKING), policy=TurnPolicy(reengage_after=2)
    ),
    "a typed turn": lambda: Scene(
        is_there=lambda _, events: bool(events), then=lambda agent: agent.tell("typed words")
    ),
    "a typed turn, heard": lambda: Scene(
        is_there=lambda agent, events: _acted(
            agent, events, lambda: agent.tell("typed words"), Heard
        )
    ),
    "something said by the host": lambda: Scene(
        is_there=lambda agent, events: _acted(agent, events, lambda: agent.say(LONG), Aside)
    ),
    "a typed turn in the moment of the end": lambda: Scene(
        is_there=lambda _, events: bool(events),
        then=lambda agent: (agent.end(), agent.tell("typed words")),
    ),
    "a failing store": lambda: Scene(
        TURN,
        has_come(Failed),
        memory=RAMMemory(fails=fails),
    ),
    "a hanging model": hanging(HangingModel, is_there=is_in(State.THINKING)),
    "a hanging voice": hanging(HangingVoice, is_there=is_in(State.THINKING)),
    "a hanging recall": hanging(
        lambda stuck: HangingMemory(stuck, "recall"), is_there=is_in(State.THINKING)
    ),
    "a hanging remember": hanging(
        lambda stuck: HangingMemory(stuck, "remember"),
        is_there=has_come(Heard),
    ),
    "a deaf speaker": lambda: Scene(TURN, is_in(State.SPEAKING), make_audio=DeafSpeaker),
    "a dumb microphone": lambda: Scene(make_audio=DumbMicrophone),
    "a driver that does not close": lambda: Scene(
        TURN, is_in(State.SPEAKING), make_audio=HangingDriver
    ),
}


def _acted(agent: Agent, events: list[Event], act: Callable[[], None], outcome: type[Any]) -> bool:
    """Act once the conversation has begun; then wait for what comes of it."""
    if events and agent not in _ACTED:
        _ACTED.add(agent)
        act()
    return any(isinstance(event, outcome) for event in events)


_ACTED: WeakSet[Agent] = WeakSet()


# --- the proof ------------------------------------------------------------------------------------


async def until(is_so: Callable[[], bool], within: Seconds = 10) -> None:
    """Look until it is so.

    Raises:
        TimeoutError: it was not.
    """
    deadline = time.monotonic() + within
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError
        await asyncio.sleep(0.01)


class HostError(Exception):
    """What goes wrong in the host."""


async def converse(scene: Scene, how: str) -> tuple[list[Event], Seconds]:
    """Converse until the moment has come, and end it; the events, and how long the end took."""
    events: list[Event] = []
    ended_at: Seconds = 0.0
    agent = Agent(
        scene.model,
        scene.memory,
        user="ada",
        audio=scene.make_audio(schedule(*scene.parts)),
        vad=ScriptedVAD(),
        policy=scene.policy,
        greeting=scene.greeting,
    )

    async def talk() -> None:
        nonlocal ended_at
        async with agent, asyncio.TaskGroup() as group:
            reading = group.create_task(read(), name="reader")
            await until(lambda: scene.is_there(agent, events))
            scene.then(agent)
            ended_at = time.perf_counter()
            if how == "end":
                agent.end()
                await reading
            reading.cancel()
            if how == "error":
                raise HostError

    async def read() -> None:
        async for event in agent.events():
            events.append(event)

    async with asyncio.TaskGroup() as group:
        talking = group.create_task(_suppressed(talk()), name="talk")
        if how == "cancel":
            await until(lambda: ended_at > 0)
            talking.cancel()
    took = time.perf_counter() - ended_at
    if how != "end":  # else they were read to the last
        async with asyncio.timeout(1):
            await read()
    return events, took


async def _suppressed(talk: Any) -> None:
    try:
        await talk
    except* HostError:
        pass


def threads() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name.startswith("echat-")}


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def kept(scene: Scene) -> set[str]:
    return {turn.transcript for turn in scene.memory._turns.get("ada", {}).values()}


CASES = [
    pytest.param(
        state,
        how,
        id=f"{state}-{how}",
    )
    for state in STATES
    for how in ("leave", "end", "error", "cancel")
]


@pytest.mark.parametrize(("state", "how"), CASES)
async def test_it_ends_in_time_from_any_state_and_leaves_nothing_behind(
    state: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    threads_before, handles_before = threads(), handles()
    scene = STATES[state]()
    with caplog.at_level(logging.WARNING):
        events, took = await converse(scene, how)
    assert took < WITHIN
    assert not {t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith("echat-")}
    assert handles() == handles_before

    heard = {event.transcript for event in events if isinstance(event, Heard)}
    is_told = any(isinstance(event, Failed) for event in events) or "kept" in caplog.text
    if not is_told:  # who is cancelled does not wait for what is being written
        await until(lambda: heard <= kept(scene))

    hanging = threads() - threads_before
    assert all(thread.daemon for thread in hanging)
    scene.stuck.let_go()
    await until(lambda: threads() <= threads_before)


async def test_an_answer_that_hangs_can_be_left_behind_without_a_device_too() -> None:
    stuck = Stuck()
    stuck.is_on = True
    threads_before = threads()

    async def answer() -> None:
        async with Agent(HangingModel(stuck), RAMMemory(), user="ada") as agent:
            await agent.answer(SPEECH.samples)

    async with asyncio.TaskGroup() as group:
        answering = group.create_task(answer(), name="answer")
        await until(lambda: bool(threads() - threads_before))
        await asyncio.sleep(0.1)
        begin = time.perf_counter()
        answering.cancel()
    assert time.perf_counter() - begin < WITHIN
    assert all(thread.daemon for thread in threads() - threads_before)
    stuck.let_go()
    await until(lambda: threads() <= threads_before)


def idle_agent() -> Agent:
    audio = FakeAudio(schedule(("quiet", 0.1)))
    return Agent(FakeModel(), RAMMemory(), user="ada", audio=audio, vad=ScriptedVAD())


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
async def test_the_host_may_speak_as_soon_as_the_agent_is_there() -> None:
    async with idle_agent() as agent:
        try:
            agent.say("Hello.")
        finally:
            gc.collect()
        events = [event async for event in agent.events()]
    said = [e.delta for e in events if isinstance(e, Aside) and isinstance(e.delta, TextDelta)]
    assert said == [TextDelta("Hello.")]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
async def test_what_the_host_says_after_the_end_is_passed_over() -> None:
    async with idle_agent() as agent:
        async for _ in agent.events():
            pass
        try:
            agent.say("too late")
            agent.tell("too late")
        finally:
            gc.collect()
        agent.interrupt()
        agent.mute()
        agent.end()


async def test_who_is_cancelled_while_the_agent_closes_leaves_no_thread_either() -> None:
    before = threads()
    agent = Agent(FakeModel(Line("hello")), RAMMemory(), user="ada")

    async def talk() -> None:
        async with agent:
            await agent.answer_text("hello")
            agent._mind.submit(time.sleep, 0.3)  # what closing waits for, and is cancelled at
            asyncio.get_running_loop().call_later(0.1, talking.cancel)

    async with asyncio.TaskGroup() as group:
        talking = group.create_task(talk(), name="talk")
    assert talking.cancelled()
    await until(lambda: threads() <= before)
