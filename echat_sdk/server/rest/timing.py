"""When what was said was said: words with their times as OpenAI's clients read them, and segments.

A model is asked for them as for any task of OSUM's (`srwt`), so that what it cannot do it says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from echat_sdk.audio import Seconds
from echat_sdk.model.echat.aligned import read_words
from echat_sdk.protocols import Hearing, SpeechModel

_PAUSE: Seconds = 1.0  # between two words, that begins a segment
_END = re.compile(r"[.!?。！？…]")


@dataclass(frozen=True, slots=True)
class Timed:
    """A word, or a Chinese character, and when it was said."""

    text: str
    start: Seconds
    end: Seconds


def timed(model: SpeechModel, hearing: Hearing) -> tuple[Timed, ...]:
    """What was heard, with the times that the model gives; words without any are left out.

    Raises:
        UnsupportedError: the model cannot tell.
    """
    words, _ = read_words(model.understand(hearing, ["srwt"]))
    return tuple(
        Timed(word.text, word.start, word.end)
        for word in words
        if word.start is not None and word.end is not None
    )


def words_of(words: Sequence[Timed]) -> list[dict[str, Any]]:
    """The words as OpenAI's clients read them."""
    return [{"word": word.text, "start": word.start, "end": word.end} for word in words]


def segments_of(transcript: str, words: Sequence[Timed]) -> list[dict[str, Any]]:
    """The transcript in sentences, and where somebody paused; one after the other they are it.

    Where the words are not those of the transcript, all of it is one segment. What Whisper tells
    of its own decoding in a segment, no other model has: it is left out.
    """
    if not words:
        return []
    cuts, first = [0], [0]  # where in the transcript segments begin, and with which word
    at = 0  # the end of the word before
    for number, word in enumerate(words):
        begins = transcript.find(word.text, at)
        if begins < 0:
            cuts, first = [0], [0]
            break
        between = transcript[at:begins]
        paused = number > 0 and word.start - words[number - 1].end >= _PAUSE
        if number > 0 and (paused or _END.search(between)):
            cuts.append(at + len(between.rstrip()))
            first.append(number)
        at = begins + len(word.text)
    ends, last = [*cuts[1:], len(transcript)], [*first[1:], len(words)]
    return [
        {
            "id": number,
            "start": words[first[number]].start,
            "end": words[last[number] - 1].end,
            "text": transcript[start:end],
        }
        for number, (start, end) in enumerate(zip(cuts, ends, strict=True))
    ]
