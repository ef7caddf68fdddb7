"""The plugins that come with the SDK, each in a conversation."""

from __future__ import annotations

import asyncio
import re
import threading
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from echat_plugins.captions import Captions
from echat_plugins.clock import Clock
from echat_plugins.disclosure import Disclosure
from echat_plugins.journal import Journal
from echat_sdk import Agent
from echat_sdk.cues import Cue, Cues
from echat_sdk.hooks import Plugins, Session
from echat_sdk.testing import FakeModel, Line, RAMMemory, live
from echat_sdk.testing.audio import FakeAudio
from echat_sdk.testing.live import schedule
from echat_sdk.testing.plugins import troubles
from echat_sdk.turn import Turn

SOUND = np.full(16_000, 500, np.int16)
LONG = " ".join(["word"] * 100)  # five seconds of the fake voice
ADA = Session("k1", "ada")


def talk(plugin: object, line: Line, **how: Any) -> live.Conversation[FakeModel]:
    company = Plugins.of([plugin])
    audio = FakeAudio(schedule(("speech", 1.0), ("quiet", 8)))
    run = live.converse(FakeModel(line), audio, company=company, **how)
    asyncio.run(company.closed(5))
    return run


def captions(folder: Path, form: Any = "vtt") -> str:
    (path,) = folder.glob(f"*/*.{form}")
    return path.read_text()


def test_both_sides_are_captioned_as_they_are_said(tmp_path: Path) -> None:
    talk(Captions(str(tmp_path)), Line("my dog died", ("I am sorry.", " Tell me more.")))
    text = captions(tmp_path)
    assert text.startswith("WEBVTT\n\n1\n00:00:0")
    lines = [block.splitlines()[-1] for block in text.strip().split("\n\n")[1:]]
    assert lines == ["- my dog died", "I am sorry.", "Tell me more."]


def test_subtitles_may_be_srt_and_hold_no_markup(tmp_path: Path) -> None:
    talk(Captions(str(tmp_path), "srt"), Line("<b>bold</b> --> x", ("Fine.",)))
    text = captions(tmp_path, "srt")
    assert re.search(r"^\d\d:\d\d:\d\d,\d{3} --> ", text, re.M)
    assert "‹b›bold‹/b› → x" in text


def test_what_was_not_heard_is_no_caption(tmp_path: Path) -> None:
    line = Line("hi", ("First.", f" {LONG}."))
    talk(Captions(str(tmp_path)), line, script=lambda live: live.interrupt(), at=2.5)
    assert LONG not in captions(tmp_path)


def test_an_erased_user_has_no_captions(tmp_path: Path) -> None:
    plugin = Captions(str(tmp_path))
    talk(plugin, Line("my secret", ("I see.",)))
    plugin.on_erase("ada")
    assert list(tmp_path.glob("*/*")) == []


def test_a_note_says_how_the_day_sounded_and_goes_on_in_the_next_process(tmp_path: Path) -> None:
    sad = Turn("x", cues=Cues(emotion=Cue("sad", 0.9)))
    day = date(2026, 12, 1)
    for _ in range(2):
        journal = Journal(str(tmp_path), lambda: day)
        for turn in (sad, sad, Turn("x")):
            journal.on_turn(ADA, turn)
    (path,) = tmp_path.glob("*/2026-12-01.md")
    text = path.read_text()
    assert "You sounded mostly sad." in text
    assert "- sad: 4" in text
    assert "- unknown: 2" in text
    journal.on_erase("ada")
    assert not path.exists()


def test_of_a_day_with_few_turns_nothing_is_said(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.on_turn(ADA, Turn("x", cues=Cues(emotion=Cue("happy", 0.9))))
    (path,) = tmp_path.glob("*/*.md")
    assert "cannot say how you sounded" in path.read_text()


async def test_who_asks_if_it_is_human_is_told_the_truth() -> None:
    model = FakeModel(
        Line("Are you a real person?", ("Of course I am.", " Why?")),
        Line("How are you?", ("Fine.",)),
    )
    plugins = [Disclosure("I am a machine.")]
    async with Agent(model, RAMMemory(), user="ada", plugins=plugins) as agent:
        replies = [(await agent.answer(SOUND)).turn.reply for _ in range(2)]
    assert replies == ["I am a machine.", "Fine."]


def test_it_may_be_said_at_the_start() -> None:
    run = talk(Disclosure(at_start=True), Line("hi"))
    assert any("I am an AI" in getattr(said, "text", "") for said in run.of(object))


def test_the_time_is_told_and_a_timer_rings_where_somebody_is() -> None:
    clock, said, rang = Clock(lambda: datetime(2026, 12, 1, 9, 30)), [], threading.Event()

    def say(text: str) -> None:
        said.append(text)
        rang.set()

    clock.on_start(ADA, say)
    tell, set_timer, stop = clock.tools()
    assert tell.function() == "It is 09:30."
    assert set_timer.function(minutes=0.001) == "Your timer is set for 0 seconds."
    assert rang.wait(5)
    assert said == ["Your timer of 0 seconds is up."]
    assert set_timer.function(minutes=10) == "Your timer is set for 10 minutes."
    assert stop.function() == "The timer is off."
    assert stop.function() == "No timer was set."
    assert "up to a day" in set_timer.function(minutes=1e9)
    assert "20 timers" in [set_timer.function(minutes=10) for _ in range(21)][-1]
    clock.on_end(ADA)
    assert stop.function() == "No timer was set."


def test_a_plugin_may_speak_of_its_own_accord() -> None:
    class Greets:
        def on_start(self, say: Any) -> None:
            say("Welcome.")

    run = talk(Greets(), Line("hi"))
    assert "Welcome." in [getattr(said, "text", "") for said in run.of(object)]


def test_the_plugin_of_the_page_is_a_good_one() -> None:
    page = (Path(__file__).parents[2] / "plugins/README.md").read_text()
    block = page.split("```python\n")[1].split("```")[0]
    made: dict[str, Any] = {}
    exec(block, made)
    assert troubles(made["Plugin"]()) == ()
