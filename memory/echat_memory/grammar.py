"""What it takes to read facts in one language; `english.py` and `chinese.py` fill it in. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from echat_memory import words
from echat_memory.facts import FactKind


@dataclass(frozen=True, slots=True)
class Grammar:
    """One language.

    Attributes:
        spelling: Characters that are read as another one, for `str.translate`; one for one.
        sentence: Finds the sentences with their end marks.
        not_told: A sentence with this is asked, supposed, or somebody else's: it is not read.
        clause: Where a sentence is cut.
        filler: What a clause may begin with.
        patterns: The clauses that tell a fact, from end to end.
        denial: Substitutions that turn a denial into what it denies.
        forbidden: A value with this is an order or not a thing.
        mine: The words for "my", in a value.
        theirs: What they become in the third person.
        forms: For each closed vocabulary its forms in this language, with their keys.
    """

    spelling: Mapping[int, int | str]
    sentence: re.Pattern[str]
    not_told: re.Pattern[str]
    clause: re.Pattern[str]
    filler: re.Pattern[str]
    patterns: Sequence[tuple[FactKind, re.Pattern[str]]]
    denial: Sequence[tuple[re.Pattern[str], str]]
    forbidden: re.Pattern[str]
    mine: re.Pattern[str]
    theirs: str
    forms: Mapping[str, Mapping[str, str]]


def closed_forms(column: int) -> dict[str, dict[str, str]]:
    """The forms of every closed vocabulary in one language: 0 English, 1 Chinese."""
    return {name: words.forms(table, column) for name, table in words.VOCABULARIES.items()}


def patterns(
    rules: Sequence[tuple[FactKind, str]],
    forms: Mapping[str, Mapping[str, str]],
    *,
    free: Mapping[str, str],
    tail: str,
) -> list[tuple[FactKind, re.Pattern[str]]]:
    """Compile rules in which a word in capitals stands for a named group.

    Args:
        rules: Regular expressions, such as `my WHO is called NAME`.
        forms: Closed vocabularies; `WHO` is any form in `forms["who"]`.
        free: Patterns of the groups that take free words: `NAME`, `VALUE`, `THING`.
        tail: What may follow any of them.
    """
    pieces = {
        name.upper(): "|".join(re.escape(form) for form in sorted(known, key=len, reverse=True))
        for name, known in forms.items()
    } | dict(free)

    def group(match: re.Match[str]) -> str:
        name = match.group()
        return f"(?P<{name.lower()}>{pieces[name]})"

    # Not \b: Chinese characters are word characters too.
    spelt = re.compile(r"(?<![A-Z])[A-Z]{3,}(?![A-Z])")
    return [
        (kind, re.compile(spelt.sub(group, rule) + tail, re.IGNORECASE)) for kind, rule in rules
    ]
