from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.model.cascade.words import clauses, flip, lexicon, without_lead
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


@given(st.text())
def test_plain_text_is_plain_already(text: str) -> None:
    assert plain(plain(text)) == plain(text)


@given(st.text(), st.sampled_from(["en", "zh"]))
def test_smooth_text_is_smooth_already_and_never_lost(text: str, lang: Lang) -> None:
    once = smooth(text, lang)
    assert smooth(once, lang) == once
    assert bool(once) == bool(plain(text))
    assert bool(without_lead(once, lang)) == bool(once)


@pytest.mark.parametrize(
    ("traditional", "simplified"),
    [
        ("我媽媽生病了,住院三個禮拜。", "我妈妈生病了 住院三个礼拜"),
        ("妳聽見了嗎？", "你听见了吗"),
        ("牠走丟了，我們找了一整夜", "它走丢了 我们找了一整夜"),
        ("我覺得很難過", "我觉得很难过"),
    ],
)
def test_traditional_characters_match_as_simplified_ones(traditional: str, simplified: str) -> None:
    assert plain(traditional) == simplified


def test_no_simplified_character_is_folded_again() -> None:
    (traditional,), (simplified,) = lexicon("traditional"), lexicon("simplified")
    assert len(traditional) == len(simplified) == len(set(traditional))
    assert not set(traditional) & set(simplified)


@pytest.mark.parametrize(
    ("said", "meant", "lang"),
    [
        ("Um, I just, uh, I feel lonely.", "i just i feel lonely", "en"),
        ("im gonna miss her", "i'm going to miss her", "en"),
        ("I I lost my my job", "i lost my job", "en"),
        ("She's, you know, ill.", "she's ill", "en"),
        ("Do you know what I mean?", "do you know what i mean", "en"),
        ("Um.", "um", "en"),
        ("嗯，我我今天很累", "我今天很累", "zh"),
        ("嗯嗯", "嗯嗯", "zh"),
        ("我有個好妈妈", "我有个好妈妈", "zh"),
    ],
)
def test_hesitations_and_slurs_are_smoothed(said: str, meant: str, lang: Lang) -> None:
    assert smooth(said, lang) == meant


@pytest.mark.parametrize("comma", [",", ", ", "，", "、"])
def test_chinese_is_cut_at_half_width_commas_too(comma: str) -> None:
    assert clauses(f"嗯{comma}我的钱包丢了{comma}里面有照片", "zh") == [
        "我的钱包丢了",
        "里面有照片",
    ]


def test_an_english_number_is_not_cut_at_its_comma() -> None:
    assert clauses("I owe him 1,000 euros", "en") == ["I owe him 1,000 euros"]
