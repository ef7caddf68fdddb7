"""The written situations: what people tell of, and good answers by the voice that told it.

Data, in `data/*.jsonl`, one situation a line: patterns over the words (`on`, all must match; one
that begins with `!` must not), the kind of moment, and answers by mood with slots. No line of the
data was taken from elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from echat_sdk.model.cascade.words import lexicon, valence, without_lead
from echat_sdk.plain_words import smooth
from echat_sdk.turn import Lang

_FAMILY = "|".join(lexicon("family_en"))
_PETS = "|".join(lexicon("pets_en") + lexicon("pets_zh"))
_FRIENDS = "|".join(lexicon("friends_en"))
_ZH_FAMILY = "|".join(lexicon("family_zh"))
_ZH_FRIENDS = "|".join(lexicon("friends_zh"))
_MACROS = {
    # At the head: "I'm so proud of my brother, he …". What happened, happened to the brother.
    "@other": (
        r"^(?:(?:guess what|so|well|oh|wow|hey|today|yesterday|and|but|finally|i think|i heard|"
        r"i'm|i am|we're|very|really|proud|of|happy|glad|for|that|sorry|worried|about) )*"
        rf"(?:my|our) (?:[\w'-]+ ){{0,2}}(?P<person>{_FAMILY}|{_FRIENDS}|friend|kids|"
        r"children|student|teammate|girl|boy|grandchildren)"
        r"(?! and (?:i|me)\b|'s(?! (?:\w+ing|been|just|finally|pregnant|engaged)\b)|"
        r"(?: \w+){0,3} (?:me|my)\b)"
    ),
    "@pet2": f"(?P<pet2>{_PETS})",
    "@pet": f"(?P<pet>{_PETS})s?",
    "@family": f"(?P<family>{_FAMILY}|{_ZH_FAMILY})",
    "@person": f"(?P<person>{_FAMILY}|{_FRIENDS})",
    "@zhperson": f"(?P<person>{_ZH_FAMILY}|{_ZH_FRIENDS})",
}
"""What patterns may name; a pattern holds each of them once."""

_SHE = frozenset(lexicon("she"))
_HE = frozenset(lexicon("he"))
_PRONOUNS = {
    "she": ("she", "her", "her"),
    "he": ("he", "him", "his"),
    "": ("they", "them", "their"),
}
# Lines say "{he}" only after "was", and "your {family} was": these nouns turn both into "were".
_PLURAL = frozenset({"parents", "family", "friends", "爸妈", "父母", "家人"})


@dataclass(frozen=True, slots=True)
class Situation:
    """Something that people tell of.

    Attributes:
        name: Its id in the data.
        kind: `loss`, `bad`, `wrong`, `threat`, `good`, `talk`, `bye`, `follow` (a sentence that
            means something only after another), or `topic` (what it is about, not what happened).
        rank: Of two situations that match, the higher rank counts.
        about: What it is about, after "it is about"; may hold slots.
        says: What somebody in it would say; every situation matches its own.
        answers: By mood (`low`, `hot`, `afraid`, `up`, `start`, `ick`, `plain`), and for `follow`
            by the kind of moment that it follows; for `topic` by how it went.
    """

    name: str
    lang: Lang
    kind: str
    rank: float
    about: str
    says: tuple[str, ...]
    answers: Mapping[str, tuple[str, ...]]
    patterns: tuple[re.Pattern[str], ...] = field(repr=False)
    barred: tuple[re.Pattern[str], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Match:
    """A situation found in words, with the words that fill its slots."""

    situation: Situation
    slots: Mapping[str, str]


def find(text: str, lang: Lang, *, follows: bool = True) -> Match | None:
    """The situation that fits the words best; None where none does.

    Args:
        text: What was said.
        lang: Its language.
        follows: Whether something was said before, so that `follow` situations make sense.
    """
    words = smooth(text, lang)
    match, rest = _best(words, lang, follows), without_lead(words, lang)
    return match if match or rest == words else _best(rest, lang, follows)


def _best(words: str, lang: Lang, follows: bool) -> Match | None:
    best: Match | None = None
    best_score = 0.0
    for situation in situations(lang):
        if situation.kind == "follow" and not follows:
            continue
        found = _match(situation, words)
        if found is None:
            continue
        slots, length = found
        # A death counts over the quiet house that it left behind.
        grief = _GRIEF if situation.kind == "loss" else 0
        if (score := situation.rank * 100 + length + grief) > best_score:
            best, best_score = Match(situation, slots), score
    return best


def topic(text: str, lang: Lang) -> Match | None:
    """What the words are about, whatever happened; None where no topic is known.

    Its answers are keyed by how it went: `good`, `bad` or `plain`.
    """
    words = smooth(text, lang)
    best: Match | None = None
    best_score = 0.0
    for situation in topics(lang):
        for match in situation.patterns[0].finditer(words):
            if _PLACE.search(words[: match.start()]):
                continue  # "My sister sulks since the wedding" is about the sister
            if (score := situation.rank * 100 - match.start()) > best_score:
                slots = {k: v for k, v in match.groupdict().items() if v}
                best, best_score = Match(situation, slots), score
    return best


_PLACE = re.compile(
    r"\b(?:in|at|on|of|without|like|since|after|before|during|from|under|near|outside|behind"
    r"|next to)"
    r"(?: (?:the|my|our|a|an|his|her|their))? $"
)


def _match(situation: Situation, words: str) -> tuple[Mapping[str, str], int] | None:
    if not situation.patterns or any(p.search(words) for p in situation.barred):
        return None
    slots: dict[str, str] = {}
    length = 0
    rest = words
    for pattern in situation.patterns:
        match = next((m for m in pattern.finditer(words) if not _denied(situation, m)), None)
        if match is None:
            return None
        length += len(match[0]) + 4  # so that two short patterns beat one long one
        rest = rest.replace(match[0], " ", 1)
        slots |= {k.rstrip("2"): v for k, v in match.groupdict().items() if v}
    if situation.kind in _PLEASANT and situation.rank < ACT and valence(rest, situation.lang) < 0:
        return None  # "I tried to bake bread, and it came out like a brick."
    return MappingProxyType(slots), length


def _denied(situation: Situation, match: re.Match[str]) -> bool:
    """Whether a "not" stands before the words: "I wasn't fired" tells of no lost job."""
    if situation.rank >= ACT or situation.kind == "follow":
        return False
    # "I'm not angry" fits "i'm (\w+ )?angry" as "I'm so angry" does.
    return bool(
        _SWALLOWED.search(match[0]) or _DENIAL[situation.lang].search(match.string[: match.start()])
    )


_SWALLOWED = re.compile(r"\b(?:i'm|am|feel|feeling|was|were|been) not (?!good|enough|ok|well|sure)")


_DENIAL: Mapping[Lang, re.Pattern[str]] = {
    "en": re.compile(
        r"(?:n't|\b(?:not|hardly|barely|without|no longer|nobody|no one|none of us"
        # "Never been so tired" is very tired.
        r"|never(?! (?:been|felt) (?:so|this|that|more|better))))"
        r"(?: (?:really|actually|even|ever|going to|to|be|been|being|get|got|getting|was|is|were|"
        r"has|have|had|that|so|too|very|yet|a|an|the|any|feel|feeling))* $"
    ),
    "zh": re.compile(
        r"(?<!不得)(?<![是会要能好])(?:没有?|不(?:是|会|用|再|太|算)?|并没有?|(?<![特分个区离告])别|未)"
        r"(?:真的?|被|把|都|太|再|那么|很|觉得|感到|让)*$"
    ),
}
_GRIEF = 8
_PLEASANT = frozenset({"good", "talk"})
ACT = 3
"""Rank from which a situation is an act of talk rather than something that happened."""
FORM = 1
"""Rank below which a situation is known by the form of the sentence or by one word alone."""


def fill(template: str, slots: Mapping[str, str], lang: Lang) -> str:
    """A line with its slots filled; a name slot keeps its capital, pronouns follow the noun."""
    noun = slots.get("family") or slots.get("person") or ""
    he, him, his = _PRONOUNS["she" if noun in _SHE else "he" if noun in _HE else ""]
    values = {"he": he, "him": him, "his": his, **slots}
    values |= {k.capitalize(): v[:1].upper() + v[1:] for k, v in values.items()}
    text = re.sub(r"\{(\w+)\}", lambda m: values.get(m[1], ""), template)
    if lang == "en":
        text = re.sub(r"\bwas they\b", "were they", text)
        if noun in _PLURAL:
            text = re.sub(rf"\b{noun} was\b", f"{noun} were", text)
    return text


@cache
def situations(lang: Lang) -> tuple[Situation, ...]:
    """All situations of a language, as the data holds them."""
    return tuple(
        _read(json.loads(line), lang)
        for name in ("bank", "talk")
        for line in _lines(f"{name}_{lang}.jsonl")
    )


@cache
def topics(lang: Lang) -> tuple[Situation, ...]:
    """The topics of a language; none where none are written."""
    rows = map(json.loads, _lines("topics_en.jsonl")) if lang == "en" else ()
    return tuple(_read({"kind": "topic", "says": [], **row}, lang) for row in rows)


@cache
def lines(lang: Lang) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """The lines for what fits no situation, by their id and then by mood."""
    rows = (json.loads(line) for line in _lines(f"open_{lang}.jsonl"))
    return {row.pop("id"): {k: tuple(v) for k, v in row.items()} for row in rows}


def _lines(name: str) -> list[str]:
    data = resources.files("echat_sdk.model.cascade") / "data" / name
    return [line for line in data.read_text("utf-8").splitlines() if line.strip()]


def _read(row: dict[str, Any], lang: Lang) -> Situation:
    name, kind = row.pop("id"), row.pop("kind")
    rank, about = row.pop("rank", 2), row.pop("about", "")
    says, on = row.pop("says"), row.pop("on")
    compiled = [(p.startswith("!"), _compile(p.removeprefix("!"), lang)) for p in on]
    return Situation(
        name=name,
        lang=lang,
        kind=kind,
        rank=rank,
        about=about,
        says=tuple(says),
        answers={mood: tuple(answers) for mood, answers in row.items()},
        patterns=tuple(p for barred, p in compiled if not barred),
        barred=tuple(p for barred, p in compiled if barred),
    )


def _compile(pattern: str, lang: Lang) -> re.Pattern[str]:
    for macro, expansion in _MACROS.items():
        pattern = pattern.replace(macro, expansion)
    # Group names may be used once in a pattern: "(my|our) @pet" has one, by construction.
    # "won" is not in "won't", but "dog" is in "dog's".
    return re.compile(pattern if lang == "zh" else rf"(?<![\w'])(?:{pattern})(?!\w|'t)")
