"""Facts of a user's life: a closed schema, and how they are told to a model. Pure.

A fact is told in the third person, in English or Chinese whatever language it was heard in, and as
of today: "an exam on Friday" becomes "an exam tomorrow", then "had an exam yesterday".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from echat_memory import words
from echat_memory.times import words_now
from echat_sdk.turn import Lang

MAX_LINE = 400
"""Characters of a rendered fact."""


class FactKind(StrEnum):
    """What a fact is about; the closed schema."""

    NAME = "name"
    HOME = "home"
    ORIGIN = "origin"
    JOB = "job"
    WORKPLACE = "workplace"
    TRAIT = "trait"
    CALLED = "called"
    STATE = "state"
    LOSS = "loss"
    EVENT = "event"
    NEWS = "news"
    TASTE = "taste"
    FAVOURITE = "favourite"
    ALLERGY = "allergy"
    BOUNDARY = "boundary"


_KEEP_DAYS = {FactKind.EVENT: 60, FactKind.NEWS: 90, FactKind.STATE: 45}
"""Kinds that pass: days after which they are no longer worth telling."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that a user told.

    Attributes:
        kind: What it is about.
        subject: What within the kind, such as `dog`; a newer fact with the same kind and subject
            takes the place of an older one.
        value: What was told of it, such as `Rex`.
        denied: The user took it back ("I don't live in Leeds any more"): it is to be forgotten.
    """

    kind: FactKind
    subject: str = ""
    value: str = ""
    denied: bool = False


def is_passing(kind: str) -> bool:
    """Whether facts of this kind grow old, so that telling one again makes it new."""
    return kind in _KEEP_DAYS


def line(fact: Fact, *, told: date, today: date, lang: Lang) -> str:
    """A fact in the third person, as a reply's prompt shows it; empty when it is too old.

    Args:
        fact: The fact.
        told: The day on which it was told.
        today: The present day.
        lang: Language of the line. A name stays as it was told.
    """
    age = (today - told).days
    if age > _KEEP_DAYS.get(fact.kind, age):
        return ""
    text = _in_chinese(fact, told, today) if lang == "zh" else _in_english(fact, told, today)
    if fact.kind in (FactKind.NEWS, FactKind.STATE) and age > 0:
        if lang == "zh":
            text += f"（{age}天前说的）"
        else:
            text += " (told yesterday)" if age == 1 else f" (told {age} days ago)"
    return text[:MAX_LINE]


def also_called(fact: Fact) -> str:
    """Other words for what a fact is about, in both languages, so that a query can find it."""
    return " ".join(
        " ".join(table[fact.subject]).replace("_", " ")
        for table in (words.PEOPLE, words.PETS, words.EVENTS, words.TOPICS)
        if fact.subject in table
    )


def _in_english(fact: Fact, told: date, today: date) -> str:
    subject, value = fact.subject, fact.value
    match fact.kind:
        case FactKind.NAME:
            return f"their name is {value}"
        case FactKind.HOME:
            return f"they live in {value}"
        case FactKind.ORIGIN:
            return f"they come from {value}"
        case FactKind.JOB:
            return f"they work as {value}"
        case FactKind.WORKPLACE:
            return f"they work {value}" if " " in value else f"they work at {value}"
        case FactKind.TRAIT:
            return f"they are {subject}"
        case FactKind.CALLED:
            return f"their {subject} is called {value}"
        case FactKind.STATE:
            return f"their {subject} {value}"
        case FactKind.LOSS:
            return f"their {subject} died"
        case FactKind.EVENT:
            past, when = words_now(value, told, today, "en")
            return f"they {'had' if past else 'have'} {subject} {when}"
        case FactKind.NEWS:
            return f"they {subject}"
        case FactKind.TASTE:
            return f"they {value} {subject}"
        case FactKind.FAVOURITE:
            return f"their favourite {subject} is {value}"
        case FactKind.ALLERGY:
            return f"they are allergic to {subject}"
        case FactKind.BOUNDARY:
            topic = re.sub("^an? ", "", subject)
            own = "" if subject in words.TOPICS else "their "
            return f"they do not want to talk about {own}{topic}"


def _in_chinese(fact: Fact, told: date, today: date) -> str:
    subject, value = fact.subject, fact.value
    match fact.kind:
        case FactKind.NAME:
            return f"用户叫{value}"
        case FactKind.HOME:
            return f"用户住在{value}"
        case FactKind.ORIGIN:
            return f"用户来自{value}"
        case FactKind.JOB:
            return (
                f"用户的工作是{words.chinese(words.JOBS, value) if value in words.JOBS else value}"
            )
        case FactKind.WORKPLACE:
            return f"用户在{re.sub('^(?:in|at|for) ', '', value)}工作"
        case FactKind.TRAIT:
            return f"用户是{words.chinese(words.TRAITS, subject)}"
        case FactKind.CALLED:
            return f"用户的{_who(subject)}叫{value}"
        case FactKind.STATE:
            return f"用户的{_who(subject)}{words.chinese(words.STATES, value)}"
        case FactKind.LOSS:
            return f"用户的{_who(subject)}去世了"
        case FactKind.EVENT:
            past, when = words_now(value, told, today, "zh")
            return f"用户{when}有{'过' if past else ''}{words.chinese(words.EVENTS, subject)}"
        case FactKind.NEWS:
            return f"用户{words.chinese(words.NEWS, subject)}"
        case FactKind.TASTE:
            return f"用户{'喜欢' if value == 'like' else '不喜欢'}{subject}"
        case FactKind.FAVOURITE:
            return f"用户最喜欢的{subject}是{value}"
        case FactKind.ALLERGY:
            return f"用户对{subject}过敏"
        case FactKind.BOUNDARY:
            return f"用户不想谈{words.chinese(words.VOCABULARIES['topic'], subject)}"


def _who(subject: str) -> str:
    return words.chinese(words.PEOPLE if subject in words.PEOPLE else words.PETS, subject)
