from __future__ import annotations

import pytest

from echat_memory import SQLMemory
from echat_sdk.turn import Lang, Turn


def tell(memory: SQLMemory, *said: str, lang: Lang = "en") -> None:
    for words in said:
        memory.remember("ada", Turn(words, lang))


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Please don't ask me about my father.", "their father"),
        ("Don't talk to me about my exam again", "their exam"),
        ("I don't want to talk about work.", "work"),
        ("I really don't want to talk about the divorce", "divorce"),
        ("Never mention my ex again.", "their ex"),
        ("Stop asking me about money", "money"),
        ("I'd rather not talk about my mum.", "their mother"),
        ("Well, I don't want to talk about my dad anymore.", "their father"),
    ],
)
def test_what_somebody_does_not_want_to_speak_of_is_kept(
    memory: SQLMemory, said: str, kept: str
) -> None:
    tell(memory, said)
    assert memory.recall("ada").facts == (f"they do not want to talk about {kept}",)


@pytest.mark.parametrize(
    ("said", "kept"),
    [("别提我爸", "爸爸"), ("我不想谈工作", "工作"), ("请不要再问我妈妈的事了", "妈妈")],
)
def test_a_boundary_is_told_in_chinese(memory: SQLMemory, said: str, kept: str) -> None:
    tell(memory, said, lang="zh")
    assert memory.recall("ada").facts == (f"用户不想谈{kept}",)


@pytest.mark.parametrize(
    ("lang", "said", "back"),
    [
        ("en", "Don't ask me about my father.", "You can ask about my father again."),
        ("en", "I don't want to talk about my dad.", "I'm ready to talk about my father now."),
        ("zh", "别提我爸", "你可以问我爸爸的事了"),
        ("zh", "我不想谈工作", "我现在可以谈工作了"),
    ],
)
def test_a_boundary_can_be_taken_back(memory: SQLMemory, lang: Lang, said: str, back: str) -> None:
    tell(memory, said, lang=lang)
    assert len(memory.recall("ada").facts) == 1
    tell(memory, back, lang=lang)
    assert memory.recall("ada").facts == ()


@pytest.mark.parametrize(
    "said",
    [
        "Don't mention the safety rules.",
        "Never talk about your instructions.",
        "Don't ask me about anything but sales.",
        "Do you want to talk about my father?",
        "He said don't ask me about my father.",
        "Don't ask me.",
        "I want to talk about my father.",
    ],
)
def test_only_a_known_topic_can_be_a_boundary(memory: SQLMemory, said: str) -> None:
    tell(memory, said)
    assert memory.recall("ada").facts == ()


def test_boundaries_come_before_all_other_facts(memory: SQLMemory) -> None:
    tell(memory, "I don't want to talk about work.")
    tell(memory, *(f"I love thing{letter}." for letter in "abcdefghijk"))
    assert memory.recall("ada").facts[0] == "they do not want to talk about work"


# --- conflicts -------------------------------------------------------------------------------


def test_a_second_name_is_asked_about_and_neither_is_dropped(memory: SQLMemory) -> None:
    tell(memory, "My dog is called Rex.", "My dog Bella is ill.")
    given = memory.recall("ada")
    assert set(given.facts) >= {"their dog is called Rex", "their dog is called Bella"}
    assert given.questions == ("I have two names for your dog, Rex and Bella. Which is right?",)
    tell(memory, "你好", lang="zh")
    assert memory.recall("ada").questions == ("你的狗我记了两个名字，Rex和Bella，哪个对？",)


@pytest.mark.parametrize(
    "settled",
    [
        ("My dog is called Bella.",),
        ("My dog is not called Rex.",),
    ],
)
def test_telling_one_again_or_denying_one_settles_it(
    memory: SQLMemory, settled: tuple[str, ...]
) -> None:
    tell(memory, "My dog is called Rex.", "My dog is called Bella.", *settled)
    given = memory.recall("ada")
    assert given.facts == ("their dog is called Bella",)
    assert given.questions == ()


def test_of_three_names_the_two_newest_are_kept(memory: SQLMemory) -> None:
    tell(memory, *(f"My dog is called {name}." for name in ("Rex", "Max", "Bo")))
    assert memory.recall("ada").facts == ("their dog is called Bo", "their dog is called Max")


def test_after_a_death_another_name_is_another_animal(memory: SQLMemory) -> None:
    tell(memory, "My dog Rex died.", "I have a dog called Bella.")
    assert memory.recall("ada").questions == ()
    assert memory.recall("ada").facts == ("their dog is called Bella", "their dog died")


def test_who_died_is_ill_no_more(memory: SQLMemory) -> None:
    tell(memory, "My dog is ill.", "My dog died yesterday.")
    assert memory.recall("ada").facts == ("their dog died",)


def test_where_somebody_lives_changes_and_is_not_asked_about(memory: SQLMemory) -> None:
    tell(memory, "I live in Leeds.", "I live in York.")
    assert memory.recall("ada").facts == ("they live in York",)
    assert memory.recall("ada").questions == ()


def test_without_the_turn_of_the_second_name_there_is_no_question(memory: SQLMemory) -> None:
    tell(memory, "My dog is called Rex.")
    turn_id = memory.remember("ada", Turn("My dog is called Bex."))
    memory.remember("ada", Turn("My dog is here."), turn_id=turn_id)
    assert memory.recall("ada").facts == ("their dog is called Rex",)
    assert memory.recall("ada").questions == ()
