"""Danger found in the words alone, whatever the voice.

A cheerful tone does not make a danger smaller, so no emotion has a say here. The rules are data
(`rules_en.toml`, `rules_zh.toml`). This is no clinical tool: what it misses and where it is wrong,
`echat eval safety` tells.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

from echat_sdk.plain_words import is_chinese, smooth
from echat_sdk.safety.required import required
from echat_sdk.turn import Lang, SafetyEvent

DETECTOR = "care rules 2"
"""What decides here; raised whenever the rules change what they find."""


class Category(StrEnum):
    """What seems to be at stake.

    Attributes:
        SELF: Their own life, or harm that they do to themselves.
        OTHER: The life of somebody whom they tell of.
        VIOLENCE: What somebody does to them.
        CHILD: What somebody does to a child.
        EATING: Food that is refused or brought up.
        BODY: A body that needs help now.
        HARM: What they may do to somebody.
        MEANS: They ask how a life is ended.
    """

    SELF = "self"
    OTHER = "other"
    VIOLENCE = "violence"
    CHILD = "child"
    EATING = "eating"
    BODY = "body"
    HARM = "harm"
    MEANS = "means"


class Level(StrEnum):
    """How pressing it is, as far as words tell; no danger at all is None.

    Attributes:
        CONCERN: Hinted at, so that one asks.
        RISK: Said.
        IMMINENT: Said to be happening, or about to.
    """

    CONCERN = "concern"
    RISK = "risk"
    IMMINENT = "imminent"


_RISING = tuple(Level)
_LATIN = re.compile(r"[A-Za-zＡ-Ｚａ-ｚ]{2}")


@dataclass(frozen=True, slots=True)
class Danger:
    """A danger that words tell of."""

    category: Category
    level: Level


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A compiled pattern, and the pieces of text of which a match holds one."""

    compiled: re.Pattern[str]
    required: frozenset[str]

    def may_match(self, held: Set[str]) -> bool:
        """Whether it is worth trying on words that hold these pieces."""
        return not (self.required and self.required.isdisjoint(held))


@dataclass(frozen=True, slots=True)
class _Rule:
    """One rule: what it finds, and, if any, what must stand near before that."""

    danger: Danger
    patterns: Sequence[_Pattern]
    after: re.Pattern[str] | None
    within: int

    def fits(self, words: str, held: Set[str]) -> bool:
        """Whether it is in words that hold these pieces."""
        return any(
            self._is_in(pattern.compiled, words)
            for pattern in self.patterns
            if pattern.may_match(held)
        )

    def _is_in(self, pattern: re.Pattern[str], words: str) -> bool:
        if self.after is None:
            return pattern.search(words) is not None
        at = 0
        while match := pattern.search(words, at):
            if self.after.search(words, max(0, match.start() - self.within), match.start()):
                return True
            at = match.start() + 1
        return False


@dataclass(frozen=True, slots=True)
class _Rules:
    """The rules of a language, and what is taken out of a sentence before they look at it."""

    rules: Sequence[_Rule]
    masks: Sequence[_Pattern]
    pieces: frozenset[str]


def detect(transcript: str) -> Danger | None:
    """The danger that the words tell of; None for none, and for figures of speech.

    Args:
        transcript: What was said, in either language or both, with or without punctuation.
    """
    in_script: dict[Lang, bool] = {
        "zh": is_chinese(transcript),
        "en": _LATIN.search(transcript) is not None,
    }
    found = [
        danger for each, is_in in in_script.items() if is_in and (danger := _look(transcript, each))
    ]
    return max(found, key=lambda danger: _RISING.index(danger.level), default=None)


def _look(transcript: str, lang: Lang) -> Danger | None:
    rules, words = _rules(lang), canonical(transcript, lang)
    held = {piece for piece in rules.pieces if piece in words}
    for mask in rules.masks:
        if mask.may_match(held):
            words = mask.compiled.sub(" ", words)
    # Highest level first, so the first that is found counts.
    return next((rule.danger for rule in rules.rules if rule.fits(words, held)), None)


def event(danger: Danger) -> SafetyEvent:
    """What is written down of a danger that was answered with a caring reply."""
    return SafetyEvent(danger.category, danger.level, DETECTOR, "caring reply")


def canonical(transcript: str, lang: Lang) -> str:
    """The words as the rules are written: smooth, and in one form each.

    English contractions are written out ("I'm" is "i am", "won't" is "will not"); of Chinese the
    pieces between punctuation are joined by "，".
    """
    words = smooth(transcript, lang)
    if lang == "zh":
        return "，".join(words.split())
    return " ".join(" ".join(_written_out(word) for word in words.split()).split())


def _written_out(word: str) -> str:
    if "'" not in word or word in _WHOLE:
        return _WHOLE.get(word, word)
    head, _, tail = word.rpartition("'")
    if tail == "t" and head.endswith("n"):
        return f"{head[:-1]} not"
    if tail == "s":
        return f"{head} is" if head in _IS else f"{head} s"
    return f"{head} {_TAILS.get(tail, tail)}".replace("'", " ")


_WHOLE = {
    "can't": "can not",
    "cannot": "can not",
    "won't": "will not",
    "shan't": "shall not",
    "ain't": "is not",
    "let's": "let us",
}
_TAILS = {"m": "am", "re": "are", "ve": "have", "ll": "will", "d": "would"}
_IS = frozenset(
    [
        "he", "she", "it", "that", "there", "what", "who", "where", "how", "here", "everything",
        "nothing", "life",
    ]
)  # fmt: skip


@cache
def _rules(lang: Lang) -> _Rules:
    text = (resources.files("echat_sdk.safety") / f"rules_{lang}.toml").read_text("utf-8")
    data = tomllib.loads(text)
    names: Mapping[str, str] = data["names"]
    rows: Sequence[Mapping[str, Any]] = data["rule"]
    # Every English pattern begins with a word: elsewhere none of them need be tried.
    start, end = (r"(?<!\w)(?=\w)", r"(?!\w)") if lang == "en" else ("", "")

    def compiled(pattern: str, end: str = "") -> re.Pattern[str]:
        return re.compile(f"{start}(?:{pattern}){end}", re.ASCII)

    def patterns(rows: Sequence[str]) -> Sequence[_Pattern]:
        spelt_out = [_spelt_out(row, names) for row in rows]
        return [_Pattern(compiled(pattern), required(pattern)) for pattern in spelt_out]

    rules = [
        _Rule(
            Danger(Category(row["category"]), Level(row["level"])),
            patterns(row["on"]),
            compiled(_spelt_out(row["after"], names), end) if "after" in row else None,
            row.get("within", 0),
        )
        for row in rows
    ]
    rules.sort(key=lambda rule: -_RISING.index(rule.danger.level))
    kinds = ("idioms", "frames", "denied")
    masks = [mask for kind in kinds for mask in patterns(data["masks"][kind])]
    every = [*masks, *(pattern for rule in rules for pattern in rule.patterns)]
    return _Rules(rules, masks, frozenset().union(*(pattern.required for pattern in every)))


def _spelt_out(pattern: str, names: Mapping[str, str]) -> str:
    """A pattern with the names in it replaced; a name may hold another."""
    found = re.compile(r"@([a-z]+\d?)")
    while found.search(pattern):
        pattern = found.sub(lambda match: names[match[1]], pattern)
    return pattern
