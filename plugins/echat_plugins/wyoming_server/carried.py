"""What goes with words from one request to the next, since the protocol carries words alone.

Who speaks to Home Assistant is heard in one request, answered in another and spoken to in a third.
How they sounded is found again by their words, and how the answer is to sound by its own: for a
minute, in RAM, for the same client. The words themselves are not kept, only what they hash to.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from echat_sdk.audio import Seconds
from echat_sdk.cues import Cues, ReplyEmotion

T = TypeVar("T")

_KEPT: Seconds = 60.0
_MOST = 256  # of each; the oldest gives way

_Key = tuple[str, bytes]  # the client, and the hash of the words


class Carried:
    """Finds again what goes with words.

    Args:
        clock: Seconds, rising.
    """

    def __init__(self, clock: Callable[[], Seconds]) -> None:
        self._salt = secrets.token_bytes(16)
        self._heard: _Table[Cues] = _Table(clock)
        self._answers: _Table[ReplyEmotion] = _Table(clock)

    def heard(self, client: str, text: str, cues: Cues) -> None:
        """A client's words were heard, and sounded like this."""
        self._heard.put(self._key(client, text), cues)

    def answered(self, client: str, texts: Iterable[str], emotion: ReplyEmotion) -> None:
        """A client was answered, which is to sound like this.

        Args:
            client: Who.
            texts: The answer, and each of its sentences.
            emotion: How.
        """
        for text in texts:
            self._answers.put(self._key(client, text), emotion)

    def cues(self, client: str, text: str) -> Cues | None:
        """How these words of a client's sounded; None where nobody heard them. Told once."""
        return self._heard.pop(self._key(client, text))

    def emotion(self, client: str, text: str) -> ReplyEmotion:
        """How a text is to sound; neutral where it was no answer, and no sentence of one."""
        return self._answers.get(self._key(client, text)) or ReplyEmotion.NEUTRAL

    def forget(self, client: str) -> None:
        """Nothing of this client's was said."""
        self._heard.drop(client)
        self._answers.drop(client)

    def _key(self, client: str, text: str) -> _Key:
        words = text.strip().encode()
        return client, hashlib.blake2b(words, key=self._salt, digest_size=16).digest()


class _Table(Generic[T]):
    def __init__(self, clock: Callable[[], Seconds]) -> None:
        self._clock = clock
        self._kept: OrderedDict[_Key, tuple[Seconds, T]] = OrderedDict()  # the oldest first

    def put(self, key: _Key, value: T) -> None:
        self._expire()
        self._kept[key] = self._clock(), value
        self._kept.move_to_end(key)
        if len(self._kept) > _MOST:
            self._kept.popitem(last=False)

    def get(self, key: _Key) -> T | None:
        self._expire()
        found = self._kept.get(key)
        return None if found is None else found[1]

    def pop(self, key: _Key) -> T | None:
        found = self.get(key)
        self._kept.pop(key, None)
        return found

    def drop(self, client: str) -> None:
        for key in [each for each in self._kept if each[0] == client]:
            del self._kept[key]

    def _expire(self) -> None:
        oldest = self._clock() - _KEPT
        while self._kept and next(iter(self._kept.values()))[0] <= oldest:
            self._kept.popitem(last=False)
