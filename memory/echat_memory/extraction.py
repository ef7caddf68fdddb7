"""Finding the facts in what a user said, by a closed set of patterns. Pure.

A clause counts only if it is, from end to end, one of the sentences that we know ("my dog is called
Rex", 我住在北京). So questions, conditions, what others say and orders are never facts, and nothing
can be written into memory but what a pattern leaves room for: a few words, letters only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from echat_memory import chinese, english, words
from echat_memory.facts import Fact, FactKind
from echat_memory.grammar import Grammar
from echat_memory.telling import is_order, is_verb_phrase
from echat_sdk.turn import Lang

MAX_READ = 2_000
"""Characters of a transcript that are looked at."""
MAX_FACTS = 8
"""Facts taken from one turn."""
MAX_VALUE = 80
"""Characters of a name or thing."""

_GRAMMARS: dict[Lang, Grammar] = {"en": english.GRAMMAR, "zh": chinese.GRAMMAR}
_MARKUP = re.compile(r"<[^<>]{0,200}>")


def extract(transcript: str, lang: Lang) -> list[Fact]:
    """The facts in what a user said, in the order told; the later of two on one subject wins.

    Args:
        transcript: The user's own words; anything else must not be passed.
        lang: Their language.
    """
    grammar = _GRAMMARS[lang]
    text = _MARKUP.sub(" ", transcript[:MAX_READ]).translate(grammar.spelling)
    found: dict[tuple[str, str], Fact] = {}
    for sentence in grammar.sentence.findall(text):
        if grammar.not_told.search(sentence):
            continue
        for clause in grammar.clause.split(sentence.rstrip(".!。！ ")):
            for fact in _read(grammar, clause):
                found[fact.kind, fact.subject] = fact
    return list(found.values())[:MAX_FACTS]


def _read(grammar: Grammar, clause: str) -> Iterator[Fact]:
    clause = grammar.filler.sub("", " ".join(clause.split()))
    told = list(_match(grammar, clause))
    if told:
        yield from told
        return
    claimed = clause
    for negation, plain in grammar.denial:
        claimed = negation.sub(plain, claimed, count=1)
    if claimed != clause:
        yield from (replace(fact, denied=True) for fact in _match(grammar, claimed.strip()))


def _match(grammar: Grammar, clause: str) -> Iterator[Fact]:
    for kind, pattern in grammar.patterns:
        if match := pattern.fullmatch(clause):
            groups = {name: (text or "").strip() for name, text in match.groupdict().items()}
            free = [groups.get(name, "") for name in ("name", "value", "thing")]
            if all(_is_thing(text, grammar) for text in free if text):
                yield from _make(kind, groups, grammar)
            return


def _make(kind: FactKind, groups: dict[str, str], grammar: Grammar) -> Iterator[Fact]:
    """The facts in the groups of a match."""
    keys = {
        group: grammar.forms[group][groups[group].lower()]
        for group in words.VOCABULARIES
        if groups.get(group)
    }
    name, value, when = groups.get("name", ""), groups.get("value", ""), keys.get("when", "")
    match kind:
        case FactKind.NAME if _is_name(name):
            yield Fact(kind, "", name)
        case FactKind.CALLED if _is_name(name):
            yield Fact(kind, keys["who"], name)
        case FactKind.HOME | FactKind.ORIGIN | FactKind.WORKPLACE:
            yield Fact(kind, "", value)
        case FactKind.JOB:
            yield Fact(kind, "", keys.get("job") or value)
        case FactKind.TRAIT | FactKind.NEWS:
            yield Fact(kind, keys[kind.value])
        case FactKind.STATE if not name:
            yield Fact(kind, keys["who"], keys["state"])
        case FactKind.STATE if name[0].isupper():  # "my sister Anna is ill"
            yield Fact(FactKind.CALLED, keys["who"], name)
            yield Fact(kind, keys["who"], keys["state"])
        case FactKind.LOSS:
            if name and _is_name(name):  # "my dog Rex died"
                yield Fact(FactKind.CALLED, keys["who"], name)
            yield Fact(kind, keys["who"], when)
        case FactKind.EVENT:
            yield Fact(kind, keys["event"], when)
        case FactKind.TASTE:
            how = "dislike" if groups.get("hate") else "like"
            yield Fact(kind, grammar.mine.sub(grammar.theirs, value), how)
        case FactKind.FAVOURITE:
            theirs = grammar.mine.sub(grammar.theirs, value)
            yield Fact(kind, groups["thing"].lower(), theirs)
        case FactKind.ALLERGY:
            yield Fact(kind, value)
        case FactKind.BOUNDARY:
            yield Fact(kind, keys["topic"], denied=bool(groups.get("back")))


def _is_thing(text: str, grammar: Grammar) -> bool:
    if len(text) > MAX_VALUE or grammar.forbidden.search(text):
        return False
    if is_verb_phrase(re.sub("^(?:in|at|for) ", "", text)):
        return False
    return not is_order(text, "en" if text.isascii() else "zh")


_NO_NAME = {"a", "an", "the", "up", "out", "in", "on", "off", "so", "very", "really", "just"}


def _is_name(text: str) -> bool:
    """One word, or several that all begin with a capital; Chinese has no capitals."""
    parts = text.split()
    if parts[0].lower() in _NO_NAME:
        return False
    return len(parts) == 1 or all(part[0].isupper() or not part.isascii() for part in parts)
