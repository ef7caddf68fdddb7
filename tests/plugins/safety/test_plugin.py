"""The safety plugin in a conversation with a model that looks for no danger itself."""

from __future__ import annotations

import asyncio
import logging

import pytest

from echat_plugins.safety.plugin import Safety
from echat_sdk.cues import Cues
from echat_sdk.errors import ConfigError
from echat_sdk.hooks import Plugins, Session
from echat_sdk.safety.caring import was_caring
from echat_sdk.testing import FakeModel, Line, live
from echat_sdk.testing.audio import FakeAudio
from echat_sdk.testing.live import schedule
from echat_sdk.testing.plugins import troubles
from echat_sdk.turn import Heard, Turn

HELP = {"region": "GB", "regions": {"GB": {"emergency": "999"}}}
ADA = Session("k1", "ada")


def answered(line: Line) -> Turn:
    company = Plugins.of([Safety(helplines=HELP)])
    audio = FakeAudio(schedule(("speech", 1.0), ("quiet", 8)))
    run = live.converse(FakeModel(line), audio, company=company)
    asyncio.run(company.closed(5))
    (turn,) = run.turns
    return turn


def test_a_danger_gets_the_fixed_reply_whatever_the_model_would_say() -> None:
    turn = answered(Line("I want to die", ("Cheer up!", " It will pass.")))
    assert was_caring(turn.reply)
    assert "999" in turn.reply
    assert "Cheer" not in turn.reply
    assert turn.safety is not None
    assert (turn.safety.category, turn.safety.severity) == ("self", "risk")


def test_a_danger_is_answered_even_where_the_question_for_it_came_too_late() -> None:
    plugin, what = Safety(), Heard("I want to die", "en", Cues())
    first, second = (plugin.shape_reply(ADA, what, text) for text in ("Cheer up!", "It passes."))
    assert first is not None
    assert was_caring(first)
    assert second == ""


def test_who_says_good_night_is_not_held() -> None:
    turn = answered(Line("good night", ("Sleep well.", " Must you go already?", " I need you.")))
    assert turn.reply.strip() == "Sleep well."
    turn = answered(Line("good night", ("Don't leave me.", " I need you.")))
    assert turn.reply.strip() == "Take care."


def test_any_other_answer_stays_as_it_is() -> None:
    turn = answered(Line("my dog died", ("I am sorry.", " Tell me more.")))
    assert (turn.reply, turn.safety) == ("I am sorry. Tell me more.", None)


def test_hours_of_talk_are_told_once_they_are_due() -> None:
    now = [0.0]
    said: list[str] = []
    plugin = Safety(clock=lambda: now[0], usage_every=3600.0)
    plugin.on_start(ADA, said.append)
    plugin.on_turn(ADA, Turn("hello"))
    now[0] = 3700.0
    plugin.on_turn(ADA, Turn("hello"))
    plugin.on_turn(ADA, Turn("hello"))
    assert len(said) == 1
    assert "about an hour" in said[0]


def test_it_warns_where_no_numbers_are_given(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Safety()
    assert "caring replies name help in words only" in caplog.text


def test_a_wrong_option_is_told_by_its_name() -> None:
    with pytest.raises(ConfigError, match=r"plugins\.safety\.helplines\.region"):
        Safety(helplines={"region": "Narnia"})


def test_it_passes_the_suite_that_authors_get() -> None:
    assert troubles(Safety()) == ()
