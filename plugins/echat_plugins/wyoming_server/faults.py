"""What is wrong with what a client sent, as the protocol tells it."""

from __future__ import annotations


class Fault(Exception):
    """A request that cannot be done; the connection goes on.

    Attributes:
        text: What was got, what was expected.
        code: For machines.
    """

    def __init__(self, text: str, code: str = "invalid-request") -> None:
        super().__init__(text)
        self.text = text
        self.code = code


class BrokenOff(Fault):
    """Nobody can tell where the next event would begin: the connection ends."""
