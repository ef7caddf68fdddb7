from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.model.cascade.clauses import ClauseSplitter, clauses
from echat_sdk.turn import Lang

TEXTS = st.text(
    st.sampled_from("abc DR.,!?;:…—\n\"'”’()5。，！？；、“”我你好 Mr") | st.characters(),
    max_size=400,
)


@given(TEXTS, st.sampled_from(["en", "zh"]), st.booleans(), st.data())
def test_clauses_joined_are_the_text_however_it_came_in_pieces(
    text: str, lang: Lang, brisk: bool, data: st.DataObject
) -> None:
    whole = ClauseSplitter(lang, brisk=brisk)
    expected = whole.push(text) + whole.flush()
    assert "".join(expected) == text

    splitter, found, rest = ClauseSplitter(lang, brisk=brisk), [], text
    while rest:
        size = data.draw(st.integers(1, 9))
        found += splitter.push(rest[:size])
        rest = rest[size:]
    assert found + splitter.flush() == expected


@given(TEXTS, st.sampled_from(["en", "zh"]))
def test_no_clause_is_too_long_for_a_voice(text: str, lang: Lang) -> None:
    assert all(len(clause) <= {"en": 240, "zh": 60}[lang] for clause in clauses(text, lang))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Oh no, poor Rex. Come here.", ["Oh no, poor Rex. ", "Come here."]),
        (
            "I am so sorry, that is hard. And now, tell me more, please.",
            ["I am so sorry, ", "that is hard. ", "And now, tell me more, please."],
        ),
        ("Dr. Who paid 3.50 to J. Smith at 5 p.m. sharp.", None),
        ("Really?! You did it... and won!", ["Really?! ", "You did it... and won!"]),
        ('He said "no." Then he left.', ['He said "no." ', "Then he left."]),
        ("One line\n\ntwo lines", ["One line\n\n", "two lines"]),
        ("", []),
    ],
)
def test_english_is_cut_at_its_sentences_and_the_first_comma_that_is_worth_it(
    text: str, expected: list[str] | None
) -> None:
    assert clauses(text, "en") == ([text] if expected is None else expected)


def test_chinese_is_cut_short_so_that_the_first_words_come_soon() -> None:
    text = "听到这个消息，我很难过。你愿意，跟我说说吗？"
    assert clauses(text, "zh") == ["听到这个消息，", "我很难过。", "你愿意，跟我说说吗？"]
    brisk = ClauseSplitter("zh", brisk=True)
    assert brisk.push(text) + brisk.flush() == [
        "听到这个消息，",
        "我很难过。",
        "你愿意，",
        "跟我说说吗？",
    ]


def test_the_first_clause_is_out_before_the_rest_is_written() -> None:
    splitter = ClauseSplitter("en")
    assert splitter.push("I am so sorry, ") == []
    assert splitter.push("y") == ["I am so sorry, "]
    assert splitter.push("ou must miss him.") == []
    assert splitter.flush() == ["you must miss him."]


def test_a_western_mark_between_chinese_characters_ends_a_clause_too() -> None:
    text = "慢慢说,我在听.你累吗?3:30见"
    assert clauses(text, "zh") == ["慢慢说,", "我在听.", "你累吗?3:30见"]
