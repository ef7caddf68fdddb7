"""Words with their times, as text and back: `<0.00>你<0.20><0.20>好<0.46>`, in seconds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from echat_sdk.audio import Seconds

_TIME = re.compile(r"<\s*(\d{1,5}(?:\.\d{1,3})?)\s*>")
_CHINESE = re.compile(r"[㐀-䶿一-鿿]")


@dataclass(frozen=True, slots=True)
class Word:
    """A word, or a Chinese character, with its time; None where the model gave none."""

    text: str
    start: Seconds | None
    end: Seconds | None


def write_words(words: Sequence[Word]) -> str:
    """Words with times as a model writes them, to a hundredth of a second."""
    return "".join(_stamp(word.start) + _plain(word.text) + _stamp(word.end) for word in words)


def read_words(text: str) -> tuple[tuple[Word, ...], tuple[str, ...]]:
    """The words of an answer, and what was wrong with their times in words that repeat no word."""
    # Words at even places, times between them: w t w t … w.
    pieces = _TIME.split(text)
    times: list[float | None] = [None, *(float(time) for time in pieces[1::2]), None]
    words, used, latest, shared, backwards = [], -1, 0.0, 0, 0
    for place, piece in enumerate(pieces[::2]):
        word = _plain(piece).strip()
        if not word:
            continue
        start, end = times[place], times[place + 1]
        shared += start is not None and place == used
        used = place + 1
        told = [time for time in (start, end) if time is not None]
        backwards += [latest, *told] != sorted([latest, *told])
        latest = max(latest, *told, 0.0)
        words.append(Word(word, start, end))
    open_ended = sum(word.start is None or word.end is None for word in words)
    faults = (
        (open_ended, "without a start or an end"),
        (shared, "that share a time with the word before"),
        (backwards, "whose times run backwards"),
    )
    return tuple(words), tuple(f"{count} words {fault}" for count, fault in faults if count)


def join_words(words: Sequence[Word]) -> str:
    """Words as a line: a space between two unless one of them is Chinese there."""
    line = ""
    for word in words:
        spaced = line and not (_CHINESE.match(line[-1]) or _CHINESE.match(word.text[0]))
        line += f" {word.text}" if spaced else word.text
    return line


def _stamp(time: Seconds | None) -> str:
    return "" if time is None else f"<{time:.2f}>"


def _plain(text: str) -> str:
    return re.sub(r"[<>]", "", text)
