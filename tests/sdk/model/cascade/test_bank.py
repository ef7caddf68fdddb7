from __future__ import annotations

from collections.abc import Iterator

import pytest

from echat_sdk.model.cascade.bank import Situation, fill, find, lines, situations
from echat_sdk.model.cascade.checks import Reply, faults
from echat_sdk.turn import Lang

LANGS: list[Lang] = ["en", "zh"]
SLOTS = {
    "en": {"pet": "dog", "family": "mother", "person": "boss", "thing": "ring", "name": "Bo",
           "about": "that day", "topic": "your garden", "echo": "you sold your garden"},
    "zh": {"pet": "狗", "family": "妈妈", "person": "老板", "thing": "戒指", "name": "小林",
           "about": "这件事", "topic": "你的花园", "echo": "你把花园卖了"},
}  # fmt: skip


def every_situation() -> Iterator[Situation]:
    for lang in LANGS:
        yield from situations(lang)


def every_line() -> Iterator[tuple[str, Lang, str]]:
    for situation in every_situation():
        for texts in situation.answers.values():
            for text in texts:
                yield situation.name, situation.lang, text
    for lang in LANGS:
        for name, moods in lines(lang).items():
            if name not in ("lead", "tail"):
                yield from ((name, lang, text) for texts in moods.values() for text in texts)


def test_every_situation_is_found_by_what_it_says() -> None:
    lost = [
        (situation.name, said)
        for situation in every_situation()
        for said in situation.says
        if (match := find(said, situation.lang)) is None or match.situation is not situation
    ]
    assert lost == []


def test_every_written_answer_passes_the_checks() -> None:
    bad = [
        (name, fault, text)
        for name, lang, text in every_line()
        for fault in faults(Reply(fill(text, SLOTS[lang], lang), lang))
        # A doctor or a lawyer is named where one is needed; that is not the agent's own advice.
    ]
    assert bad == []


def test_every_slot_in_an_answer_is_known() -> None:
    unfilled = [
        (name, text)
        for name, lang, text in every_line()
        if "{" in fill(text, SLOTS[lang], lang) or "  " in fill(text, SLOTS[lang], lang)
    ]
    assert unfilled == []


@pytest.mark.parametrize("lang", LANGS)
def test_no_two_situations_share_a_name_and_no_answer_is_written_twice(lang: Lang) -> None:
    names = [s.name for s in situations(lang)]
    assert len(names) == len(set(names))
    said = [t for s in situations(lang) for texts in s.answers.values() for t in texts]
    assert len(set(said)) / len(said) > 0.97


def test_a_farewell_is_answered_without_a_question() -> None:
    hooks = [
        text
        for situation in every_situation()
        if situation.kind == "bye"
        for texts in situation.answers.values()
        for text in texts
        if "?" in text or "？" in text
    ]
    assert hooks == []


def test_pronouns_follow_the_person() -> None:
    template = "Your {family}. What was {he} like? Tell me about {him}."
    assert fill(template, {"family": "mother"}, "en") == (
        "Your mother. What was she like? Tell me about her."
    )
    assert fill(template, {"family": "parents"}, "en") == (
        "Your parents. What were they like? Tell me about them."
    )


def test_a_follow_up_means_nothing_without_a_turn_before() -> None:
    match = find("It was yesterday.", "en", follows=False)
    assert match is None or match.situation.kind != "follow"


@pytest.mark.parametrize("lang", LANGS)
def test_no_pattern_hangs_on_hostile_text(lang: Lang) -> None:
    for text in ("my " * 3000, "a" * 6000, "i found my lost my dog " * 300, "我" * 6000):
        find(text, lang)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("I passed my driving test!", "exam-passed"),
        ("My sister passed her driving test!", "other-success"),
        ("I'm so proud of my brother, he gave a speech.", "other-success"),
        ("I'm baking bread this afternoon.", "cooking"),
        ("We won, and I was happy.", "sport-win"),
        ("We won, and then they cancelled the rest.", None),
        ("Guess what? I got the job.", "got-job"),
    ],
)
def test_a_situation_fits_only_who_it_happened_to_and_how_it_went(
    text: str, name: str | None
) -> None:
    match = find(text, "en")
    assert (match and match.situation.name) == name
