"""How somebody pauses is learnt in one conversation and known in the next."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echat_memory import SQLMemory
from echat_sdk.agent.ear import Ear
from echat_sdk.agent.events import Failed, TurnFinished, UserStarted, UserStopped
from echat_sdk.agent.live import Live
from echat_sdk.agent.patience import Patience
from echat_sdk.audio import Seconds
from echat_sdk.bridge import Worker
from echat_sdk.consent import REMEMBERED
from echat_sdk.cues import Cue, Cues
from echat_sdk.errors import StoreError
from echat_sdk.pause_profile import PauseProfile
from echat_sdk.protocols import Memory
from echat_sdk.testing import FakeModel, Line, RAMMemory, live
from echat_sdk.testing.audio import FakeAudio
from echat_sdk.testing.live import Conversation, Part, schedule
from echat_sdk.turn import Recollection, SpeechDelta, Turn, TurnStatus
from echat_sdk.turn_detector import TurnDetector
from echat_sdk.turn_policy import TurnPolicy

USUAL = TurnPolicy().delay
LONG = " ".join(["word"] * 200)  # ten seconds of the fake voice
SLOW: list[Part] = [("speech", 0.5), ("quiet", 0.65)] * 8 + [("speech", 0.5), ("quiet", 6)]
"""One turn with eight pauses, and time for an answer."""
PLAIN: list[Part] = [("speech", 1), ("quiet", 4)]


class Completeness:
    """A `TurnEnd` that always says the same."""

    def __init__(self, chance: float) -> None:
        self._chance = chance

    def chance(self, samples: object) -> float:
        return self._chance


UNFINISHED = Completeness(0.0)


@pytest.fixture(params=["ram", "sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Memory]:
    opened: Memory
    match request.param:
        case "ram":
            opened = RAMMemory()
        case "sqlite":
            opened = SQLMemory(tmp_path / "m.db", unasked=REMEMBERED)
        case _:
            opened = SQLMemory(request.getfixturevalue("postgres_store"), unasked=REMEMBERED)
    yield opened
    opened.close()


def converse(
    *parts: Part, memory: Memory, lines: list[Line] | None = None, **given: Any
) -> Conversation[FakeModel]:
    model = FakeModel(*(lines or [Line("hello there")]))
    return live.converse(model, FakeAudio(schedule(*parts)), memory=memory, **given)


def waited(run: Conversation[FakeModel]) -> Seconds:
    """For how long the first turn was waited for."""
    return run.of(UserStopped)[0].pause


# --- from one conversation to the next ------------------------------------------------------------


def test_a_slow_speaker_is_waited_for_longer_from_the_first_turn_of_the_next_conversation(
    memory: Memory,
) -> None:
    first = converse(*SLOW, memory=memory, turn_end=UNFINISHED)
    assert len(first.turns) == 1
    assert memory.pauses("ada").mean == pytest.approx(0.65, abs=0.03)
    assert memory.pauses("ada").count == 8
    again = waited(converse(*PLAIN, memory=memory))
    assert again == pytest.approx(USUAL * memory.pauses("ada").patience(TurnPolicy()), abs=0.02)
    assert again >= USUAL + 0.08
    assert waited(converse(*PLAIN, memory=memory, user="bob")) == pytest.approx(USUAL)


def test_who_was_erased_is_waited_for_as_if_never_met(tmp_path: Path) -> None:
    with closing(SQLMemory(tmp_path / "m.db", unasked=REMEMBERED)) as memory:
        converse(*SLOW, memory=memory, turn_end=UNFINISHED)
        memory.erase("ada")
        assert memory.pauses("ada") == PauseProfile()
        assert waited(converse(*PLAIN, memory=memory)) == pytest.approx(USUAL)


def test_who_hardly_pauses_is_not_hurried(memory: Memory) -> None:
    quick: list[Part] = [("speech", 0.4), ("quiet", 0.2)] * 20
    converse(*quick, *PLAIN, memory=memory)
    assert memory.pauses("ada").count == 20
    assert waited(converse(*PLAIN, memory=memory)) == pytest.approx(USUAL)


def test_how_somebody_sounds_and_how_they_pause_do_not_add_up_beyond_the_bound(
    memory: Memory,
) -> None:
    memory.remember("ada", Turn("hello"))
    memory.keep_pauses("ada", PauseProfile(mean=3, count=40))
    policy = TurnPolicy(reengagements=0, most_patience=1.2)
    sad = [Line("hello", cues=Cues(Cue("sad", 0.9)))]
    run = converse(*PLAIN, *PLAIN, memory=memory, lines=sad, policy=policy)
    assert [e.pause for e in run.of(UserStopped)] == [pytest.approx(USUAL * 1.2, abs=0.02)] * 2


# --- what teaches, and what does not --------------------------------------------------------------

PAUSING: list[Part] = [("speech", 0.5), ("quiet", 0.4)] * 3 + [("speech", 0.5)]


def learnt(*parts: Part, lines: list[Line] | None = None, **given: Any) -> PauseProfile:
    memory = RAMMemory()
    memory.remember("ada", Turn("before"))
    converse(*parts, memory=memory, lines=lines, **given)
    return memory.pauses("ada")


def test_each_pause_after_which_the_turn_went_on_teaches() -> None:
    profile = learnt(*PAUSING, ("quiet", 4))
    assert (profile.mean, profile.count) == (pytest.approx(0.4, abs=0.03), 3)


def test_a_turn_teaches_as_much_where_no_answer_is_begun_unheard() -> None:
    policy = TurnPolicy(reengagements=0, speculations=0)
    assert learnt(*PAUSING, ("quiet", 4), policy=policy).count == 3


def test_the_gap_between_two_turns_teaches_nothing() -> None:
    assert learnt(*PLAIN, *PLAIN) == PauseProfile()


ECHO = "word word word word word"


@pytest.mark.parametrize(
    ("words", "bursts", "ends"),
    [
        ("no the other one", [0.2, 0.2, 0.2], TurnStatus.INTERRUPTED),
        ("no the other one", [0.5, 0.5, 0.5], TurnStatus.INTERRUPTED),
        ("no the other one", [1.2, 1.2, 1.2], TurnStatus.INTERRUPTED),
        ("stop", [0.4], TurnStatus.INTERRUPTED),
        ("mm-hm", [0.3, 0.3], TurnStatus.COMPLETE),
        (ECHO, [0.2, 0.2, 0.2], TurnStatus.COMPLETE),
        (ECHO, [0.5, 0.5, 0.5], TurnStatus.COMPLETE),
        (ECHO, [1.2, 1.2], TurnStatus.COMPLETE),
    ],
)
def test_what_is_heard_over_the_agent_teaches_nothing(
    words: str, bursts: list[Seconds], ends: TurnStatus
) -> None:
    lines = [Line("tell me a story", (LONG,)), Line(words, ("Sure.",))]
    over: list[Part] = []
    for burst in bursts:
        over += [("speech", burst), ("quiet", 0.4)]
    memory = RAMMemory()
    run = converse(("speech", 1), ("quiet", 2.5), *over, ("quiet", 15), memory=memory, lines=lines)
    assert run.turns[0].status is ends
    assert memory.pauses("ada") == PauseProfile()


def test_noise_with_gaps_teaches_nothing() -> None:
    assert learnt(*PAUSING, ("quiet", 4), lines=[Line("")]) == PauseProfile()


def test_a_turn_that_was_muted_away_teaches_nothing() -> None:
    def mute(live: Live) -> None:
        live.mute()
        asyncio.get_running_loop().call_later(0.3, live.mute, False)

    parts = [*PAUSING, ("quiet", 0.4), ("speech", 1), ("quiet", 4)]
    assert learnt(*parts, at=3.1, script=mute) == PauseProfile()
    assert learnt(*parts).count == 4


def test_a_typed_turn_teaches_nothing_and_takes_the_place_of_one_that_was_spoken() -> None:
    parts = [*PAUSING, ("quiet", 4)]
    assert learnt(*parts, at=3.1, script=lambda live: live.tell("typed")) == PauseProfile()


def test_pauses_while_a_line_of_the_hosts_is_heard_teach_nothing() -> None:
    parts = [*PAUSING, ("quiet", 12)]
    assert learnt(*parts, at=0.3, script=lambda live: live.say(LONG)) == PauseProfile()


class SlowAtFirst(FakeModel):
    """Takes most of a second of real time for the first words that it ever says."""

    def say(self, text: str, **given: Any) -> Iterator[SpeechDelta]:
        if text.startswith("Too late"):
            time.sleep(0.9)
        yield from super().say(text, **given)


def mute_for_a_moment(live: Live) -> None:
    live.mute()
    live.mute(False)


SOON = TurnPolicy(reengagements=0, min_delay=0.2, delay=0.3)
CUT_OFF: list[Part] = [("speech", 0.3), ("quiet", 0.5), ("speech", 0.3), ("quiet", 0.7)]


@pytest.mark.parametrize(("host", "count"), [(lambda _: None, 1), (mute_for_a_moment, 0)])
async def test_who_was_cut_off_before_a_word_was_heard_and_went_on_had_paused_unless_muted(
    host: Callable[[Live], object], count: int
) -> None:
    model, memory = SlowAtFirst(Line("one thing", ("Too late.", " Yes."))), RAMMemory()
    with live.opened(
        model, FakeAudio(schedule(*CUT_OFF)), memory=memory, policy=SOON
    ) as conversation:
        async with asyncio.TaskGroup() as group:
            group.create_task(conversation.run(), name="conversation")
            async for event in conversation.events():
                if isinstance(event, UserStopped):
                    host(conversation)
    assert len(memory.recall("ada").turns) == 1
    assert memory.pauses("ada").count == count


async def test_who_speaks_before_a_typed_turn_was_answered_has_not_paused() -> None:
    model, memory = SlowAtFirst(Line("hello", ("Hi.",)), Line("typed", ("Too late.",))), RAMMemory()
    with live.opened(
        model, FakeAudio(schedule(*CUT_OFF)), memory=memory, policy=SOON
    ) as conversation:
        async with asyncio.TaskGroup() as group:
            group.create_task(conversation.run(), name="conversation")
            async for event in conversation.events():
                if isinstance(event, TurnFinished) and event.answer.turn.reply == "Hi.":
                    conversation.tell("typed")
    assert [turn.status for turn in memory.recall("ada").turns] == [
        TurnStatus.COMPLETE,
        TurnStatus.INTERRUPTED,  # as typed
        TurnStatus.COMPLETE,  # as spoken
    ]
    assert memory.pauses("ada") == PauseProfile()


# --- the memory is never waited for ---------------------------------------------------------------


class Written(RAMMemory):
    """Writes down what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def recall(self, user: str, *, query: str = "") -> Recollection:
        self.calls.append("recall")
        return super().recall(user, query=query)

    def remember(self, user: str, turn: Turn, *, turn_id: str | None = None) -> str:
        self.calls.append(turn.status.value)
        return super().remember(user, turn, turn_id=turn_id)

    def pauses(self, user: str) -> PauseProfile:
        self.calls.append("pauses")
        return super().pauses(user)

    def keep_pauses(self, user: str, profile: PauseProfile) -> None:
        self.calls.append("keep")
        super().keep_pauses(user, profile)


