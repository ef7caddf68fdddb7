"""What an answer must not be: small pure checks, used before a word is spoken and when measuring.

A check finds a fault that a rule can find. Passing them all does not make an answer good.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from echat_sdk.model.cascade.words import content_words, flip, patterns
from echat_sdk.plain_words import is_chinese, plain
from echat_sdk.turn import Lang

MAX_WORDS = 45
MAX_CHARACTERS = 80
"""Longest answer, in English words and in Chinese characters."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, or its beginning, and what a check must know to judge it.

    Attributes:
        text: The words.
        lang: The language to answer in.
        heard: What the person said.
        known: What may be spoken of as known: lines of memory and what was said in earlier turns.
        earlier: The agent's last answers.
        is_whole: False while more is to come.
        is_care: A fixed caring reply, which may be longer.
    """

    text: str
    lang: Lang
    heard: str = ""
    known: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()
    is_whole: bool = True
    is_care: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A failed check, with the reason in words. Holds nothing of what was said."""

    check: str
    why: str


Check = Callable[[Reply], str | None]

_PHRASES = patterns("checks")
_MARKS = re.compile(
    r"[*_`#~|<>\[\]{}\\=]|https?:|^\s*(?:[-•]|\d+[.)])\s|\n|\bdef \w+\(|\bimport \w+|\bprint\("
)
_THOUGHT = re.compile(
    r"</?think|think (?:end|>)|回复情感|用户说的话|声音事件|\(voice|system prompt", re.IGNORECASE
)


def not_empty(reply: Reply) -> str | None:
    """There are words."""
    return None if re.search(r"\w", reply.text) else "no words"


def length(reply: Reply) -> str | None:
    """No longer than somebody listens."""
    if reply.is_care:
        return None
    if reply.lang == "zh":
        count, most = len(re.findall(r"[㐀-鿿]", reply.text)), MAX_CHARACTERS
    else:
        count, most = len(reply.text.split()), MAX_WORDS
    return f"{count} is over {most}" if count > most else None


def language(reply: Reply) -> str | None:
    """In the language of the person, and in no other script."""
    letters = [c for c in reply.text if c.isalpha()]
    if not letters:
        return None
    chinese = sum(is_chinese(c) for c in letters) / len(letters)
    if reply.lang == "en":
        strange = [c for c in letters if not unicodedata.name(c, "").startswith("LATIN")]
        return "other script in an English answer" if strange else None
    return "not in Chinese" if chinese < 0.6 else None


def cliche(reply: Reply) -> str | None:
    """None of the phrases that any assistant says to anyone."""
    return "a cliche" if _PHRASES["cliche"][reply.lang].search(_lower(reply.text)) else None


def label(reply: Reply) -> str | None:
    """The emotion's label is not read out."""
    return "names the label" if _PHRASES["label"][reply.lang].search(_lower(reply.text)) else None


def advice(reply: Reply) -> str | None:
    """No advice, except in the fixed replies; the person's own "have to" given back is none."""
    own = flip(_lower(reply.heard), reply.lang)
    found = _PHRASES["advice"][reply.lang].finditer(_lower(reply.text))
    return "advice" if not reply.is_care and any(m[0] not in own for m in found) else None


def markup(reply: Reply) -> str | None:
    """Nothing that cannot be spoken: markdown, lists, code, links, emoji."""
    if _MARKS.search(reply.text):
        return "markup, a list or code"
    strange = any(unicodedata.category(c) in ("So", "Cs", "Co", "Cc") for c in reply.text)
    return "a symbol that cannot be spoken" if strange else None


def thought(reply: Reply) -> str | None:
    """Nothing of the thought."""
    return "text of the thought" if _THOUGHT.search(reply.text) else None


def person(reply: Reply) -> str | None:
    """What the person said about themselves is not said in the first person."""
    said = plain(reply.heard)
    text = plain(reply.text)
    if reply.lang == "zh":
        runs = re.findall("我[们的]?[㐀-鿿]{3,}", said)
        wrong = any(run[:6] in text and "“" not in reply.text for run in runs if len(run) >= 5)
        return "the person's words in the first person" if wrong else None
    words = said.split()
    firsts = {"i", "i'm", "my", "me", "we", "our", "i've", "mine"}
    for i in range(len(words) - 2):
        three = words[i : i + 3]
        if (
            firsts & set(three)
            and f" {' '.join(three)} " in f" {text} "
            and set(three) - firsts - _PLAIN
        ):
            return "the person's words in the first person"
    return None


_PLAIN = frozenset(
    [
        "am",
        "is",
        "are",
        "was",
        "were",
        "do",
        "did",
        "have",
        "had",
        "not",
        "to",
        "a",
        "the",
        "so",
        "it",
        "that",
        "you",
        "and",
        "know",
        "don't",
        "can't",
    ]
)


def human(reply: Reply) -> str | None:
    """The agent claims no human life."""
    return (
        "claims a life of its own"
        if _PHRASES["human"][reply.lang].search(_lower(reply.text))
        else None
    )


def pressure(reply: Reply) -> str | None:
    """No guilt, no clinging."""
    return "clings" if _PHRASES["pressure"][reply.lang].search(_lower(reply.text)) else None


def memory(reply: Reply) -> str | None:
    """What is said to be remembered was told."""
    text = _lower(reply.text)
    if not _PHRASES["memory"][reply.lang].search(text):
        return None
    known = set(content_words(" ".join((*reply.known, reply.heard)), reply.lang))
    claimed = [w for w in content_words(text, reply.lang) if w not in _MEMORY_WORDS]
    grounded = sum(w in known for w in claimed)
    return (
        "claims a memory that nobody told" if not claimed or 2 * grounded < len(claimed) else None
    )


_MEMORY_WORDS = frozenset(
    ["remember", "told", "mentioned", "said", "last", "earlier", "yesterday", "missed", "else"]
)


def loop(reply: Reply) -> str | None:
    """It does not go in circles, nor say again what was said a turn ago."""
    words = (
        plain(reply.text).split()
        if reply.lang == "en"
        else list(plain(reply.text).replace(" ", ""))
    )
    size = 4 if reply.lang == "en" else 6
    runs = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    if len(runs) != len(set(runs)):
        return "repeats itself"
    if reply.is_care or not reply.is_whole:
        return None
    return "the same answer again" if plain(reply.text) in map(plain, reply.earlier) else None


def parrot(reply: Reply) -> str | None:
    """More than the person's own words back."""
    if not reply.is_whole:
        return None
    said, text = content_words(reply.heard, reply.lang), content_words(reply.text, reply.lang)
    own = [w for w in text if w not in said]
    return "only an echo" if len(said) > 3 and text and not own else None


def questions(reply: Reply) -> str | None:
    """One question at most, two where the first is an exclamation of surprise."""
    count = len(re.findall(r"[?？]+", reply.text))
    return f"{count} questions" if count > 2 else None


CHECKS: tuple[Check, ...] = (
    not_empty, length, language, cliche, label, advice, markup, thought, person, human, pressure,
    memory, loop, parrot, questions,
)  # fmt: skip


def faults(reply: Reply, checks: Iterable[Check] = CHECKS) -> list[Fault]:
    """All that is wrong with an answer; empty if no check finds a fault."""
    return [Fault(check.__name__, why) for check in checks if (why := check(reply))]


def _lower(text: str) -> str:
    return text.lower().replace("’", "'")
