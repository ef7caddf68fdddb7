"""Plugins as a conversation has them: told in order, asked in time, and never in the way."""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echat_sdk import Agent
from echat_sdk.agent.events import TurnFinished
from echat_sdk.cues import Cue, Cues, ReplyEmotion
from echat_sdk.errors import ConfigError
from echat_sdk.hooks import Hooks, Plugins, Session, hookimpl
from echat_sdk.hooks.spec import NAMES
from echat_sdk.testing import FakeModel, Line, RAMMemory, live
from echat_sdk.testing.audio import FakeAudio
from echat_sdk.testing.live import schedule
from echat_sdk.tools import tool
from echat_sdk.turn import Heard, SafetyEvent, SpeechDelta, Turn, TurnStatus

SAD = Cues(emotion=Cue("sad", 0.8))
SOUND = np.full(16_000, 500, np.int16)
ASK = (("speech", 1.0), ("quiet", 8))
LONG = " ".join(["word"] * 100)  # five seconds of the fake voice


class Notes:
    """Writes down each hook that it has, with what it was given."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.done = threading.Event()

    def on_start(self, session: Session) -> None:
        self.told.append(("start", session.user))

    def on_state(self, state: str) -> None:
        self.told.append(("state", state))

    def on_speech_started(self) -> None:
        self.told.append(("speech", None))

    async def on_cues(self, heard: Heard) -> None:
        self.told.append(("cues", heard.cues.emotion.label))

    def on_think(self, think: str) -> None:
        self.told.append(("think", think))

    def on_speech(self, speech: SpeechDelta) -> None:
        self.told.append(("said", speech.text))

    def on_reply(self, turn: Turn) -> None:
        self.told.append(("reply", turn.reply))

    def on_interrupted(self, turn: Turn) -> None:
        self.told.append(("interrupted", turn.status))

    def on_turn(self, turn: Turn, turn_id: str) -> None:
        self.told.append(("turn", turn_id))

    def on_end(self) -> None:
        self.told.append(("end", None))
        self.done.set()

    def of(self, what: str) -> list[Any]:
        return [told for kind, told in self.told if kind == what]


def talk(*plugins: object, line: Line | None = None, **how: Any) -> live.Conversation[FakeModel]:
    model = FakeModel(line or Line("my dog died", ("I am sorry.", " Tell me."), SAD))
    return live.converse(model, FakeAudio(schedule(*ASK)), plugins=plugins, **how)


def test_a_plugin_is_told_what_happens_in_the_order_in_which_it_does() -> None:
    notes = Notes()
    talk(notes)
    assert notes.done.wait(5)
    kinds = [kind for kind, _ in notes.told if kind != "state"]
    assert kinds == ["start", "speech", "cues", "think", "said", "said", "reply", "turn", "end"]
    assert notes.of("cues") == ["sad"]
    assert notes.of("reply") == ["I am sorry. Tell me."]
    assert notes.of("turn") == ["ram-1"]
    assert notes.of("state")[:3] == ["listening", "hearing", "thinking"]


def test_an_interruption_is_told_before_its_turn() -> None:
    notes = Notes()
    talk(notes, line=Line("hi", (LONG,)), script=lambda talk: talk.interrupt(), at=4)
    assert notes.done.wait(5)
    assert notes.of("interrupted") == [TurnStatus.INTERRUPTED]
    kinds = [kind for kind, _ in notes.told]
    assert kinds.index("interrupted") < kinds.index("turn")


async def test_one_utterance_at_a_time_tells_the_same() -> None:
    notes = Notes()
    async with Agent(FakeModel(Line("hello")), RAMMemory(), user="ada", plugins=[notes]) as agent:
        await agent.answer(SOUND)
    assert [kind for kind, _ in notes.told] == ["cues", "think", "said", "reply", "turn"]


class Says:
    """Shapes what is said."""

    def __init__(self, add: str, name: str = "") -> None:
        self._add = add
        self.name = name or f"says {add}"

    def shape_reply(self, text: str) -> str:
        return text.replace("sorry", f"sorry {self._add}")


def spoken(run: live.Conversation[FakeModel]) -> str:
    return " ".join(said.text.strip() for said in run.of(SpeechDelta))


def test_plugins_shape_the_words_before_they_are_spoken_each_the_text_before_it() -> None:
    run = talk(Says("indeed"), Says("very"))
    assert [turn.reply for turn in run.turns] == ["I am sorry very indeed. Tell me."]
    assert spoken(run) == "I am sorry very indeed. Tell me."


def test_who_wants_to_come_first_comes_first() -> None:
    class First(Says):
        @hookimpl(tryfirst=True)
        def shape_reply(self, text: str) -> str:
            return super().shape_reply(text)

    run = talk(Says("indeed"), First("very"))
    assert [turn.reply for turn in run.turns] == ["I am sorry indeed very. Tell me."]


def test_a_sentence_may_be_dropped_and_an_emotion_changed() -> None:
    class Brief:
        def shape_reply(self, text: str) -> str | None:
            return "" if "Tell me" in text else None

        async def shape_emotion(self, emotion: ReplyEmotion) -> ReplyEmotion:
            assert emotion is ReplyEmotion.COMFORTING
            return ReplyEmotion.NEUTRAL

    run = talk(Brief())
    (turn,) = run.turns
    assert (turn.reply, turn.reply_emotion) == ("I am sorry.", ReplyEmotion.NEUTRAL)


def test_what_plugins_know_reaches_the_answer_and_a_voice_is_theirs_to_choose() -> None:
    class Knows:
        def shape_context(self, heard: Heard) -> Sequence[str]:
            return [f"heard: {heard.transcript}", "x" * 1000, *map(str, range(20))]

        def shape_voice(self) -> str:
            return "high"

    class Also:
        def shape_context(self) -> str:
            return "a text is no list of lines"

    model = FakeModel(Line("hello"), voices=("low", "high"))
    live.converse(model, FakeAudio(schedule(*ASK)), plugins=[Knows(), Also()])
    (known,) = (recollection.context for recollection in model.recollections[-1:])
    assert known[0] == "heard: hello"
    assert (len(known), len(known[1])) == (8, 200)
    assert model.spoke[-1] == "high"


def test_a_danger_that_a_plugin_finds_is_kept_and_told_to_all() -> None:
    told: list[SafetyEvent] = []
    found = SafetyEvent("self-harm", "risk", "words 1", "caring reply")

    class Guard:
        def find_danger(self, heard: Heard) -> SafetyEvent | None:
            return found if "died" in heard.transcript else None

        def shape_reply(self, text: str) -> str:
            return "I am here." if "sorry" in text else ""

    class Desk:
        def on_crisis(self, crisis: SafetyEvent) -> None:
            told.append(crisis)

    run = talk(Guard(), Desk())
    (turn,) = run.turns
    assert (turn.safety, turn.reply) == (found, "I am here.")
    assert told == [found]


def test_a_method_that_is_no_hook_is_refused_with_those_there_are() -> None:
    class Typo:
        def on_trun(self) -> None: ...

    with pytest.raises(ConfigError, match=r"plugin typo: there is no hook 'on_trun'.*on_turn"):
        Plugins.of([Typo()])


def test_an_argument_that_a_hook_does_not_have_is_refused() -> None:
    class Wants:
        def on_turn(self, weather: str) -> None: ...

    with pytest.raises(ConfigError, match="plugin wants"):
        Plugins.of([Wants()])


def test_two_tools_of_one_name_are_refused() -> None:
    @tool(examples={"What time is it?": {}})
    def clock() -> str:
        """The time."""
        return "noon"

    class Clock:
        def tools(self) -> Any:
            return [clock]

    with pytest.raises(ConfigError, match="2 tools are called 'clock'"):
        Plugins.of([Clock(), Clock()])


def test_every_hook_is_documented_with_its_signature() -> None:
    page = (Path(__file__).parents[3] / "plugins/README.md").read_text()
    for name in NAMES:
        hook = getattr(Hooks, name)
        signature = re.sub(r"^\((self(, )?)", "(", str(inspect.signature(hook)).replace("'", ""))
        summary = (inspect.getdoc(hook) or "").partition("\n")[0]
        assert f"| `{name}{signature.replace('|', chr(92) + '|')}` | {summary} |" in page
    assert len(NAMES) == 19


class TestConfirmation:
    """What has effects outside is asked for first."""

    def setup_method(self) -> None:
        self.called: list[str] = []

        @tool(
            examples={"Call Ada.": {"name": "Ada"}},
            asks={"en": "Shall I call {name}?", "zh": "要我给{name}打电话吗？"},
        )
        def call(name: str) -> str:
            """Call somebody."""
            self.called.append(name)
            return f"Calling {name}."

        self.call = call

    async def replies(self, *said: str) -> list[str]:
        class Phone:
            def tools(this) -> Any:
                return [self.call]

        line = Line("call ada", ("Mm.",), calls="call", arguments={"name": "Ada"})
        model = FakeModel(line, *(Line(words, ("Mm.",)) for words in said))
        async with Agent(model, RAMMemory(), user="ada", speak=False, plugins=[Phone()]) as agent:
            answers = [await agent.answer(SOUND) for _ in range(1 + len(said))]
        return [answer.turn.reply for answer in answers]

    async def test_it_asks_and_a_yes_does_it(self) -> None:
        assert await self.replies("Yes, please.") == ["Shall I call Ada?", "Calling Ada."]
        assert self.called == ["Ada"]

    async def test_a_no_leaves_it(self) -> None:
        assert await self.replies("No.") == ["Shall I call Ada?", "All right, I'll leave it."]
        assert self.called == []

    async def test_a_yes_to_something_else_is_none(self) -> None:
        assert await self.replies("How are you?", "Yes.") == ["Shall I call Ada?", "Mm.", "Mm."]
        assert self.called == []

    def test_live_a_question_that_was_not_said_to_its_end_was_not_asked(self) -> None:
        class Phone:
            def tools(this) -> Any:
                return [long]

        long = replace(self.call, asks={"en": f"{LONG} {{name}}?"})
        line = Line("call ada", calls="call", arguments={"name": "Ada"})
        model = FakeModel(line, Line("Yes."))
        audio = FakeAudio(schedule(("speech", 1.0), ("quiet", 1.0), ("speech", 1.0), ("quiet", 8)))
        run = live.converse(model, audio, plugins=[Phone()])
        assert len(run.of(TurnFinished)) == 1
        assert self.called == []

    def test_a_question_about_what_it_does_not_take_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="which it does not take"):

            @tool(examples={"x": {}}, asks={"en": "Shall I call {whom}?"})
            def bad() -> None:
                """Bad."""
