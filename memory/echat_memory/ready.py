"""What was read of the people who are here, used again as long as it is what the rows say.

All that a reply is given whatever will be said is read when somebody begins to speak, so that at
the end of their turn no row is. It counts until anybody writes: `Database.stamp` tells that
somebody did, and where it was this process, it tells here what. Where there is no stamp rows are
read each time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from echat_memory.episodes import SILENCE, Episodes
from echat_memory.recall import Basis
from echat_sdk.consent import Consents

T = TypeVar("T")

MOST_USERS = 1_000
"""Users of whom something is held; of more, whoever was here longest ago is dropped."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a transaction of ours wrote, of all that is held.

    Attributes:
        of: The pseudonym of the user whose rows it wrote, and nobody else's; an empty one where it
            wrote nothing that is held of anybody.
        only_turns: Whether that was a turn, and nothing else.
    """

    of: str = ""
    only_turns: bool = True


class Ready:
    """What is held of every user who is here.

    Changed by whoever has the lock of the database and that of what is held, read by whoever has
    one of them.

    Args:
        episodes: Where earlier turns are searched; told when others may have changed them.
    """

    def __init__(self, episodes: Episodes) -> None:
        self._episodes = episodes
        self._stamp: Hashable = None
        self._consents: OrderedDict[str, Consents] = OrderedDict()
        self._known: OrderedDict[str, Basis] = OrderedDict()

    def is_of(self, stamp: Hashable) -> bool:
        """Whether what is held is what the rows say; asked before each use.

        Args:
            stamp: What `Database.stamp` gives now.
        """
        return stamp is not None and stamp == self._stamp

    def check(self, stamp: Hashable) -> None:
        """Drop all, unless nothing was written since.

        Args:
            stamp: What `Database.stamp` gave after what is read next can have been written.
        """
        if not self.is_of(stamp):
            self.wrote(None, stamp)

    def consents(self, who: str) -> Consents | None:
        """What a user said, if it is held."""
        return self._consents.get(who)

    def known(self, who: str, now: datetime) -> Basis | None:
        """What a reply to this user is given at this moment, if it is held."""
        known = self._known.get(who)
        return known if known is not None and known.holds(now) else None

    def hold(self, who: str, what: Consents | Basis) -> None:
        """Hold what was read of a user since the last `check`."""
        if self._stamp is None:
            return
        if isinstance(what, Consents):
            _put(self._consents, who, what)
            return
        while self._known and abs(what.since - next(iter(self._known.values())).since) > SILENCE:
            self._known.popitem(last=False)
        _put(self._known, who, what)

    def wrote(self, what: Written | None, stamp: Hashable) -> None:
        """Somebody has written.

        Args:
            what: Whose rows; None where it may have been anybody's.
            stamp: What `Database.stamp` gave since.
        """
        self._stamp = stamp
        if what is None or not what.only_turns:
            who = None if what is None else what.of
            self.drop(who)
            self._episodes.doubt(who)
        else:
            self._known.pop(what.of, None)

    def drop(self, who: str | None = None) -> None:
        """Hold no more of a user, or of anybody for None."""
        for held in (self._consents, self._known):
            if who is None:
                held.clear()
            else:
                held.pop(who, None)


def _put(held: OrderedDict[str, T], who: str, what: T) -> None:
    held[who] = what
    held.move_to_end(who)
    if len(held) > MOST_USERS:
        held.popitem(last=False)
