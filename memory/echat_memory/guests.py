"""People of whom nothing is written: their turns live in RAM, as long as they talk.

Bounded: beyond `MOST_GUESTS` who was heard of longest ago is forgotten, beyond `MOST_TURNS` of one
guest their oldest turn. A silence that ends a session ends the guest.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count

from echat_memory import guest_facts
from echat_memory.extraction import extract
from echat_memory.facts import Fact
from echat_memory.recall import MAX_FACTS
from echat_memory.remembering import SESSION_GAP
from echat_sdk.consent import (
    REFUSALS,
    Consent,
    Consents,
    ConsentState,
    Purpose,
    answered,
    in_session,
)
from echat_sdk.errors import StoreError
from echat_sdk.pause_profile import PauseProfile
from echat_sdk.turn import Known, Lang, Recollection, Turn

MOST_GUESTS = 1000
MOST_TURNS = 50
RECENT_TURNS = 6

_PREFIX = "guest-"


@dataclass(frozen=True, slots=True)
class _Held:
    at: datetime
    turn: Turn
    told: tuple[Fact, ...]


@dataclass(slots=True)
class _Guest:
    seen: datetime
    turns: OrderedDict[str, _Held] = field(default_factory=OrderedDict)
    pauses: PauseProfile = field(default_factory=PauseProfile)
    given: dict[str, Consent] = field(default_factory=dict)


class Guests:
    """Turns and pauses in RAM, by user. From any thread.

    Args:
        clock: Gives the present moment, with its zone.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._guests: OrderedDict[str, _Guest] = OrderedDict()  # heard of longest ago first
        self._numbers = count(1)

    @staticmethod
    def is_guests(turn_id: str) -> bool:
        """Whether an id was given here."""
        return turn_id.startswith(_PREFIX)

    def turns(self, user: str) -> tuple[Turn, ...]:
        """What a user said in this session, oldest first."""
        with self._lock:
            guest = self._find(user)
            return tuple(held.turn for held in guest.turns.values()) if guest else ()

    def facts(self, user: str) -> tuple[str, ...]:
        """What holds of all that a user told in this session, newest first, as a reply sees it."""
        return self.session(user)[1]

    def session(self, user: str) -> tuple[tuple[Turn, ...], tuple[str, ...]]:
        """Their `turns` and their `facts`."""
        with self._lock:
            guest = self._find(user)
            held = list(guest.turns.values()) if guest else []
        if not held:
            return (), ()
        told = guest_facts.holding(each.told for each in held)
        lang: Lang = "zh" if held[-1].turn.lang == "zh" else "en"
        facts = guest_facts.lines(told, today=self._clock().date(), lang=lang)[:MAX_FACTS]
        return tuple(each.turn for each in held), facts

    def add(self, user: str, turn: Turn, turn_id: str | None = None) -> str:
        """Hold a turn, new or in the place of one that is held; returns its id.

        Raises:
            StoreError: no turn of this user with this id is held.
        """
        with self._lock:
            guest = self._find(user)
            if turn_id is None:
                turn_id = f"{_PREFIX}{next(self._numbers)}"
            elif guest is None or turn_id not in guest.turns:
                raise StoreError("this user has no turn with this id, so none was replaced")
            self._put(user, turn_id, turn)
            return turn_id

    def hold(self, user: str, turn_id: str, turn: Turn) -> None:
        """Hold a turn under the id of a row that has only part of it."""
        with self._lock:
            self._find(user)
            self._put(user, turn_id, turn)

    def pauses(self, user: str) -> PauseProfile:
        """How a user pauses; what is usual of somebody unknown."""
        with self._lock:
            guest = self._find(user)
            return guest.pauses if guest else PauseProfile()

    def keep_pauses(self, user: str, profile: PauseProfile) -> None:
        """Hold how a user pauses of whom a turn is held."""
        with self._lock:
            guest = self._find(user)
            if guest and guest.turns:
                guest.pauses = profile

    def given(self, user: str) -> dict[str, Consent]:
        """What a guest answered in this session."""
        with self._lock:
            guest = self._find(user)
            return dict(guest.given) if guest else {}

    def answer(self, user: str, answers: dict[str, Consent]) -> None:
        """Hold a guest's answers."""
        with self._lock:
            guest = self._find(user) or self._new(user)
            guest.given |= answers

    def last(self, user: str) -> tuple[datetime, str] | None:
        """When a user's last turn began to be held, and its id; None where none is."""
        with self._lock:
            guest = self._find(user)
            if not guest or not guest.turns:
                return None
            turn_id = next(reversed(guest.turns))
            return guest.turns[turn_id].at, turn_id

    def forget(
        self, user: str, *, turn: str | None = None, since: datetime | None = None
    ) -> frozenset[str]:
        """Drop one turn that is held, those since a moment, or all, but no answers.

        Pauses go with the last turn that they were learnt in.

        Returns:
            The ids of the turns that were dropped.
        """
        with self._lock:
            guest = self._find(user)
            if not guest:
                return frozenset()
            gone = frozenset(
                turn_id
                for turn_id, held in guest.turns.items()
                if turn in (None, turn_id) and (since is None or held.at >= since)
            )
            for turn_id in gone:
                del guest.turns[turn_id]
            if not guest.turns:
                guest.pauses = PauseProfile()
            return gone

    def _find(self, user: str) -> _Guest | None:
        now = self._clock()
        while self._guests:
            # A clock that was set back makes a gap like any other.
            if abs(now - next(iter(self._guests.values())).seen) <= SESSION_GAP:
                break
            self._guests.popitem(last=False)
        guest = self._guests.get(user)
        if guest is None:
            return None
        if abs(now - guest.seen) > SESSION_GAP:
            del self._guests[user]
            return None
        guest.seen = now
        self._guests.move_to_end(user)
        return guest

    def _new(self, user: str) -> _Guest:
        guest = self._guests[user] = _Guest(self._clock())
        if len(self._guests) > MOST_GUESTS:
            self._guests.popitem(last=False)
        return guest

    def _put(self, user: str, turn_id: str, turn: Turn) -> None:
        guest = self._guests.get(user) or self._new(user)
        at = guest.turns[turn_id].at if turn_id in guest.turns else self._clock()
        guest.turns[turn_id] = _Held(at, turn, tuple(extract(turn.transcript, turn.lang)))
        if len(guest.turns) > MOST_TURNS:
            guest.turns.popitem(last=False)


