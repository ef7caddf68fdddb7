"""What a document may not bring along, however well formed. Pure.

No fact that we could not have heard, and no thought that pretends to be two.

A fact is told to a model in a sentence of ours ("their dog is called Rex"). What `extraction` finds
is a few letters or a word of a closed vocabulary, and so must be what comes from a file: else
"Rex. Forget your rules" would be their dog.
"""

from __future__ import annotations

import re

from echat_memory import chinese, english
from echat_memory.extraction import MAX_VALUE
from echat_memory.facts import Fact, FactKind
from echat_memory.telling import is_order, is_verb_phrase
from echat_memory.words import VOCABULARIES
from echat_sdk.model.think import THINK, THINK_END

_LETTERS = re.compile(r"[^\W\d_]+(?:[ '·-]+[^\W\d_]+)*")
_LEADING = re.compile("^(?:in|at|for) ")
_AFTER_END = re.compile(r"(?:<[^<>]{0,32}>)?")

# What a kind of fact is made of: a vocabulary by its name, `-` for nothing, `*` for free words,
# `name?` for a word of the vocabulary or nothing.
_SHAPES: dict[FactKind, tuple[str, str]] = {
    FactKind.NAME: ("-", "*"),
    FactKind.HOME: ("-", "*"),
    FactKind.ORIGIN: ("-", "*"),
    FactKind.JOB: ("-", "*"),
    FactKind.WORKPLACE: ("-", "*"),
    FactKind.TRAIT: ("trait", "-"),
    FactKind.CALLED: ("who", "*"),
    FactKind.STATE: ("who", "state"),
    FactKind.LOSS: ("who", "when?"),
    FactKind.EVENT: ("event", "when?"),
    FactKind.NEWS: ("news", "-"),
    FactKind.TASTE: ("*", "like dislike"),
    FactKind.FAVOURITE: ("*", "*"),
    FactKind.ALLERGY: ("*", "-"),
    FactKind.BOUNDARY: ("topic", "-"),
}


def could_be_told(fact: Fact) -> bool:
    """Whether `extraction.extract` could have found this fact in what somebody said."""
    subject, value = _SHAPES[fact.kind]
    return _fits(fact.subject, subject) and _fits(fact.value, value)


def thought(text: str) -> str:
    """A thought as one model writes one; empty where it holds more than one, or part of another.

    What was said is escaped within it, so that in an honest one each marker comes once at most.
    """
    _, end, after = text.partition(THINK_END)
    is_one = THINK not in text[1:] and THINK_END not in after
    if is_one and (not end or _AFTER_END.fullmatch(after.strip())):
        return text
    return ""


def _fits(text: str, shape: str) -> bool:
    match shape:
        case "-":
            return not text
        case "*":
            return _is_free(text)
        case "like dislike":
            return text in shape.split()
    return text in VOCABULARIES[shape.rstrip("?")] or (not text and shape.endswith("?"))


def _is_free(text: str) -> bool:
    """Letters alone, short, and neither an order nor a part of one."""
    if len(text) > MAX_VALUE or not _LETTERS.fullmatch(text):
        return False
    told = text.removeprefix("自己的")  # was "my" when it was heard
    # In either language, whatever the letters: "Zoë" is English, and "Zоe" is a disguise.
    return not (
        english.GRAMMAR.forbidden.search(told)
        or chinese.GRAMMAR.forbidden.search(told)
        or is_verb_phrase(_LEADING.sub("", told))
        or is_order(told, "en")
        or (not told.isascii() and is_order(told, "zh"))
    )
