"""How somebody has sounded over weeks: days, sittings, home base, deviation, trend. Pure.

All of it is made from the turns each time that it is asked for, and nothing of it is kept. So a
turn that is erased leaves what would be, had it never been said; sittings, too, are found anew in
the times of the turns.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta, tzinfo
from itertools import chain, pairwise
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from echat_memory import mood_home
from echat_memory.mood_filter import certainty, evidence, forward, state
from echat_memory.mood_home import Affect, Home, InsufficientData, Slope, Trend, within
from echat_memory.remembering import SESSION_GAP
from echat_sdk.audio import Seconds
from echat_sdk.cues import UNKNOWN, Cue

LEAST_SECONDS: Seconds = 1.0
"""What a turn counts at least; one that was typed has no length."""
SITTINGS = timedelta(days=56)
"""How far back sittings are listed where nobody asked for more."""

_at = attrgetter("at")


class TurnMood(NamedTuple):
    """How one turn sounded. A tuple, since weeks are thousands of them.

    Attributes:
        at: When it was remembered, with its zone.
        seconds: Its length; 0 if it was typed.
        label: The emotion, as the user said that they felt, else as the model heard it; or
            `unknown`.
        confidence: Of the label, 0 to 1.
        distribution: Probability of each label; empty where there is none.
        valence: From unpleasant to pleasant, -1 to 1; None for an unknown emotion, and for `other`.
        arousal: From calm to stirred, -1 to 1; None where valence is.
        why: For an unknown, the reason.
    """

    at: datetime
    seconds: Seconds
    label: str
    confidence: float
    distribution: Mapping[str, float]
    valence: float | None
    arousal: float | None
    why: str


Sitting = dict[date, list[TurnMood]]
"""The turns of one sitting, by their local day."""


@dataclass(frozen=True, slots=True)
class DayMood:
    """One local day with at least one turn.

    Attributes:
        day: The date in the report's zone.
        affect: The mean over its turns, by their length and how surely they were heard; None where
            no turn has a place.
        weight: What the mean rests on: seconds of speech, each counted by how surely it was heard.
        turns: How many.
        known: Of how many of them the emotion is known.
        sessions: In how many sittings.
    """

    day: date
    affect: Affect | None
    weight: Seconds
    turns: int
    known: int
    sessions: int


@dataclass(frozen=True, slots=True)
class SessionMood:
    """One sitting.

    Attributes:
        started: Its first turn's time, in UTC.
        ended: Its last turn's time, in UTC.
        state: The emotion that lies behind its last turn, by the filter over all of them; unknown
            where none is known, or two are about as likely.
        affect: As `DayMood.affect`.
        weight: As `DayMood.weight`.
        turns: How many.
        known: Of how many of them the emotion is known.
    """

    started: datetime
    ended: datetime
    state: Cue
    affect: Affect | None
    weight: Seconds
    turns: int
    known: int


@dataclass(frozen=True, slots=True)
class MoodReport:
    """What there is to say of somebody's mood. Apparent, expressed emotion; never a diagnosis.

    Attributes:
        zone: Where a day begins at midnight.
        today: The present day there.
        days: Oldest first. A day without a turn is not there.
        sessions: Oldest first; of the last eight weeks where the report is since for ever.
        n_turns: How many turns these are.
        coverage: The share of them whose emotion is known, in [0, 1]; None where there is none.
        unknown: Of the others, how many for which reason; the commonest first.
        home: The home base as of today.
        mood: The mood as of today.
        deviation: How far it is from the home base, in spreads.
        trend: How it changes, over two weeks.
    """

    zone: str
    today: date
    days: tuple[DayMood, ...]
    sessions: tuple[SessionMood, ...]
    n_turns: int
    coverage: float | None
    unknown: Mapping[str, int]
    home: Home | InsufficientData
    mood: Affect | InsufficientData
    deviation: Affect | InsufficientData
    trend: Trend | InsufficientData

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `{"insufficient_data": "..."}` in the place of what cannot be told."""
        return {field.name: _json(getattr(self, field.name)) for field in fields(self)}


def report(
    turns: Iterable[TurnMood], *, now: datetime, zone: tzinfo, since: date | None = None
) -> MoodReport:
    """All that turns say, in whatever order they come.

    Args:
        turns: Of one user.
        now: The present moment.
        zone: Where a day begins at midnight.
        since: The first day that is listed and counted; all days, and sittings of eight weeks,
            where it is None. Home base, mood and trend look further back where they must.
    """
    today = now.astimezone(zone).date()
    found = [split(sitting, zone) for sitting in sittings(turns)]
    every_day = days(found)
    base, mood, away = standing(found, every_day, today=today)
    first = since or date.min
    listed = [day for day in every_day if day.day >= first]
    unknown = Counter(
        turn.why or "no reason kept"
        for sitting in found
        for day, part in sitting.items()
        if day >= first
        for turn in part
        if turn.label == UNKNOWN
    )
    n_turns = sum(day.turns for day in listed)
    return MoodReport(
        zone=str(zone),
        today=today,
        days=tuple(listed),
        sessions=tuple(
            session_mood(sitting)
            for sitting in found
            if max(sitting) >= first_sittings(since, today)
        ),
        n_turns=n_turns,
        coverage=sum(day.known for day in listed) / n_turns if n_turns else None,
        unknown=MappingProxyType(
            dict(sorted(unknown.items(), key=lambda item: (-item[1], item[0])))
        ),
        home=base,
        mood=mood,
        deviation=away,
        trend=mood_home.trend(every_day, today=today),
    )


