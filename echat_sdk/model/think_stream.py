"""A think stream cut into thought and reply, for a model that writes both itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto

from echat_sdk.cues import ReplyEmotion
from echat_sdk.model.think import CLOSING, THINK, reply_emotion_from_tag
from echat_sdk.turn import TextDelta, ThinkDelta, Thought

MAX_THOUGHT_CHARS = 8_000
"""No more of a streamed thought is given out; two minutes of speech are about 2,000."""

_END = re.compile(rf"<think end>|</think(?: end)?>|(?<={CLOSING})(?=<[^<>/]{{1,4}}>)")
_ANY_TAG = re.compile(r"<(/?[^<>]{0,24})>")
_GUESS = re.compile(r"回复情感为:<([^<>]*)>")
_HELD = 26
"""Characters after a `<` that may still turn out to be a tag."""


class _Part(Enum):
    START = auto()
    THOUGHT = auto()
    TAG = auto()
    REPLY = auto()


class ThinkSplitter:
    """Cuts a token stream into thought and reply; nothing of the thought ever comes out as text.

    A model that begins without `<think>` has not thought. Every tag is kept out of the reply;
    the first after the thought names the reply emotion, if it is one. A thought without an end is
    all thought.
    """

    def __init__(self) -> None:
        self._part = _Part.START
        self._held = ""
        self._thought = ""
        self._announced = False

    def push(self, piece: str) -> Iterator[ThinkDelta | Thought | TextDelta]:
        """Take the next piece; yields what is certain by now."""
        self._held += piece
        before = None
        while before != (before := (self._part, self._held)):
            yield from self._step(last=False)

    def finish(self) -> Iterator[ThinkDelta | Thought | TextDelta]:
        """The stream has ended; yields the rest, and the `Thought` if it has not come yet."""
        before = None
        while before != (before := (self._part, self._held)):
            yield from self._step(last=True)
        yield from self._announce(None)

    def _step(self, *, last: bool) -> Iterator[ThinkDelta | Thought | TextDelta]:
        match self._part:
            case _Part.START:
                self._held = self._held.lstrip()
                if self._held.startswith(THINK):
                    self._part = _Part.THOUGHT
                elif last or not THINK.startswith(self._held):
                    self._part = _Part.TAG
            case _Part.THOUGHT:
                yield from self._think(last=last)
            case _Part.TAG:
                self._held = self._held.lstrip()
                if tag := _ANY_TAG.match(self._held):
                    self._held = self._held[tag.end() :]
                    if tag[0] == THINK:
                        self._part, self._held = _Part.THOUGHT, THINK + self._held
                    else:
                        yield from self._announce(tag[1])
                elif self._held and (last or not _may_be_tag(self._held)):
                    yield from self._announce(None)
                    self._part = _Part.REPLY
            case _Part.REPLY:
                yield from self._say(last=last)

    def _think(self, *, last: bool) -> Iterator[ThinkDelta]:
        if end := _END.search(self._held):
            cut, self._part = end.end(), _Part.TAG
        elif last:
            cut = len(self._held)
        else:
            # The closing words may be the end themselves, if a tag follows.
            keep = self._held.rfind("<")
            hold = keep if keep >= 0 and len(self._held) - keep < _HELD else len(self._held)
            closing = self._held.find(CLOSING)
            cut = min(hold, closing) if closing >= 0 else max(0, hold - len(CLOSING))
        piece, self._held = self._held[:cut], self._held[cut:]
        if piece and len(self._thought) < MAX_THOUGHT_CHARS:
            self._thought += piece
            yield ThinkDelta(piece)

    def _say(self, *, last: bool) -> Iterator[TextDelta]:
        text = ""
        while self._held:
            start = self._held.find("<")
            if start < 0:
                text, self._held = text + self._held, ""
            elif tag := _ANY_TAG.match(self._held, start):
                text, self._held = text + self._held[:start], self._held[tag.end() :]
                if tag[0] == THINK:
                    self._part, self._held = _Part.THOUGHT, THINK + self._held
                    break
            elif not last and _may_be_tag(self._held[start:]):
                text, self._held = text + self._held[:start], self._held[start:]
                break
            else:
                # A lone "<" is nothing that can be spoken.
                text, self._held = text + self._held[:start], self._held[start + 1 :]
        if text:
            yield TextDelta(text)

    def _announce(self, tag: str | None) -> Iterator[Thought]:
        if self._announced:
            return
        guesses = _GUESS.findall(self._thought)
        guess = reply_emotion_from_tag(guesses[-1]) if guesses else None
        self._announced = True
        yield Thought(reply_emotion_from_tag(tag) or guess or ReplyEmotion.NEUTRAL)


def _may_be_tag(text: str) -> bool:
    return text.startswith("<") and len(text) < _HELD and ">" not in text and "<" not in text[1:]
