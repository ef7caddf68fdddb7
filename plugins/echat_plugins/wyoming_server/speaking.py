"""Texts as events with sound: whole, or sentence by sentence while they are being written."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from wyoming.audio import AudioChunk
from wyoming.event import Event

from echat_sdk.bridge import Workers
from echat_sdk.cues import ReplyEmotion
from echat_sdk.errors import UnsupportedError
from echat_sdk.protocols import SpeechModel
from echat_sdk.turn import SpeechDelta

WIDTH, CHANNELS = 2, 1
"""Of the sound that is sent."""

_CHUNK = 4096  # bytes of sound in an event
_LONGEST = 500  # characters of a sentence
_ENDS = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])|\n+")


class Sentences:
    """Cuts a text into sentences as it comes; one without an end is cut between words."""

    def __init__(self) -> None:
        self._rest = ""

    def push(self, text: str) -> list[str]:
        """Take the next piece; the sentences that are whole now."""
        *whole, self._rest = _ENDS.split(self._rest + text)
        while len(self._rest) > _LONGEST:
            cut = self._rest.rfind(" ", 1, _LONGEST)
            cut = _LONGEST if cut < 0 else cut
            whole.append(self._rest[:cut])
            self._rest = self._rest[cut:]
        return [piece for each in whole for piece in _within(each.strip()) if piece]

    def flush(self) -> list[str]:
        """What is left at the end of the text."""
        rest, self._rest = self._rest.strip(), ""
        return [rest] if rest else []


def sentences(text: str) -> list[str]:
    """The sentences of a whole text."""
    cut = Sentences()
    return cut.push(text) + cut.flush()


def _within(sentence: str) -> Iterator[str]:
    while len(sentence) > _LONGEST:
        cut = sentence.rfind(" ", 1, _LONGEST)
        cut = _LONGEST if cut < 0 else cut
        yield sentence[:cut]
        sentence = sentence[cut:].strip()
    yield sentence


async def spoken(
    model: SpeechModel,
    threads: Workers,
    sentence: str,
    emotion: ReplyEmotion,
    voice: str | None,
) -> AsyncGenerator[Event]:
    """The sound of a sentence, event by event.

    Raises:
        UnsupportedError: no voice speaks its language.
    """
    async with (
        threads.one() as worker,
        aclosing(worker.iterate(lambda: _said(model, sentence, emotion, voice))) as deltas,
    ):
        async for delta in deltas:
            sound = delta.samples.astype("<i2").tobytes()
            for start in range(0, len(sound), _CHUNK):
                piece = sound[start : start + _CHUNK]
                yield AudioChunk(delta.sample_rate, WIDTH, CHANNELS, piece).event()


def _said(
    model: SpeechModel, sentence: str, emotion: ReplyEmotion, voice: str | None
) -> Iterator[SpeechDelta]:
    """As `SpeechModel.say`; a voice that cannot speak the language gives way to one that can."""
    try:
        yield from model.say(sentence, emotion=emotion, voice=voice)
    except UnsupportedError:
        if voice is None:
            raise
        yield from model.say(sentence, emotion=emotion)
