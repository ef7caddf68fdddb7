"""Two things told that may not both hold: neither is dropped, and the user can be asked. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from echat_memory import words
from echat_memory.facts import Fact, FactKind
from echat_sdk.turn import Lang

KEPT = frozenset({FactKind.CALLED})
"""Kinds of which a second value takes nobody's place: there may be two dogs, or one misheard."""
MOST = 2
"""Values of one such subject that are kept, the newest."""


def questions(facts: Iterable[Fact], lang: Lang) -> tuple[str, ...]:
    """What is worth asking, in words that an agent may say.

    Args:
        facts: All that hold, newest first.
        lang: Language of the questions.
    """
    named: defaultdict[str, list[str]] = defaultdict(list)
    for fact in facts:
        if fact.kind in KEPT:
            named[fact.subject].append(fact.value)
    return tuple(
        _question(subject, values[1], values[0], lang)
        for subject, values in named.items()
        if len(values) > 1
    )


def _question(subject: str, older: str, newer: str, lang: Lang) -> str:
    if lang == "zh":
        who = words.chinese(words.VOCABULARIES["who"], subject)
        return f"你的{who}我记了两个名字，{older}和{newer}，哪个对？"
    return f"I have two names for your {subject}, {older} and {newer}. Which is right?"
