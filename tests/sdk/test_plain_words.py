from __future__ import annotations

import json
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.plain_words import plain, smooth
from echat_sdk.turn import Lang


@given(st.text())
def test_plain_text_is_plain_already(text: str) -> None:
    assert plain(plain(text)) == plain(text)


@given(st.text(), st.sampled_from(["en", "zh"]))
def test_smooth_text_is_smooth_already_and_never_lost(text: str, lang: Lang) -> None:
    once = smooth(text, lang)
    assert smooth(once, lang) == once
    assert bool(once) == bool(plain(text))


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
    data = json.loads((resources.files("echat_sdk") / "plain_words.json").read_text("utf-8"))
    (traditional,), (simplified,) = data["traditional"], data["simplified"]
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
