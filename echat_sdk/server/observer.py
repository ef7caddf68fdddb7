"""What a server tells of itself: numbers and kinds, never who, and never what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from echat_sdk.audio import Seconds
    from echat_sdk.turn import Turn


class Observer(Protocol):
    """Told as things happen; from the event loop's thread, and it never raises."""

    def session_began(self) -> None:
        """A session was let in."""
        ...

    def session_ended(self, seconds: Seconds) -> None:
        """A session is over, however it ended."""
        ...

    def refused(self, why: str) -> None:
        """Somebody was refused: `full`, `invalid_api_key`, and so on."""
        ...

    def turn(self, turn: Turn) -> None:
        """A turn is over. Its timings, status and model are taken, its words are not."""
        ...

    def error(self, kind: str) -> None:
        """Something went wrong: the name of an error's class."""
        ...


class Silence:
    """An `Observer` that tells nobody."""

    def session_began(self) -> None:
        """Tell nobody."""

    def session_ended(self, seconds: Seconds) -> None:
        """Tell nobody."""

    def refused(self, why: str) -> None:
        """Tell nobody."""

    def turn(self, turn: Turn) -> None:
        """Tell nobody."""

    def error(self, kind: str) -> None:
        """Tell nobody."""
