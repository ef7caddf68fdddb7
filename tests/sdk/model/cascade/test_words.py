from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.model.cascade.words import clauses, flip, plain, reflection


@pytest.mark.parametrize(
    ("said", "flipped"),
    [
        ("nobody called me", "nobody called you"),
        ("I lost my dog", "you lost your dog"),
        ("I'm alone and I've had enough", "you're alone and you've had enough"),
        ("I was there", "you were there"),
        ("I really wasn't ready", "you really weren't ready"),
        ("my dog was sick", "your dog was sick"),
        ("we sold our house", "you sold your house"),
        ("was I wrong", "were you wrong"),
        ("she took mine and left me by myself", "she took yours and left you by yourself"),
    ],
)
def test_the_first_person_becomes_the_second(said: str, flipped: str) -> None:
    assert flip(said, "en") == flipped


@pytest.mark.parametrize(
    ("said", "flipped"), [("我的狗死了", "你的狗死了"), ("我们搬家了", "你们搬家了")]
)
def test_the_first_person_becomes_the_second_in_chinese(said: str, flipped: str) -> None:
    assert flip(said, "zh") == flipped


@given(st.text())
def test_no_first_person_is_left(text: str) -> None:
    words = plain(flip(text, "en")).split()
    assert not {"i", "me", "my", "myself", "mine"} & set(words)
    assert "我" not in flip(text, "zh")


def test_a_reflection_is_the_clause_that_says_most() -> None:
    said = "Well, so, my brother sold the old house, and that was it."
    assert reflection(said, "en") == "your brother sold the old house"


@pytest.mark.parametrize(
    "said",
    [
        "Why did he leave me?",
        "You never listen to me.",
        "Please help me with this.",
        "He fucking left me there.",
        "Gone.",
        "",
    ],
)
def test_what_cannot_be_given_back_safely_is_not(said: str) -> None:
    assert reflection(said, "en") == ""


def test_fillers_at_the_head_of_a_clause_are_dropped() -> None:
    assert clauses("Oh, well, you know, I fell. And it hurt!", "en") == ["I fell", "it hurt"]