def test_a_turn_asks_nothing_more_of_the_memory_and_what_was_learnt_is_written_behind_it() -> None:
    memory = Written()
    converse(*PLAIN, *PAUSING, *PLAIN[1:], *PLAIN, memory=memory)
    without_speculation = [call for call in memory.calls[:-1] if call != "recall"]
    assert memory.calls[-1] == "recall"  # the test's own
    assert without_speculation == [
        "pauses",  # at the start
        *("open", "complete"),
        *("open", "complete", "pauses", "keep"),  # the turn that taught
        *("open", "complete"),
    ]


def test_an_interrupted_answer_does_not_lose_what_its_turn_taught() -> None:
    memory = RAMMemory()
    lines = [Line("tell me a story", (LONG,)), Line("no the other one", ("Sure.",))]
    over: list[Part] = [("quiet", 2), ("speech", 1.5), ("quiet", 4)]
    run = converse(*PAUSING, *over, memory=memory, lines=lines)
    assert [turn.status for turn in run.turns] == [TurnStatus.INTERRUPTED, TurnStatus.COMPLETE]
    assert memory.pauses("ada").count == 3


def test_a_conversation_that_is_ended_in_an_answer_keeps_what_its_turn_taught() -> None:
    profile = learnt(
        *PAUSING, ("quiet", 9), lines=[Line("x", (LONG,))], at=6, script=lambda live: live.end()
    )
    assert profile.count == 3


