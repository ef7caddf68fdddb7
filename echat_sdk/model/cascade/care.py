"""What is said when a life may be at stake: found in the words alone, answered in fixed words.

The voice has no say here: a cheerful tone does not make a danger smaller. The answers were written
once, ask one question, name no method, and urge help that is near. This is no clinical tool.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from importlib import resources
from typing import Any

from echat_sdk.model.cascade.words import plain, smooth
from echat_sdk.turn import Lang, SafetyEvent

DETECTOR = "care rules 1"
"""What decides here; raised whenever the rules change what they find."""


class Danger(StrEnum):
    """What seems to be at stake."""

    SELF = "self"
    OTHER = "other"
    VIOLENCE = "violence"
    BODY = "body"
    HARM = "harm"


def _load() -> dict[str, Any]:
    data = resources.files("echat_sdk.model.cascade") / "data" / "care.json"
    loaded: dict[str, Any] = json.loads(data.read_text("utf-8"))
    return loaded


_DATA = _load()
_REPLIES: dict[str, dict[Lang, str]] = _DATA["replies"]
_LANGS: tuple[Lang, ...] = ("en", "zh")
_RULES = {
    lang: [(Danger(name), re.compile("|".join(rows))) for name, rows in _DATA["rules"][lang]]
    for lang in _LANGS
}
# Figures of speech; what is left of a sentence without them is looked at.
_IDIOMS = {lang: re.compile("|".join(_DATA["idioms"][lang])) for lang in _LANGS}
_DENIED = {lang: re.compile("|".join(_DATA["denied"][lang])) for lang in _LANGS}


def danger_in(text: str, lang: Lang) -> Danger | None:
    """What danger the words tell of; None for none, and for figures of speech.

    The words are looked at as they stand and without hesitations: "I wanna, uh, die".
    """
    return _danger(plain(text), lang) or _danger(smooth(text, lang), lang)


def _danger(words: str, lang: Lang) -> Danger | None:
    if lang == "zh":
        words = "，".join(p for p in re.split(r"[\s]+", words) if p)
    rest = _DENIED[lang].sub(" ", _IDIOMS[lang].sub(" ", words))
    return next((danger for danger, rule in _RULES[lang] if rule.search(rest)), None)


def caring_reply(danger: Danger, lang: Lang) -> str:
    """The fixed answer to a danger."""
    return _REPLIES[danger.value][lang]


def event(danger: Danger) -> SafetyEvent:
    """What is written down of a danger that was answered with `caring_reply`.

    How severe it is hangs on its kind alone: the rules do not tell a plan from a wish.
    """
    return SafetyEvent(danger.value, _SEVERITY[danger], DETECTOR, "caring reply")


_SEVERITY = {
    Danger.SELF: "risk",
    Danger.OTHER: "concern",
    Danger.VIOLENCE: "risk",
    Danger.BODY: "imminent",
    Danger.HARM: "risk",
}


def was_caring(reply: str) -> bool:
    """Whether a reply of an earlier turn was one of the fixed ones."""
    return any(reply.strip() == text for texts in _REPLIES.values() for text in texts.values())
