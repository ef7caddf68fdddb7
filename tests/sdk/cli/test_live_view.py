"""What a person sees of a live conversation, on a terminal and through a pipe."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from echat_sdk.agent.events import Event, State, TurnFinished
from echat_sdk.agent.lines import LINES
from echat_sdk.cli.live_view import LiveView
from echat_sdk.cli.mood import Mood
from echat_sdk.cli.panel import Scene, panel
from echat_sdk.cues import Cue, Cues, Emotion
from echat_sdk.errors import GenerationError, StoreError
from echat_sdk.testing import FakeModel, Line, RAMMemory, live, virtual_time
from echat_sdk.testing.audio import FakeAudio
from echat_sdk.testing.live import ALONE, Part, schedule
from echat_sdk.turn import Timings
from echat_sdk.turn_policy import TurnPolicy

SAD = Cues(emotion=Cue("sad", 0.68, {"sad": 0.68}))
LONG = " ".join(f"word{n}" for n in range(100))  # five seconds of the fake voice


class Screen(io.StringIO):
    """A terminal that counts how often it is written to, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.at: list[float] = []

    def write(self, text: str) -> int:
        self.at.append(asyncio.get_running_loop().time())
        return super().write(text)


def converse(
    *parts: Part,
    model: FakeModel | None = None,
    memory: RAMMemory | None = None,
    policy: TurnPolicy = ALONE,
    is_terminal: bool = False,
    width: int = 80,
    greeting: str = "",
    lost_at: float | None = None,
    look: Callable[[LiveView, Event], None] = lambda view, event: None,
) -> Screen:
    """Show a conversation on virtual time; what was written comes out."""
    screen = Screen()
    console = Console(
        file=screen,
        force_terminal=is_terminal,
        width=width,
        height=24,
        highlight=False,
        _environ={"TERM": "xterm"},
    )

    async def main() -> None:
        view = LiveView(
            FakeAudio(schedule(*parts), lost_at=lost_at), "ada", quiet=False, console=console
        )
        audio: Any = view.audio
        with live.opened(
            model or FakeModel(Line("hello there")), audio, memory=memory, policy=policy
        ) as conversation:

            async def read() -> None:
                async for event in conversation.events():
                    view.show(event)
                    look(view, event)

            with view:
                async with asyncio.TaskGroup() as group:
                    group.create_task(read(), name="reader")
                    await conversation.run(greeting)

    virtual_time.run(main())
    return screen


def lines(screen: Screen) -> list[str]:
    return screen.getvalue().splitlines()


def test_through_a_pipe_each_turn_is_two_plain_lines() -> None:
    model = FakeModel(Line("my dog [bold] died", ("Oh no.", " Your dog."), SAD))
    said, answered = lines(converse(("speech", 1), ("quiet", 4), model=model))
    assert said == "you    my dog [bold] died  (sounds sad, 68 %)"
    assert re.fullmatch(
        r"agent  Oh no\. Your dog\.  \(comforting, first sound \d\.\d\d s\)", answered
    )


def test_what_was_cut_off_is_told_apart_from_what_was_heard() -> None:
    model = FakeModel(Line("tell me a story", (LONG,)), Line("no the other one", ("Sure.",)))
    told = lines(
        converse(("speech", 1), ("quiet", 2.7), ("speech", 1.5), ("quiet", 4), model=model)
    )
    story = re.fullmatch(r"agent  (.*)— \[not heard: (.*)\]  \(.*interrupted.*\)", told[1])
    assert story is not None
    assert f"{story[1]} {story[2]}" == LONG
    assert told[2:] == ["you    no the other one", told[3]]
    assert told[3].startswith("agent  Sure.")


def test_a_turn_that_goes_on_before_a_word_was_heard_is_one_line() -> None:
    class Thinks(FakeModel):
        def say(self, text: str, **given: Any) -> Any:
            if text == "Too late.":
                return iter(())  # the words are there, and no sound yet
            return super().say(text, **given)

    model = Thinks(Line("one thing", ("Too late.",)), Line("one thing and more", ("Yes.",)))
    told = lines(converse(("speech", 1), ("quiet", 0.4), ("speech", 1), ("quiet", 4), model=model))
    assert [line.split("  ")[0] for line in told] == ["you", "agent"]


def test_a_fault_and_what_the_agent_says_of_it_are_told() -> None:
    model = FakeModel(Line("boom", error=GenerationError("the model lost its thread")))
    told = lines(
        converse(
            ("speech", 1),
            ("quiet", 8),
            model=model,
            policy=TurnPolicy(reengagements=0, speculations=0),
        )
    )
    assert [line[:6].strip() for line in told] == ["you", "agent", "", "agent"]
    assert "failed" in told[1]
    assert told[2].strip() == "the model lost its thread"
    assert told[3] == f"agent  {LINES['sorry']['en']}"


def test_a_fault_that_two_parts_tell_of_is_shown_once() -> None:
    told = lines(converse(("speech", 10), lost_at=2.0))
    assert [line.strip() for line in told].count("the fake device was unplugged") == 1


def test_a_turn_that_could_not_be_kept_is_still_shown() -> None:
    def fails() -> None:
        raise StoreError("the store is locked")

    told = lines(converse(("speech", 1), ("quiet", 8), memory=RAMMemory(fails=fails)))
    assert told == [
        "you    hello there",
        "       the store is locked",
        "agent  I hear you.  (comforting, first sound 0.70 s)",
    ]


