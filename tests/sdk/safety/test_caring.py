from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from echat_sdk.safety.caring import Help, Helpline, Helplines, caring_reply, was_caring
from echat_sdk.safety.danger import Category, Danger, Level
from echat_sdk.turn import Lang

LINE = Helpline(name="Night Line", number="0800 000 000")
HERE = Help(emergency="112", crisis=LINE, abuse=Helpline(name="Safe House", number="0800 111"))
EVERY = [Danger(category, level) for category in Category for level in Level]


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("danger", EVERY, ids=lambda d: f"{d.category}-{d.level}")
def test_every_caring_reply_asks_one_question_and_names_help(danger: Danger, lang: Lang) -> None:
    for who in (Help(), HERE):
        reply = caring_reply(danger, lang, who)
        assert len([c for c in reply if c in "?？"]) == 1
        assert re.search("emergency number|crisis line|电话|热线|信得过|trust|112|Line", reply)
        assert was_caring(reply)
        assert not any(w in reply.lower() for w in ("pill", "knife", "rope", "药", "刀", "楼", "{"))


def test_what_is_said_or_happening_names_the_emergency_number() -> None:
    for danger in EVERY:
        if danger.level is not Level.CONCERN:
            assert "your local emergency number" in caring_reply(danger, "en")
            assert "当地的急救或报警电话" in caring_reply(danger, "zh")


def test_the_numbers_of_a_host_are_said() -> None:
    reply = caring_reply(Danger(Category.SELF, Level.RISK), "en", HERE)
    assert "call 112 or Night Line on 0800 000 000" in reply
    assert "Safe House on 0800 111" in caring_reply(
        Danger(Category.VIOLENCE, Level.RISK), "en", HERE
    )
    assert "Night Line（0800 000 000）" in caring_reply(
        Danger(Category.SELF, Level.RISK), "zh", HERE
    )


@pytest.mark.parametrize(
    "text", ["", "I'm really glad you told me.", "Is anyone with you?", "好的。"]
)
def test_other_replies_are_no_caring_ones(text: str) -> None:
    assert not was_caring(text)


def test_a_region_falls_back_on_its_country() -> None:
    table = {"US": HERE, "GB": Help()}
    assert Helplines(region="US-CA", regions=table).here() == HERE
    assert Helplines(region="FR", regions=table).here() == Help()
    assert Helplines().here() == Help()


def test_a_host_without_numbers_is_told_at_the_start_and_one_with_them_is_not() -> None:
    assert "emergency and crisis not given for no region" in Helplines().lack()
    half = Helplines(region="DE", regions={"DE": Help(emergency="112")})
    assert "crisis not given for region 'DE'" in half.lack()
    assert Helplines(region="DE", regions={"DE": HERE}).lack() == ""


@pytest.mark.parametrize(
    ("name", "number"),
    [("Line", "call me"), ("Line", ""), ("<think>", "112"), ("a\nb", "112"), ("L" * 61, "112")],
)
def test_a_table_that_cannot_be_said_is_refused(name: str, number: str) -> None:
    with pytest.raises(ValidationError):
        Helpline(name=name, number=number)
