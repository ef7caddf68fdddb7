"""How many tokens a text has, about: what clients are told of usage.

An estimate by letters, the same for every model, since a cascade has several tokenizers and chooses
most of its words without any: four Latin letters a token, one token a Chinese character.
"""

from __future__ import annotations

import re
from math import ceil

_WIDE = re.compile("[\u2e80-\U0010ffff]")


def tokens(text: str) -> int:
    """About how many tokens a text has."""
    narrow = len(_WIDE.sub("", text))
    return ceil(narrow / 4) + len(text) - narrow


def within(text: str, most: int) -> str:
    """The beginning of a text that has at most so many tokens, whole words of it."""
    total = 0.0
    for at, char in enumerate(text):
        is_wide = _WIDE.match(char) is not None
        total += 1.0 if is_wide else 0.25
        if total > most:
            return text[:at] if is_wide else text[:at].rpartition(" ")[0]
    return text
