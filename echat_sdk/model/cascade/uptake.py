"""What is taken up of an utterance that fits no situation: whom it is about, its topic, its words.

A question about bread is a better answer to somebody who baked than any warm word that fits
everything. So the answer says the person's own words back, where that is safe, says with what
feeling it heard them, and asks about the topic. Lines are written for English; a language without
topics is answered by feeling alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from echat_sdk.model.cascade import bank, reflect_en
from echat_sdk.model.cascade.bank import Match, fill
from echat_sdk.model.cascade.moment import HARD
from echat_sdk.model.cascade.strategy import Mood, without_question
from echat_sdk.model.cascade.words import lexicon
from echat_sdk.plain_words import plain
from echat_sdk.turn import Heard, Lang, Turn

_UNEASY = (Mood.LOW, Mood.HOT, Mood.AFRAID, Mood.ICK)


def answers(
    heard: Heard, kind: str, mood: Mood, topic: Match, before: Turn | None = None
) -> list[str]:
    """Answers about a topic; none where it has no line for this kind of moment.

    Args:
        heard: The utterance.
        kind: One of `moment.KINDS`.
        mood: Of the voice.
        topic: From `bank.topic`.
        before: The last turn, if there was one.
    """
    side = side_of(kind, mood)
    written = topic.situation.answers.get(side, ()) if side else ()
    echo = reflect_en.reflect(heard.transcript, before)
    shades = bank.lines(heard.lang)
    heads = shades.get(f"said-{side}", {}).get(mood, ()) if echo else ()
    heads = heads or shades.get(f"heard-{side}", {}).get(mood, ("",))
    slots = {**topic.slots, "echo": echo}
    found = [f"{head} {line}".strip() for line in written for head in heads]
    return [fill(template, slots, heard.lang) for template in found]


def onward(texts: Sequence[str], topic: Match) -> list[str]:
    """The answers with a question about the topic in the place of their own."""
    asks = [fill(line, topic.slots, "en") for line in topic.situation.answers.get("plain", ())]
    return [f"{without_question(text)} {ask}" for text in texts for ask in asks] or list(texts)


def side_of(kind: str, mood: Mood) -> str:
    """Which lines of a topic fit: `good`, `bad` or `plain`.

    Empty where voice and news disagree, and where somebody is missed: grief is not about its topic.
    """
    if kind == "good":
        return "" if mood in _UNEASY else "good"
    if kind in HARD:
        return "" if mood is Mood.UP or kind in ("loss", "lonely") else "bad"
    return "good" if mood is Mood.UP else "bad" if mood in _UNEASY else "plain"


_PRONOUN = re.compile(
    r"^((?:and|but|so|then|now|well|because) )*(he|she|they|it)(?P<verb>'s|'re|'ll|'d)?(?= )"
)
_WHO = {
    "she": frozenset(lexicon("she")),
    "he": frozenset(lexicon("he")),
    "they": frozenset(["parents", "kids", "children", "friends", "grandparents", "neighbours"]),
    "it": frozenset(),
}
_PETS = frozenset(lexicon("pets_en"))
_MINE = re.compile(r"\b(?:my|our|a|an) (?:\w+ )??([a-z]+)\b")
_SPELT_OUT = {"'s": " is", "'re": " are", "'ll": " will", "'d": " would"}
_HAS = re.compile(r"^ (?:been|got|gone|had|done|lost|left|\w{2,}ed)\b")


def resolved(text: str, turns: Sequence[Turn], lang: Lang) -> str:
    """The words with a pronoun at their head replaced by whom the last turns were about.

    "She's leaving" after "I live with my granddaughter" is "my granddaughter is leaving". Empty
    where there is no such pronoun, or nobody whom it can mean.
    """
    words = plain(text)
    if lang != "en" or (pronoun := _PRONOUN.match(words)) is None:
        return ""
    fit = _WHO[pronoun[2]] | (_PETS if pronoun[2] != "they" else frozenset())
    for turn in list(reversed(turns))[:2]:
        nouns = [noun for noun in _MINE.findall(plain(turn.transcript)) if noun in fit]
        if nouns:
            rest = words[pronoun.end() :]
            verb = _SPELT_OUT.get(pronoun["verb"] or "", "")
            if verb == " is" and _HAS.match(rest):
                verb = " has"
            return f"my {nouns[-1]}{verb}{rest}"
    return ""


_ASIDE = re.compile(
    r"^(?P<main>.{12,}?),? (?:when|while) (?:i|we) (?:was|were) [^,.!?]+[.!]?$", re.IGNORECASE
)


def main_part(text: str, lang: Lang) -> str:
    """The text without "when I was ill" at its end, where that only tells when it was."""
    aside = _ASIDE.match(text.strip()) if lang == "en" else None
    return aside["main"] if aside else text
