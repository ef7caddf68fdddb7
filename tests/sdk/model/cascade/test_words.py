from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.model.cascade.words import clauses, flip, without_lead
from echat_sdk.plain_words import plain, smooth
from echat_sdk.turn import Lang


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


def test_fillers_at_the_head_of_a_clause_are_dropped() -> None:
    assert clauses("Oh, well, you know, I fell. And it hurt!", "en") == ["I fell", "it hurt"]


@pytest.mark.parametrize("comma", [",", ", ", "，", "、"])
def test_chinese_is_cut_at_half_width_commas_too(comma: str) -> None:
    assert clauses(f"嗯{comma}我的钱包丢了{comma}里面有照片", "zh") == [
        "我的钱包丢了",
        "里面有照片",
    ]


def test_an_english_number_is_not_cut_at_its_comma() -> None:
    assert clauses("I owe him 1,000 euros", "en") == ["I owe him 1,000 euros"]


@given(st.text(), st.sampled_from(["en", "zh"]))
def test_words_without_their_lead_are_never_lost(text: str, lang: Lang) -> None:
    once = smooth(text, lang)
    assert bool(without_lead(once, lang)) == bool(once)
