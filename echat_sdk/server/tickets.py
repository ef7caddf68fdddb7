"""What lets a browser in without a key: client secrets, and the one-time link. In RAM alone."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from echat_sdk.audio import Seconds
from echat_sdk.server import secret_words
from echat_sdk.server.caller import Caller

PAGE_LASTS: Seconds = 12 * 3600.0
"""How long a page that came by the link is let in after it was last heard of."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A client secret, as it is told once.

    Attributes:
        words: The secret.
        expires: When it counts no more, in seconds since 1970.
    """

    words: str
    expires: Seconds

    def __repr__(self) -> str:
        return f"Issued(expires={self.expires!r})"


@dataclass(slots=True)
class _Held:
    sha256: str
    caller: Caller
    expires: Seconds
    renewed_for: Seconds  # 0 where using it makes it last no longer


class ClientSecrets:
    """Secrets that a host makes for its clients; each lets in, as often as it likes, until it ends.

    Used from the event loop's thread.
    """

    def __init__(
        self, most: int, most_per_key: int, now: Callable[[], Seconds] = time.time
    ) -> None:
        """Make an empty table.

        Args:
            most: Secrets that are held, of all.
            most_per_key: That one key made.
            now: Seconds since 1970.
        """
        self._most, self._most_per_key, self._now = most, most_per_key, now
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._made_by: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._held)

    def issue(self, caller: Caller, lasts: Seconds, *, renewed: bool = False) -> Issued | None:
        """A new secret; None where there are as many as there may be.

        Args:
            caller: Whom it lets in; its key is whose seats are taken, and whose revocation ends it.
            lasts: How long it counts.
            renewed: Whether each use makes it count that long anew.
        """
        self._drop_expired()
        if len(self._held) >= self._most or self._made_by[caller.key] >= self._most_per_key:
            return None
        secret = secret_words.new(secret_words.CLIENT)
        expires = self._now() + lasts
        self._held[secret.id] = _Held(secret.sha256, caller, expires, lasts if renewed else 0.0)
        self._made_by[caller.key] += 1
        return Issued(secret.words, expires)

    def find(self, words: str) -> Caller | None:
        """Whom these words let in; None where they are no secret, or one that has ended."""
        id_ = secret_words.id_of(words, secret_words.CLIENT)
        held = self._held.get(id_)
        if not secret_words.proves(words, held.sha256 if held else None) or held is None:
            return None
        now = self._now()
        if now >= held.expires:
            self._drop(id_)
            return None
        if held.renewed_for:
            held.expires = now + held.renewed_for
        return held.caller

    def _drop_expired(self) -> None:
        # All of them are looked at only where there might be no room else.
        if len(self._held) < self._most // 2 and max(self._made_by.values(), default=0) < (
            self._most_per_key // 2
        ):
            return
        now = self._now()
        for id_ in [id_ for id_, held in self._held.items() if now >= held.expires]:
            self._drop(id_)

    def _drop(self, id_: str) -> None:
        held = self._held.pop(id_)
        self._made_by[held.caller.key] -= 1
        if self._made_by[held.caller.key] <= 0:
            del self._made_by[held.caller.key]


class Tickets:
    """The link that opens a page, once. Each use makes the next one, for who watches the terminal.

    Used from the event loop's thread, so that of two uses at once one is the first.
    """

    def __init__(self, secrets: ClientSecrets, caller: Caller, show: Callable[[str], None]) -> None:
        """Make the first ticket.

        Args:
            secrets: Where a page's own secret is made.
            caller: Whom it lets in.
            show: Tells a new ticket to the one person who may use it.
        """
        self._secrets, self._caller, self._show = secrets, caller, show
        self._sha256: str | None = None
        self._number = 0

    def offer(self) -> None:
        """Make a new ticket and show it; one that was not used counts no more."""
        ticket = secret_words.new(secret_words.TICKET)
        self._sha256 = ticket.sha256
        self._show(ticket.words)

    def redeem(self, words: str) -> tuple[Issued, Caller] | None:
        """A page's own secret for a ticket, and whom it lets in; None where it is none."""
        if not secret_words.id_of(words, secret_words.TICKET):
            return None
        if not secret_words.proves(words, self._sha256):
            return None
        self._number += 1
        # Pages of one person do not take each other's seats away.
        caller = replace(self._caller, key=f"{self._caller.key}.{self._number}")
        issued = self._secrets.issue(caller, PAGE_LASTS, renewed=True)
        self.offer()  # from here on this one counts no more
        return None if issued is None else (issued, caller)
