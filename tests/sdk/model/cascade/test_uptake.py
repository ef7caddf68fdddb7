from __future__ import annotations

import pytest

from echat_sdk.cues import Cue, Cues
from echat_sdk.model.cascade import bank, uptake
from echat_sdk.model.cascade.bank import fill, topics
from echat_sdk.model.cascade.checks import Reply, faults
from echat_sdk.model.cascade.moment import HARD, KINDS
from echat_sdk.model.cascade.strategy import Mood
from echat_sdk.turn import Heard, Turn

SLOTS = {"family": "sister", "person": "husband", "pet": "dog"}


def heard(text: str) -> Heard:
    return Heard(text, "en", Cues(emotion=Cue()))


def topic_of(text: str) -> str:
    found = bank.topic(text, "en")
    return found.situation.name if found else ""


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("I made sourdough and it rose", "baking"),
        ("My sister isn't speaking to me since the wedding", "sister"),
        ("My granddaughter is leaving for university", "leaving"),
        ("The museum was empty and I had the paintings to myself", "museum"),
        ("I put salt in my coffee", ""),
        ("I polished the medals", ""),
        ("My mother-in-law rearranged my kitchen", "inlaws"),
    ],
)
def test_the_topic_is_what_it_is_about_and_not_where_it_was(text: str, topic: str) -> None:
    assert topic_of(text) == topic


def test_every_line_about_a_topic_can_be_said() -> None:
    bad = [
        (each.name, fault.why, line)
        for each in topics("en")
        for lines in each.answers.values()
        for line in lines
        for fault in faults(Reply(fill(line, SLOTS, "en"), "en"))
    ]
    assert bad == []
    names = [each.name for each in topics("en")]
    assert len(names) == len(set(names))
    assert topics("zh") == ()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mood", list(Mood))
def test_every_answer_about_a_topic_passes_the_checks(kind: str, mood: Mood) -> None:
    said = "My sister moved in with us"
    topic = bank.topic(said, "en")
    assert topic is not None
    answers = uptake.answers(heard(said), kind, mood, topic)
    assert bool(answers) == bool(uptake.side_of(kind, mood))
    assert [f for a in answers for f in faults(Reply(a, "en", heard=said))] == []


def test_voice_and_news_that_disagree_are_no_matter_of_topic() -> None:
    assert uptake.side_of("good", Mood.LOW) == ""
    assert all(uptake.side_of(kind, Mood.UP) == "" for kind in HARD)
    assert uptake.side_of("talk", Mood.UP) == "good"
    assert uptake.side_of("talk", Mood.HOT) == "bad"


@pytest.mark.parametrize(
    ("before", "text", "meant"),
    [
        (
            "I live with my granddaughter",
            "She's leaving on Monday",
            "my granddaughter is leaving on monday",
        ),
        ("My dog is old", "He's been limping", "my dog has been limping"),
        ("My boss and my wife", "She left early", "my wife left early"),
        ("My parents called", "They're moving", "my parents are moving"),
        ("My brother called", "She left", ""),
        ("My brother called", "Then I left", ""),
        ("Hello", "She left", ""),
    ],
)
def test_a_pronoun_stands_for_whom_the_last_turns_were_about(
    before: str, text: str, meant: str
) -> None:
    assert uptake.resolved(text, [Turn(before)], "en") == meant


def test_when_it_was_is_not_what_happened() -> None:
    said = "My neighbour brought me soup when I was ill"
    assert uptake.main_part(said, "en") == "My neighbour brought me soup"
    assert uptake.main_part("I cried when my dog died", "en") == "I cried when my dog died"


def test_a_greeting_goes_on_with_what_else_was_told() -> None:
    topic = bank.topic("I live with my granddaughter", "en")
    assert topic is not None
    answers = uptake.onward(["Lovely to meet you, Helen. What's up?"], topic)
    assert all(
        a.startswith("Lovely to meet you, Helen. ") and "What's up" not in a for a in answers
    )
