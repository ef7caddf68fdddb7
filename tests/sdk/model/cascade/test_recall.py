from __future__ import annotations

import pytest

from echat_sdk.model.cascade.recall import as_answer, asks_memory, remembered
from echat_sdk.second_person import to_second_person
from echat_sdk.turn import Episode, Lang, Recollection, Turn

EN = Recollection(
    turns=(Turn("I lost my keys."),),
    facts=(
        "their dog is called Rex (told yesterday)",
        "their sister is called Ann",
        "they live in Bristol",
        "they work as a nurse",
        "their name is Sam",
    ),
)
ZH = Recollection(
    turns=(Turn("我丢了钥匙。", lang="zh"),),
    facts=("用户的狗叫旺财", "用户的妹妹叫小云", "用户住在杭州", "用户叫阿明"),
)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is my dog's name?", "Your dog is called Rex."),
        ("Do you remember my dog?", "Your dog is called Rex."),
        ("What's my puppy called?", "Your dog is called Rex."),
        ("What is my sister's name?", "Your sister is called Ann."),
        ("Where do I live?", "You live in Bristol."),
        ("What do I do for work?", "You work as a nurse."),
        ("What's my name?", "Your name is Sam."),
        ("What did I say?", "You said you lost your keys."),
    ],
)
def test_what_was_told_is_given_back(question: str, answer: str) -> None:
    assert asks_memory(question, "en")
    assert as_answer(remembered(question, EN, "en"), "en") == answer


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("我的狗叫什么名字？", "你的狗叫旺财。"),
        ("你还记得我妹妹叫什么吗？", "你的妹妹叫小云。"),
        ("我住在哪里？", "你住在杭州。"),
        ("我叫什么？", "你叫阿明。"),
    ],
)
def test_what_was_told_is_given_back_in_chinese(question: str, answer: str) -> None:
    assert asks_memory(question, "zh")
    assert as_answer(remembered(question, ZH, "zh"), "zh") == answer


@pytest.mark.parametrize(
    ("question", "lang"),
    [
        ("What is my brother's name?", "en"),
        ("Do you remember our trip to Spain?", "en"),
        ("When is my birthday?", "en"),
        ("What is my cat's name?", "en"),
        ("我哥哥叫什么名字？", "zh"),
        ("你还记得我生日吗？", "zh"),
    ],
)
def test_what_was_not_told_is_not_made_up(question: str, lang: Lang) -> None:
    assert asks_memory(question, lang)
    assert remembered(question, EN if lang == "en" else ZH, lang) == []


def test_all_that_is_known_is_told_a_few_at_a_time() -> None:
    known = as_answer(remembered("What do you know about me?", EN, "en"), "en")
    assert known == (
        "You told me that your dog is called Rex, your sister is called Ann, "
        "and you live in Bristol."
    )


def test_nothing_is_known_of_a_stranger() -> None:
    assert remembered("What is my dog's name?", Recollection(), "en") == []


@pytest.mark.parametrize("text", ["My dog is called Rex.", "I remember my school.", "我记得那天。"])
def test_telling_is_not_asking(text: str) -> None:
    assert not asks_memory(text, "zh" if "我" in text else "en")


def test_a_fact_is_turned_to_the_second_person() -> None:
    assert to_second_person("they are allergic to nuts", "en") == "you are allergic to nuts"


def test_what_was_said_in_chinese_is_given_back_with_full_width_marks() -> None:
    turns = (Turn("我的狗叫旺财,它三岁了!", lang="zh"),)
    told = remembered("我刚才说了什么", Recollection(turns=turns), "zh")
    assert as_answer(told, "zh") == "你说你的狗叫旺财，它三岁了。"


THEN = Recollection(
    episodes=(
        Episode("I went to Spain with my sister. We got lost.", "12 days ago", "happy"),
        Episode("I want to kill myself in Wales.", "yesterday"),
    ),
)
THEN_ZH = Recollection(episodes=(Episode("我和妈妈去西湖划船了", "3天前"),))


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Do you remember our trip to Spain?", []),  # of a trip nothing was said
        ("Do you remember what I told you about Spain?", ["12 days ago you said you went to"]),
        ("When did I go to Spain?", ["12 days ago you said you went to Spain"]),
        ("When did I tell you about Spain?", ["12 days ago you said you went to"]),
        ("Do you remember what I said about Wales?", []),
        ("Do you remember Portugal?", []),
        ("What did I tell you about Rome?", []),
        ("Did I ever tell you that we got lost?", ["12 days ago you said you got lost"]),
    ],
)
def test_what_was_said_long_ago_is_given_back_if_it_fits(question: str, answer: list[str]) -> None:
    assert asks_memory(question, "en")
    told = remembered(question, THEN, "en")
    assert len(told) == len(answer)
    assert all(text.startswith(start) for text, start in zip(told, answer, strict=True))


def test_what_was_said_long_ago_is_given_back_in_chinese() -> None:
    question = "你还记得我说过西湖的事吗？"
    assert asks_memory(question, "zh")
    told = as_answer(remembered(question, THEN_ZH, "zh"), "zh")
    assert told == "3天前你说你和妈妈去西湖划船了。"
    assert remembered("你还记得我说过桂林的事吗？", THEN_ZH, "zh") == []


def test_two_names_of_one_are_both_told() -> None:
    both = Recollection(facts=("their dog is called Bella", "their dog is called Rex"))
    assert as_answer(remembered("What is my dog's name?", both, "en"), "en") == (
        "You told me that your dog is called Bella, and your dog is called Rex."
    )


def test_who_asks_what_is_known_is_not_told_what_they_will_not_speak_of() -> None:
    facts = ("they do not want to talk about their father", "they live in Bristol")
    known = remembered("What do you know about me?", Recollection(facts=facts), "en")
    assert known == ["you live in Bristol"]
    assert remembered("Do you remember my father?", Recollection(facts=facts), "en") == []
