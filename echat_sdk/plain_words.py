"""What was said as patterns see it: plain words, in either language. Pure."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from importlib import resources

from echat_sdk.turn import Lang

_DATA: Mapping[str, Sequence[str]] = json.loads(
    (resources.files("echat_sdk") / "plain_words.json").read_text("utf-8")
)
# Frequent characters only; one character stands for one, whatever word it is in.
_SIMPLIFIED = str.maketrans(*_DATA["traditional"], *_DATA["simplified"])
_SLURRED = {row.partition(" ")[0]: row.partition(" ")[2] for row in _DATA["slurred_en"]}
_NOISE: Mapping[Lang, Sequence[tuple[re.Pattern[str], str]]] = {
    "en": (
        (re.compile(r"\b(?:u+h+m*|u+m+|e+r+m*)\b(?! huh)"), " "),
        # "Do you know what?" asks; "she is, you know, ill" does not.
        (
            re.compile(
                r"(?<!do )(?<!did )(?<!if )\byou know\b(?=.)"
                r"(?! (?:what|how|that|who|where|why|when|me|my|i|the|a|an|any\w*|if|about|it)\b)"
            ),
            " ",
        ),
        (re.compile(r"\b(\w+)(?: \1\b)+"), r"\1"),
    ),
    "zh": (
        (re.compile(r"(?:^|(?<= ))(?:[嗯呃额噢]+ *)+(?=[^嗯呃额噢 ])"), ""),
        (re.compile(r"(我|那个|就是|这个)(?: ?\1)+"), r"\1"),
    ),
}
_CJK = re.compile(r"[㐀-鿿]")


def is_chinese(text: str) -> bool:
    """Whether the text has any Chinese character."""
    return bool(_CJK.search(text))


def plain(text: str) -> str:
    """The text as patterns see it; what is kept and shown stays as it was said.

    NFKC, lower case, straight apostrophes, no other punctuation, simplified characters: Whisper
    writes Chinese in either script.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    text = text.replace("’", "'").replace("‘", "'").translate(_SIMPLIFIED)
    text = re.sub(r"[^\w\s']|_", " ", text)
    return " ".join(text.split())


def smooth(text: str, lang: Lang) -> str:
    """The plain text without hesitations and stutters, and with slurred forms written out.

    Idempotent; text of hesitations alone stays as it is.
    """
    words = plain(text)
    if lang == "en":
        words = " ".join(_SLURRED.get(word, word) for word in words.split())
    for noise, instead in _NOISE[lang]:
        words = noise.sub(instead, words)
    return " ".join(words.split()) or plain(text)
