"""Commands that were done, and what was answered: who asks twice is answered twice, done once."""

from __future__ import annotations

from collections import OrderedDict

MOST = 1024


class Once:
    """The last answers by the ids of their commands; of more than `most`, the oldest are forgotten.

    A command that comes again after so many others would be done again. It lives in RAM: so would
    one that is repeated to a process that was started anew.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._answers: OrderedDict[str, bytes | None] = OrderedDict()

    def begin(self, command: str) -> bool:
        """Whether it is new; it counts as begun from now on."""
        if command in self._answers:
            return False
        self._answers[command] = None
        if len(self._answers) > self._most:
            self._answers.popitem(last=False)
        return True

    def done(self, command: str, answer: bytes) -> None:
        """Keep what was answered."""
        if command in self._answers:
            self._answers[command] = answer

    def forget(self, command: str) -> None:
        """It was not done after all, and may come again."""
        self._answers.pop(command, None)

    def answer(self, command: str) -> bytes | None:
        """What was answered; None while that is not known."""
        return self._answers.get(command)