class GuestMemory:
    """`echat_sdk.protocols.Memory` that writes nothing: no file, and after half an hour no trace.

    What guests agree to is asked of them like of anybody, and holds for their session.

    Args:
        turns: How many of the last turns `recall` gives.
        unasked: Purposes that count as granted as long as nobody asked.
        barred: Purposes that nobody can agree to here.
        clock: Gives the present moment, with its zone.
    """

    def __init__(
        self,
        *,
        turns: int = RECENT_TURNS,
        unasked: Collection[str] = (),
        barred: Collection[str] = (),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._turns = turns
        self._unasked = frozenset(unasked)
        self._barred = frozenset(barred)
        self._clock = clock
        self._guests = Guests(clock)

    def recall(self, user: str, *, query: str = "") -> Recollection:
        """The last turns of this session, and what was told in it; see `Memory.recall`."""
        allowed = self.allowed(user)
        held = (in_session(turn, allowed) for turn in self._guests.turns(user)[-self._turns :])
        return Recollection(turns=tuple(held), facts=self._guests.facts(user))

    def prefetch(self, user: str) -> None:
        """Nothing to make ready: what is held is at hand."""

    def remember(self, user: str, turn: Turn, *, turn_id: str | None = None) -> str:
        """Hold a turn as long as its session lasts; see `Memory.remember`.

        Raises:
            StoreError: no turn `turn_id` of this user is held.
        """
        return self._guests.add(user, in_session(turn, self.allowed(user)), turn_id)

    def pauses(self, user: str) -> PauseProfile:
        """How a user pauses within a turn, in this session."""
        return self._guests.pauses(user)

    def keep_pauses(self, user: str, profile: PauseProfile) -> None:
        """Hold how a user pauses of whom a turn is held."""
        self._guests.keep_pauses(user, profile)

    def consents(self, user: str) -> Consents:
        """What this user said in this session, and what counts without."""
        return Consents(self._guests.given(user), self._unasked, self._barred)

    def allowed(self, user: str) -> frozenset[str]:
        """The purposes that this user may be used for now."""
        return self.consents(user).allowed(self._clock())

    def consent(
        self,
        user: str,
        purposes: str | Collection[str],
        state: ConsentState = ConsentState.GRANTED,
        *,
        version: str = "",
        channel: str = "host",
        expires_at: datetime | None = None,
    ) -> dict[str, int]:
        """Take an answer for the rest of the session; see `SQLMemory.consent`.

        Returns:
            Nothing: there are no rows to delete.

        Raises:
            ConsentError: a purpose is none, or cannot become that.
        """
        answers = answered(
            self.consents(user),
            purposes,
            state,
            version=version,
            channel=channel,
            now=self._clock(),
            expires_at=expires_at,
        )
        self._guests.answer(user, answers)
        if state in REFUSALS and Purpose.PROCESS_VOICE in answers:
            self._guests.forget(user)
        return {}

    def known(self, user: str, *, lang: Lang = "en") -> Known:
        """How many turns are held; nothing is kept. See `Forgetting.known`."""
        return Known(held=len(self._guests.turns(user)))

    def last_turn(self, user: str) -> str | None:
        """The id of what a user said last in this session."""
        last = self._guests.last(user)
        return last and last[1]

    def forget(self, user: str, *, turn: str | None = None, since: datetime | None = None) -> int:
        """Drop what is held of a user, but for their answers; see `Forgetting.forget`."""
        return len(self._guests.forget(user, turn=turn, since=since))

    def close(self) -> None:
        """Forget everybody."""
        self._guests = Guests(self._clock)
