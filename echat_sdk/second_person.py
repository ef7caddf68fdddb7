"""Lines of memory, which speak of a person, as that person would hear them. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from echat_sdk.turn import Lang

UNSPOKEN = ("they do not want to talk about", "用户不想谈")
"""How the lines begin that tell what somebody does not want to speak of: nobody tells it them."""


def bare(fact: str) -> str:
    """A line of memory without when it was told, and without its full stop."""
    return re.sub(r"\s*[(（][^()（）]*[)）]\s*$", "", fact).strip().rstrip(".。")


def to_second_person(fact: str, lang: Lang) -> str:
    """A line of memory as the person would hear it: "they live in Bonn" -> "you live in Bonn"."""
    if lang == "zh":
        return fact.replace("用户", "你")
    fact = re.sub(r"\b(?:the user's|their)\b", "your", fact)
    fact = re.sub(r"\b(?:the user|they)\b", "you", fact)
    return re.sub(r"\bthem\b", "you", fact)
