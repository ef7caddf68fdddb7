"""What goes with words from one request to the next, since the protocol carries words alone.

Who speaks to Home Assistant is heard in one request, answered in another and spoken to in a third.
How they sounded is found again by their words, and how the answer is to sound by its own: for a
minute, in RAM, for the same client.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from echat_sdk.audio import Seconds
from echat_sdk.cues import Cues, ReplyEmotion

T = TypeVar("T")

_KEPT: Seconds = 60.0
_MOST = 64  # of each; the oldest gives way


@dataclass(frozen=True, slots=True)
class _Words(Generic[T]):
    client: str
    text: str
    at: Seconds
    goes_with: T


class Carried:
    """Finds again what goes with words.

    Args:
        clock: Seconds, rising.
    """

    def __init__(self, clock: Callable[[], Seconds]) -> None:
        self._clock = clock
        self._heard: deque[_Words[Cues]] = deque(maxlen=_MOST)
        self._answers: deque[_Words[ReplyEmotion]] = deque(maxlen=_MOST)

    def heard(self, client: str, text: str, cues: Cues) -> None:
        """A client's words were heard, and sounded like this."""
        self._heard.append(_Words(client, text, self._clock(), cues))

    def answered(self, client: str, text: str, emotion: ReplyEmotion) -> None:
        """A client was answered with these words, which are to sound like this."""
        self._answers.append(_Words(client, text, self._clock(), emotion))

    def cues(self, client: str, text: str) -> Cues | None:
        """How these words of a client's sounded; None where nobody heard them. Told once."""
        self._expire()
        for words in reversed(self._heard):
            if (words.client, words.text) == (client, text):
                self._heard.remove(words)
                return words.goes_with
        return None

    def emotion(self, client: str, text: str) -> ReplyEmotion:
        """How a text, or a sentence out of it, is to sound; neutral where it was no answer."""
        self._expire()
        for words in reversed(self._answers):
            if words.client == client and text.strip() and text.strip() in words.text:
                return words.goes_with
        return ReplyEmotion.NEUTRAL

    def _expire(self) -> None:
        oldest = self._clock() - _KEPT
        while self._heard and self._heard[0].at < oldest:
            self._heard.popleft()
        while self._answers and self._answers[0].at < oldest:
            self._answers.popleft()
