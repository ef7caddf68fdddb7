from __future__ import annotations

import pytest

from echat_sdk.cues import Cues
from echat_sdk.model.cascade.notes import fitting
from echat_sdk.model.cascade.thinker import Thinker
from echat_sdk.turn import Heard, Lang, Recollection, TextDelta

MUSEUM = (
    "The museum is open from 9 to 5, and closed on Mondays.",
    "A ticket costs 12 euros; children are free.",
    "Today's lunch is lentil soup.",
    "The lift is behind the shop.",
)
ZH = ("博物馆早上九点开门，下午五点关门，星期一休息。", "门票十二欧元，儿童免费。")


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ("When do you open?", 0),
        ("What are your opening hours?", 0),
        ("Are you open on Monday?", 0),
        ("How much is a ticket for my son?", 1),
        ("What is for lunch today?", 2),
        ("Where is the lift?", 3),
        ("Where are the toilets?", None),
        ("What's the weather like?", None),
        ("Who painted the Mona Lisa?", None),
        ("How are you?", None),
    ],
)
def test_the_line_that_has_to_do_with_a_question_is_found(asked: str, line: int | None) -> None:
    assert fitting(asked, MUSEUM, "en") == ("" if line is None else MUSEUM[line])


@pytest.mark.parametrize(
    ("asked", "line"),
    [("你们几点开门？", 0), ("星期一开门吗？", 0), ("门票多少钱？", 1), ("洗手间在哪里？", None)],
)
def test_so_it_is_in_chinese(asked: str, line: int | None) -> None:
    assert fitting(asked, ZH, "zh") == ("" if line is None else ZH[line])


class Silent:
    """No model is asked."""

    name = "silent"
    vocabulary_size = 151_936

    def complete(self, *args: object, **more: object) -> object:
        raise AssertionError


@pytest.mark.parametrize(
    ("words", "lang", "said"),
    [("When do you open?", "en", MUSEUM[0]), ("门票多少钱？", "zh", ZH[1])],
)
def test_who_asks_for_what_a_plugin_knows_is_told_it(words: str, lang: Lang, said: str) -> None:
    thinker = Thinker(Silent())  # type: ignore[arg-type]
    known = Recollection(context=MUSEUM + ZH)
    deltas = thinker.reply(Heard(words, lang, Cues()), known, think="off")
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == said
