from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echat_sdk.model.cascade.english import vocabulary
from echat_sdk.model.cascade.mandarin import _segmenter, mandarin_sounds, syllable_sounds
from echat_sdk.model.cascade.mandarin_numbers import read_numbers


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2024年5月", "二零二四年五月"),
        ("涨了3.5%", "涨了百分之三点五"),
        ("1,250人", "一千二百五十人"),
        ("10元", "十元"),
        ("110", "一百一十"),
        ("1001", "一千零一"),
        ("10010", "一万零一十"),
        ("20205", "二万零二百零五"),
        ("100000000", "一零零零零零零零零"),
        ("30000001", "三千万零一"),
        ("13800138000", "一三八零零一三八零零零"),
        ("007", "零零七"),
        ("2个人等了2天", "两个人等了两天"),
        ("8:05和14:30", "八点零五分和十四点三十分"),
        ("2:00", "两点"),
        ("1/2", "二分之一"),
        ("¥5和$20", "五元和二十美元"),
        ("3-5天", "三到五天"),
        ("-5℃", "负五摄氏度"),
        ("0", "零"),
    ],
)
def test_digits_are_read_as_a_person_would(written: str, read: str) -> None:
    assert read_numbers(written) == read


@given(st.integers(0, 99_999_999))
def test_every_number_can_be_read_and_read_back(number: int) -> None:
    total = part = digit = 0
    for char in read_numbers(str(number)):
        if char in "零一二三四五六七八九":
            digit = "零一二三四五六七八九".index(char)
        elif char == "万":
            total, part, digit = (part + digit) * 10_000, 0, 0
        else:
            part, digit = part + (digit or 1) * {"十": 10, "百": 100, "千": 1000}[char], 0
    assert total + part + digit == number


def test_a_syllable_has_its_tone_after_the_vowel() -> None:
    sounds = {p: syllable_sounds(p) for p in ("zhong1", "guo2", "ni3", "shi4", "ma5", "yuan2")}
    assert sounds == {
        "zhong1": "ꭧʊ→ŋ", "guo2": "kwo↗", "ni3": "ni↓", "shi4": "ʂɨ↘", "ma5": "ma", "yuan2": "ɥɛ↗n",
    }  # fmt: skip


@pytest.mark.slow
def test_every_character_of_the_language_has_sounds_that_the_voice_knows() -> None:
    from pypinyin.constants import PINYIN_DICT

    known = set(vocabulary())
    sounds = {chr(c): mandarin_sounds(chr(c)) for c in PINYIN_DICT if 0x4E00 <= c < 0x9FA6}
    silent = [char for char, said in sounds.items() if not said or not set(said) <= known]
    assert silent == []


def test_latin_words_and_digits_in_chinese_are_spoken_too() -> None:
    assert mandarin_sounds("我用Python") == "wo↓jʊ↘ŋ pˈIθˌɑn"
    assert mandarin_sounds("花了5元") == mandarin_sounds("花了五元")


@settings(deadline=None)  # the first example loads the dictionaries
@given(st.text(st.sampled_from("我你好。，abc 1５.%¥-/:😀é\n") | st.characters(), max_size=60))
def test_any_text_gives_sounds_or_nothing(text: str) -> None:
    assert isinstance(mandarin_sounds(text), str)


@pytest.mark.slow
def test_words_are_found_where_jieba_itself_finds_them() -> None:
    segmenter = _segmenter()
    dictionary = type(segmenter)()
    dictionary.FREQ, dictionary.total = dictionary.gen_pfdict(dictionary.get_dict_file())
    dictionary.initialized = True
    for text in (
        "你愿意多跟我说说发生了什么事情吗",
        "我们一家人要去海边玩",
        "银行行长长大了",
        "他叫汪小淘",
    ):
        assert list(segmenter.cut(text)) == list(dictionary.cut(text))
    assert segmenter.total == dictionary.total