def first_sittings(since: date | None, today: date) -> date:
    """The day from which on sittings are listed."""
    return today - SITTINGS if since is None else since


def standing(
    sittings: Sequence[Sitting], days: Sequence[DayMood], *, today: date
) -> tuple[Home | InsufficientData, Affect | InsufficientData, Affect | InsufficientData]:
    """Home base, mood and deviation as of a day."""
    first = today - timedelta(days=mood_home.HOME_DAYS - 1)
    sessions = sum(
        any(
            turn.valence is not None
            for day, part in sitting.items()
            if first <= day <= today
            for turn in part
        )
        for sitting in sittings
    )
    base = mood_home.home(days, today=today, sessions=sessions)
    if isinstance(base, InsufficientData):
        return base, base, base
    mood = mood_home.mood(days, base, today=today)
    return base, mood, mood_home.deviation(mood, base)


def sittings(turns: Iterable[TurnMood]) -> list[list[TurnMood]]:
    """The turns in order of time, parted where a long silence lies between two."""
    ordered = sorted(turns, key=_at)
    found = [ordered[:1]] if ordered else []
    for before, turn in pairwise(ordered):
        if turn.at - before.at > SESSION_GAP:
            found.append([turn])
        else:
            found[-1].append(turn)
    return found


def split(sitting: Iterable[TurnMood], zone: tzinfo) -> Sitting:
    """The turns of a sitting by their local day: one, or two where it went on past midnight."""
    found: Sitting = {}
    for turn in sitting:
        found.setdefault(turn.at.astimezone(zone).date(), []).append(turn)
    return found


def days(sittings: Iterable[Sitting]) -> list[DayMood]:
    """The days of these sittings, oldest first."""
    parts: dict[date, list[list[TurnMood]]] = {}
    for sitting in sittings:
        for day, part in sitting.items():
            parts.setdefault(day, []).append(part)
    return [_day_mood(day, parts[day]) for day in sorted(parts)]


def session_mood(sitting: Sitting) -> SessionMood:
    """What a sitting comes to."""
    turns = sorted(chain.from_iterable(sitting.values()), key=_at)
    *_, belief = forward(evidence(turn.label, turn.confidence, turn.distribution) for turn in turns)
    affect, weight = _mean(turns)
    known = _known(turns)
    return SessionMood(
        started=turns[0].at,
        ended=turns[-1].at,
        state=state(belief) if known else Cue(why="no emotion is known"),
        affect=affect,
        weight=weight,
        turns=len(turns),
        known=known,
    )


def _day_mood(day: date, parts: Sequence[Sequence[TurnMood]]) -> DayMood:
    turns = list(chain.from_iterable(parts))
    affect, weight = _mean(turns)
    return DayMood(
        day=day,
        affect=affect,
        weight=weight,
        turns=len(turns),
        known=_known(turns),
        sessions=len(parts),
    )


def _mean(turns: Iterable[TurnMood]) -> tuple[Affect | None, Seconds]:
    """Where turns are in the mean, and its weight. The order of the turns changes no bit of it."""
    weights, valences, arousals = [], [], []
    for _, seconds, _, confidence, _, valence, arousal, _ in turns:
        if valence is not None and arousal is not None:
            weight = max(seconds, LEAST_SECONDS) * certainty(confidence)
            weights.append(weight)
            valences.append(weight * valence)
            arousals.append(weight * arousal)
    if not weights:
        return None, 0.0
    whole = math.fsum(weights)
    return Affect(within(math.fsum(valences) / whole), within(math.fsum(arousals) / whole)), whole


def _json(value: object) -> Any:
    match value:
        case Cue():
            return value.to_json()
        case InsufficientData():
            return {"insufficient_data": value.missing}
        case DayMood() | SessionMood() | Affect() | Home() | Trend() | Slope():
            return {field.name: _json(getattr(value, field.name)) for field in fields(value)}
        case tuple():
            return [_json(item) for item in value]
        case Mapping():
            return dict(value)
        case date():
            return value.isoformat()
        case float():
            return round(value, 4)
    return value


def _known(turns: Iterable[TurnMood]) -> int:
    return sum(turn.label != UNKNOWN for turn in turns)