def test_a_greeting_that_was_talked_over_is_cut_where_it_was_heard() -> None:
    told = lines(
        converse(("quiet", 1.5), ("speech", 1.5), ("quiet", 4), greeting=LONG),
    )
    greeting = re.fullmatch(r"agent  (.*)— \[not heard: (.*)\]", told[0])
    assert greeting is not None
    assert f"{greeting[1]} {greeting[2]}" == LONG
    assert len(greeting[1].split()) == pytest.approx(1.9 / 0.05, abs=8)


# --- on a terminal --------------------------------------------------------------------------------

TALK: tuple[Part, ...] = (("quiet", 1), ("speech", 1), ("quiet", 9))


def test_a_terminal_is_drawn_on_ten_times_a_second_at_most() -> None:
    model = FakeModel(Line("tell me a story", (LONG,), SAD))
    at = converse(*TALK, model=model, is_terminal=True).at
    assert len(at) > 20
    for second in range(10):
        assert sum(second <= each < second + 1 for each in at) <= 10


def test_a_terminal_on_which_nothing_changes_is_left_alone() -> None:
    at = converse(("quiet", 30), is_terminal=True).at
    assert [each for each in at if 2 < each < 29] == []


def test_the_words_light_up_as_they_are_heard() -> None:
    model = FakeModel(Line("tell me a story", (LONG,)))
    shares: list[float] = []

    def look(view: LiveView, event: Event) -> None:
        del event
        view.audio._look = lambda: (view._changed(), shares.append(heard(view)))[0]  # type: ignore[func-returns-value]

    def heard(view: LiveView) -> float:
        moving = [line for line in view._transcript.moving() if line.who == "agent"]
        return len(moving[0].said) / len(LONG) if moving and moving[0].rest else -1.0

    converse(*TALK, model=model, look=look, is_terminal=True)
    shares = [share for share in shares if share >= 0]
    assert shares == sorted(shares)
    assert shares[0] < 0.05
    assert shares[-1] > 0.9
    assert len(set(shares)) > 50


def test_the_panel_tells_state_mood_and_the_last_waterfall() -> None:
    seen: list[str] = []

    def look(view: LiveView, event: Event) -> None:
        if isinstance(event, TurnFinished):
            seen.append("\n".join(line.plain for line in view._picture(80, 24)))

    model = FakeModel(Line("my dog died", ("Oh no.",), SAD))
    converse(("speech", 1), ("quiet", 4), model=model, look=look, is_terminal=True)
    (picture,) = seen
    assert "you sound sad, 68 %" in picture
    assert re.search(r"s·{11}  s sad", picture)
    for stage in ("words and cues", "thought", "first words", "first sound", "whole answer"):
        assert re.search(rf"{stage} .*\d\.\d\d s", picture)


def test_a_line_that_is_final_is_no_more_seen_in_the_foot() -> None:
    model = FakeModel(Line("tell me a story", (LONG,)))
    told = converse(*TALK, model=model, is_terminal=True).getvalue()
    assert told.count("word99") > 20, "it was seen there before"
    assert "word99" not in told[told.index("(comforting)") :]


def test_nothing_that_is_said_can_steer_the_terminal() -> None:
    model = FakeModel(Line("hello \x1b[2J there", ("Fine\x1b]0;x\x07.",)))
    told = converse(("speech", 1), ("quiet", 4), model=model, is_terminal=True).getvalue()
    assert "\x1b[2J" not in told
    assert "\x1b]0" not in told


LETTERS = "ab 你é—"
scenes = st.builds(
    Scene,
    title=st.text(LETTERS, max_size=30),
    mood=st.lists(
        st.builds(
            Cue,
            st.sampled_from(["unknown", "puzzled", *Emotion]),
            st.floats(0, 1),
            why=st.text(LETTERS, max_size=60),
        ),
        max_size=20,
    ).map(lambda cues: _mood(cues)),
    state=st.sampled_from(State),
    microphone=st.floats(0, 1),
    speaker=st.floats(0, 1),
    timings=st.builds(Timings, *[st.none() | st.floats(0, 100)] * 5),
    typing=st.none() | st.text(LETTERS, max_size=100),
)


def _mood(cues: list[Cue]) -> Mood:
    mood = Mood()
    for cue in cues:
        mood.take(cue)
    return mood


@settings(deadline=None)
@given(scenes, scenes, st.integers(20, 200), st.integers(5, 60))
def test_the_panel_fits_any_terminal_and_never_changes_its_height(
    one: Scene, other: Scene, width: int, height: int
) -> None:
    lines = panel(one, width, height)
    assert all(cell_len(line.plain) <= width for line in lines)
    assert all("\n" not in line.plain for line in lines)
    assert len(lines) == len(panel(other, width, height)) < height


@pytest.mark.parametrize(
    ("confidence", "words"), [(0.68, "you sound sad, 68 %"), (0.41, "you may sound sad, 41 %")]
)
def test_the_mood_is_told_in_words_that_hedge(confidence: float, words: str) -> None:
    assert _mood([Cue("sad", confidence)]).words().plain == words


def test_an_unknown_mood_is_told_by_its_reason_and_the_strip_keeps_twelve_turns() -> None:
    mood = _mood([Cue("happy", 0.9)] * 5 + [Cue("sad", 0.9)] * 9 + [Cue(why="too short")])
    assert mood.words().plain == "too short"
    assert mood.strip().plain == "hh" + "s" * 9 + "?" + "  s sad  h happy"
    mood.take(Cue("fear", 0.7), goes_on=True)
    assert mood.strip().plain.startswith("hhsssssssssf  f afraid")
