"""Numbers in what was said, so that a model's number can be told from an invented one. Pure."""

from __future__ import annotations

import itertools
import re

_WORDS = {
    word: value
    for value, words in {
        0: "zero", 1: "one", 2: "two couple", 3: "three", 4: "four", 5: "five", 6: "six",
        7: "seven", 8: "eight", 9: "nine", 10: "ten", 11: "eleven", 12: "twelve dozen",
        13: "thirteen", 14: "fourteen", 15: "fifteen", 16: "sixteen", 17: "seventeen",
        18: "eighteen", 19: "nineteen", 20: "twenty", 30: "thirty", 40: "forty fourty", 50: "fifty",
        60: "sixty", 70: "seventy", 80: "eighty", 90: "ninety", 100: "hundred", 1000: "thousand",
        0.5: "half", 0.25: "quarter",
    }.items()
    for word in words.split()
}  # fmt: skip
_HAN = {c: n for n, c in enumerate("零一二三四五六七八九")} | {"两": 2, "俩": 2}
_HAN_PLACES = {"十": 10, "百": 100, "千": 1000}

_ONE_OF = re.compile(r"\ban? (?:second|minute|hour|day|week|degree)s?\b")
_DIGITS = re.compile(r"-?\d+(?:[.,]\d+)?")
_ENGLISH = re.compile(r"[a-z]+")
_CHINESE = re.compile(rf"[{''.join(_HAN)}{''.join(_HAN_PLACES)}]+")
_UNITS = (1, 60, 3600, 24, 7)


def said_numbers(words: str) -> frozenset[float]:
    """Every number that the words name: digits, English and Chinese ones, halves and quarters."""
    plain = words.casefold()
    found = {float(text.replace(",", ".")) for text in _DIGITS.findall(plain)}
    found |= set(_english(_ENGLISH.findall(plain)))
    found |= {_chinese(text) for text in _CHINESE.findall(plain)}
    if _ONE_OF.search(plain):
        found.add(1)
    if "半" in plain:
        found.add(0.5)
    if "一刻" in plain:
        found.add(0.25)
    return frozenset(found)


def is_said(value: float, words: str) -> bool:
    """Whether a number can come from the words: one of theirs, in another unit, or two added.

    "An hour and a half" are 90 minutes, "down by two" is -2.
    """
    numbers = said_numbers(words)
    pairs = [*itertools.product(numbers, repeat=2)]
    sums = {a + b for a, b in pairs} | {a * 60 + b for a, b in pairs if b == int(b)}
    return any(
        abs(abs(value) - abs(number) * unit) < 1e-6 or abs(abs(value) * unit - abs(number)) < 1e-6
        for number in numbers | sums
        for unit in _UNITS
    )


def _english(words: list[str]) -> list[float]:
    """Each word's number, and those of two that belong together: 25, 200."""
    values = [_WORDS[word] for word in words if word in _WORDS]
    joined = [
        a * b if b >= 100 > a else a + b
        for (first, second) in itertools.pairwise(words)
        if first in _WORDS and second in _WORDS
        for a, b in ((_WORDS[first], _WORDS[second]),)
        if b >= 100 > a or (a >= 20 and 0 < b < 10)
    ]
    return [float(value) for value in (*values, *joined)]


def _chinese(text: str) -> float:
    total, digit = 0, 0
    for character in text:
        if character in _HAN_PLACES:
            total += (digit or 1) * _HAN_PLACES[character]
            digit = 0
        else:
            digit = _HAN[character]
    return float(total + digit)
