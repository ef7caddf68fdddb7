"""What somebody told who is not kept: facts without rows, as long as their turns are held. Pure.

They hold, and take each other's place, as in `learning`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from itertools import chain

from echat_memory.facts import Fact, FactKind, line
from echat_memory.learning import change
from echat_sdk.turn import Lang


def holding(told: Iterable[Iterable[Fact]]) -> list[Fact]:
    """The facts that hold after all these were told, newest first.

    Args:
        told: What `extraction.extract` found in each turn, oldest first.
    """
    facts: dict[int, Fact] = {}

    def of(fact: Fact, kind: FactKind) -> Mapping[int, str]:
        return {
            number: held.value
            for number, held in facts.items()
            if (held.kind, held.subject) == (kind, fact.subject)
        }

    for number, fact in enumerate(chain.from_iterable(told)):
        done = change(fact, lambda kind, fact=fact: of(fact, kind))  # type: ignore[misc]
        for closed in done.closed:
            del facts[closed]
        if done.is_new:
            facts[number] = fact
    return list(reversed(facts.values()))


def lines(facts: Iterable[Fact], *, today: date, lang: Lang) -> tuple[str, ...]:
    """Facts that were told today, as a reply's prompt shows them."""
    told = (line(fact, told=today, today=today, lang=lang) for fact in facts)
    return tuple(text for text in told if text)
