"""A written reply as it is to be read aloud: no emoji, links, brackets or markdown."""

from __future__ import annotations

import re
import unicodedata

from echat_sdk.turn import Lang

_LINK = re.compile(r"!?\[([^\]\n]*)\]\([^)\s]*\)")
_URL = re.compile(r"(?:https?://|www\.)[^\s，。！？、；：）)】]+", re.IGNORECASE)
_LINE_MARK = re.compile(r"^[ \t]*(?:#{1,6}|[-*+>•]|\d+[.)])[ \t]+", re.MULTILINE)
_MARKS = str.maketrans(dict.fromkeys('*_`~|\\^<>[]{}()（）【】《》〈〉「」『』“”"«»„#', " "))
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "´": "'", "`": " "})
_REPEATED = re.compile(r"([!?！？。，,;；、])[!?！？。.，,;；、\s]*(?=[!?！？。，,;；、])")
_DOTS = re.compile(r"\.{2,}|…{2,}|。{2,}")
_SPACE_BEFORE = re.compile(r"\s+(?=[,.;:!?…，。！？；：])")
_A_LINK = {"en": " a link ", "zh": "链接"}
# Letters, digits, punctuation, spaces and money; the rest (emoji, arrows, joiners) has no sound.
_SPOKEN_CATEGORIES = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No", "Sc", "Zs"})
_SPOKEN_SYMBOLS = frozenset("+=°%&@/-'.,;:!?…—–，。！？；：、~·～")


def spoken_text(text: str, lang: Lang) -> str:
    """The words of a text as a voice should read them; empty if there is nothing to say."""
    text = _LINK.sub(r"\1", text)
    text = _URL.sub(_A_LINK[lang], text)
    text = _LINE_MARK.sub("", text)
    text = unicodedata.normalize("NFC", text).translate(_APOSTROPHES).translate(_MARKS)
    text = "".join(c if _is_spoken(c) else " " for c in text if not _is_joiner(c))
    text = _DOTS.sub("…", text)
    text = _REPEATED.sub("", text)
    text = _SPACE_BEFORE.sub("", " ".join(text.split())).lstrip(" ,.;:!?…，。！？；：、-–—'")
    return text if any(c.isalnum() for c in text) else ""


def _is_spoken(char: str) -> bool:
    return char in _SPOKEN_SYMBOLS or unicodedata.category(char) in _SPOKEN_CATEGORIES


def _is_joiner(char: str) -> bool:
    """Whether a character only changes the one before it, such as the red of a heart."""
    return unicodedata.category(char) in ("Mn", "Me", "Cf")