class Refuses(RAMMemory):
    """A memory that cannot tell how anybody pauses, though it could keep it."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def pauses(self, user: str) -> PauseProfile:
        raise self._error


@pytest.mark.parametrize("error", [StoreError("locked"), ZeroDivisionError("about ada")])
def test_a_memory_that_cannot_tell_is_told_of_and_the_conversation_goes_on(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    run = converse(*PLAIN, memory=Refuses(error))
    (failed,) = run.of(Failed)
    assert isinstance(failed.error, StoreError)
    assert "ada" not in caplog.text + str(failed.error)
    assert waited(run) == pytest.approx(USUAL)
    assert [event.answer.turn.status for event in run.of(TurnFinished)] == [TurnStatus.COMPLETE]


async def test_nobody_waits_for_a_memory_that_hangs_at_the_start() -> None:
    was_heard = threading.Event()

    class Hangs(RAMMemory):
        def pauses(self, user: str) -> PauseProfile:
            assert was_heard.wait(10)
            return PauseProfile(mean=3, count=40)

    with live.opened(
        FakeModel(), FakeAudio(schedule(("speech", 0.5), ("quiet", 1))), memory=Hangs()
    ) as conversation:
        async with asyncio.TaskGroup() as group:
            group.create_task(conversation.run(), name="conversation")
            async for event in conversation.events():
                if isinstance(event, UserStarted):
                    was_heard.set()


# --- by itself ------------------------------------------------------------------------------------

Step = Callable[[Patience], object]


def ear(turn_id: str = "1", *, is_over_agent: bool = False) -> Ear:
    """An utterance whose turn is kept."""
    heard = Ear(lambda: FakeModel().listen(), Worker("unused"))
    heard.turn_id, heard.is_over_agent = turn_id, is_over_agent
    return heard


async def after(memory: Memory, *steps: Step) -> TurnDetector:
    """The detector once a conversation has taken these steps and has ended."""
    detector, store = TurnDetector(), Worker("echat-memory")
    patience = Patience(memory, store, "ada", detector, lambda event: None)
    await patience.load()
    for step in steps:
        step(patience)
        await store.call(lambda: None)
    patience.close()
    store.close()
    return detector


def turn_with(*pauses: Seconds) -> Step:
    def step(patience: Patience) -> None:
        patience.begin(ear())
        for pause in pauses:
            patience.paused(pause)
        patience.over(Cues())

    return step


@pytest.fixture
def known() -> RAMMemory:
    memory = RAMMemory()
    memory.remember("ada", Turn("hello"))
    return memory


@pytest.mark.parametrize(
    ("gap", "learns"), [(0.02, 0), (0.8, 1), (2.0, 1), (2.2, 0), (60, 0), (-1, 0)]
)
async def test_a_turn_that_was_cut_off_unheard_teaches_by_the_whole_pause(
    known: RAMMemory, gap: Seconds, learns: int
) -> None:
    def step(patience: Patience) -> None:
        patience.begin(ear())
        patience.ended(at=10.0)
        patience.went_on(at=10.0 + gap)
        patience.over(Cues())

    await after(known, step)
    assert known.pauses("ada").count == learns
    if learns:
        assert known.pauses("ada").mean == pytest.approx(gap)


async def test_what_another_device_learnt_meanwhile_is_added_to(known: RAMMemory) -> None:
    def elsewhere(_: Patience) -> None:
        known.keep_pauses("ada", PauseProfile(mean=1.0, count=3))

    await after(known, elsewhere, turn_with(2.0))
    assert known.pauses("ada") == PauseProfile(mean=1.25, count=4)


async def test_what_was_erased_in_a_conversation_is_not_brought_back_by_it(tmp_path: Path) -> None:
    with closing(SQLMemory(tmp_path / "m.db", unasked=REMEMBERED)) as memory:
        memory.remember("ada", Turn("hello"))
        await after(memory, turn_with(*[0.9] * 9))

        def erased(_: Patience) -> None:
            memory.erase("ada")
            memory.remember("ada", Turn("who are you?"))

        await after(memory, erased, turn_with(0.6))
        assert memory.pauses("ada") == PauseProfile(mean=0.6, count=1)


@pytest.mark.parametrize("fails", [1, 2])
async def test_pauses_that_could_not_be_written_are_written_with_the_next_or_at_the_end(
    fails: int,
) -> None:
    left = [StoreError("locked")] * fails

    class Locked(RAMMemory):
        def keep_pauses(self, user: str, profile: PauseProfile) -> None:
            if left:
                raise left.pop()
            super().keep_pauses(user, profile)

    memory = Locked()
    memory.remember("ada", Turn("hello"))
    await after(memory, turn_with(1.0), turn_with(2.0))
    assert memory.pauses("ada") == PauseProfile(mean=1.5, count=2)


async def test_a_turn_of_which_nothing_was_kept_teaches_nothing(known: RAMMemory) -> None:
    def step(patience: Patience) -> None:
        patience.begin(ear(""))
        patience.paused(1.0)
        patience.over(Cues())

    await after(known, step)
    assert known.pauses("ada") == PauseProfile()


# --- laws -----------------------------------------------------------------------------------------

words = st.sampled_from(["tell me", "no the other", "mm-hm", "stop", "", "嗯", "wait", "I see"])
lengths = st.sampled_from([0.1, 0.2, 0.4, 0.6, 0.9, 1.5, 3.0])
schedules = st.lists(st.tuples(lengths, lengths), min_size=1, max_size=10)


@settings(max_examples=40, deadline=None)
@given(schedules, st.lists(words, min_size=1, max_size=6), st.integers(1, 120))
def test_in_any_conversation_patience_keeps_its_bounds_and_no_pause_is_made_up(
    schedule: list[tuple[Seconds, Seconds]], said: list[str], length: int
) -> None:
    memory, seen = RAMMemory(), []
    parts: list[Part] = []
    for speech, quiet in schedule:
        parts += [("speech", speech), ("quiet", quiet)]
    for _ in range(2):
        lines = [Line(each, (" ".join(["word"] * length),)) for each in said]
        run = converse(*parts, memory=memory, lines=lines, script=seen.append)
        assert all(event.pause <= TurnPolicy().max_delay for event in run.of(UserStopped))
    for each in seen:
        assert 1 <= each._listener._detector.patience <= TurnPolicy().most_patience
    profile, gaps = memory.pauses("ada"), [quiet for _, quiet in schedule]
    assert profile.count <= 2 * len(gaps)
    if profile.count:
        assert min(gaps) - 0.03 <= profile.mean <= max(gaps) + 0.03
