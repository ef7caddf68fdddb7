"""The memory of parked conversations: counted in one place, capped, and who gives way first.

Counted is each parked tensor once, whoever holds it: a request that waits for its row, the
conversations kept between turns, the fixed heads. When there is no room,

1. the keys and values of the conversation that was used least recently are dropped, then of the
   next: they are read again from their ids when they are needed, so answers stay the same;
2. a running request keeps its row where it would otherwise have given way;
3. a newcomer that wants to be kept is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from weakref import WeakSet


class Place:
    """So many bytes are taken, as long as somebody holds this."""

    __slots__ = ("__weakref__", "nbytes", "parking")

    def __init__(self, parking: Parking, nbytes: int) -> None:
        self.parking = parking
        self.nbytes = nbytes


class Parking:
    """Bytes that parked keys and values take together.

    Args:
        most: Bytes at most. What ends is parked even beyond that, so that it can be kept; the next
            request then finds no room.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._places: WeakSet[Place] = WeakSet()
        self._droppers: list[Callable[[], bool]] = []
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes taken now."""
        with self._lock:
            return sum(place.nbytes for place in self._places)

    def take(self, nbytes: int) -> Place:
        """Count so many bytes while the place is held."""
        place = Place(self, nbytes)
        with self._lock:
            self._places.add(place)
        return place

    def on_need(self, drop: Callable[[], bool]) -> None:
        """Name somebody who can do without; naming one twice is naming one.

        Args:
            drop: Drops what was used least recently; tells whether there was anything.
        """
        with self._lock:
            if drop not in self._droppers:
                self._droppers.append(drop)

    def make_room(self, nbytes: int) -> bool:
        """Drop what can be read again until so many bytes are free; tells whether they are."""
        while self.nbytes + nbytes > self.most:
            if not any(drop() for drop in self._droppers):
                return False
        return True
