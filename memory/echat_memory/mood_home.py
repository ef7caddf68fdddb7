"""Where somebody's mood is at home, how far from there it is, and whether it moves. Pure.

The home base is the median of four weeks' days. Away from it a mood is drawn back: what a day says
halves every three days, and the home base counts as a little evidence beside it. Nothing is told
from too few days: "not enough data" is an answer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from statistics import NormalDist, median
from typing import Protocol

from echat_sdk.audio import Seconds

HOME_DAYS = 28
TREND_DAYS = 14
HALF_LIFE = 3.0
"""Days after which a day counts half."""
LEAST_SPREAD = 0.10
ENOUGH_SESSIONS = 5
ENOUGH_DAYS = 3
ENOUGH_TREND_DAYS = 5
"""With fewer, no slope of theirs could be told from none at 95 %."""
HOME_WEIGHT = 0.5
"""What the home base counts beside the days, each of which counts 1 at most."""
HALF_SURE: Seconds = 10.0
"""A day with this much speech, surely heard, counts half."""

_SIGMA = 1.4826  # the median absolute deviation of a normal distribution, to its standard deviation
_SURE = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Affect:
    """A place in the plane of feeling, or a distance there.

    Attributes:
        valence: From unpleasant to pleasant. A place is in [-1, 1].
        arousal: From calm to stirred. A place is in [-1, 1].
    """

    valence: float
    arousal: float


@dataclass(frozen=True, slots=True)
class InsufficientData:
    """Not enough is known to say.

    Attributes:
        missing: What it takes and what there is, in words.
    """

    missing: str


@dataclass(frozen=True, slots=True)
class Home:
    """The home base of a mood.

    Attributes:
        base: The median of the days.
        spread: 1.4826 times their median absolute deviation from it, and 0.10 at least.
        days: How many days it is the median of.
    """

    base: Affect
    spread: Affect
    days: int


@dataclass(frozen=True, slots=True)
class Slope:
    """The change a day: its best guess and the bounds that hold it at 95 %."""

    per_day: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the bounds leave out that nothing changes."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Trend:
    """How the days of the last two weeks change."""

    valence: Slope
    arousal: Slope


class Day(Protocol):
    """What is read of a day: its date, its place if known, and what that rests on."""

    @property
    def day(self) -> date:
        """The local date."""
        ...

    @property
    def affect(self) -> Affect | None:
        """The mean over its turns; None where no turn has a place."""
        ...

    @property
    def weight(self) -> Seconds:
        """Seconds of speech, each counted by how surely it was heard."""
        ...


def home(days: Sequence[Day], *, today: date, sessions: int) -> Home | InsufficientData:
    """The home base as of a day.

    Args:
        days: One entry a day; others than the last 28 count for nothing.
        today: The last of those.
        sessions: In how many sittings of those days an emotion is known.
    """
    places = [place for _, place, _ in _window(days, today, HOME_DAYS)]
    if sessions < ENOUGH_SESSIONS or len(places) < ENOUGH_DAYS:
        return InsufficientData(
            f"needs {ENOUGH_SESSIONS} sessions on {ENOUGH_DAYS} days within {HOME_DAYS} days in "
            f"which an emotion is known; there {'is' if sessions == 1 else 'are'} "
            f"{_count(sessions, 'session')} on {_count(len(places), 'day')}"
        )
    valence = _middle([place.valence for place in places])
    arousal = _middle([place.arousal for place in places])
    return Home(
        base=Affect(valence[0], arousal[0]),
        spread=Affect(valence[1], arousal[1]),
        days=len(places),
    )


def mood(days: Sequence[Day], home: Home, *, today: date, half_life: float = HALF_LIFE) -> Affect:
    """The mood as of a day: what the days say, the newest most, drawn to the home base.

    The mean of the home base, which counts 0.5, and of each day, which counts up to 1 by what it
    rests on and half as much for every half-life that it is old. So without new days it comes ever
    closer to the home base.

    Args:
        days: One entry a day; those after `today` count for nothing.
        home: The home base.
        today: As of when.
        half_life: In days.
    """
    counted = [
        (place, weight / (weight + HALF_SURE) * 0.5 ** ((today - day).days / half_life))
        for day, place, weight in _window(days, today, None)
    ]
    whole = math.fsum([HOME_WEIGHT, *(count for _, count in counted)])

    def mean(base: float, values: Sequence[float]) -> float:
        parts = [n * (value - base) for value, (_, n) in zip(values, counted, strict=True)]
        return within(base + math.fsum(parts) / whole)

    return Affect(
        mean(home.base.valence, [place.valence for place, _ in counted]),
        mean(home.base.arousal, [place.arousal for place, _ in counted]),
    )


def deviation(mood: Affect, home: Home) -> Affect:
    """How far a mood is from its home base, in spreads: a z-score each."""
    return Affect(
        (mood.valence - home.base.valence) / home.spread.valence,
        (mood.arousal - home.base.arousal) / home.spread.arousal,
    )


def trend(days: Sequence[Day], *, today: date) -> Trend | InsufficientData:
    """How the days of the last two weeks change, by Theil and Sen: no single day can bend it."""
    seen = _window(days, today, TREND_DAYS)
    if len(seen) < ENOUGH_TREND_DAYS:
        return InsufficientData(
            f"needs {ENOUGH_TREND_DAYS} days within {TREND_DAYS} days on which an emotion is "
            f"known; there {'is' if len(seen) == 1 else 'are'} {_count(len(seen), 'day')}"
        )
    at = [float((day - today).days) for day, _, _ in seen]
    return Trend(
        slope(at, [place.valence for _, place, _ in seen]),
        slope(at, [place.arousal for _, place, _ in seen]),
    )


def slope(x: Sequence[float], y: Sequence[float]) -> Slope:
    """The median of the slopes between all pairs of points, with Sen's bounds at 95 %.

    Args:
        x: No two alike. At least two.
        y: As many.
    """
    pairs = itertools.combinations(zip(x, y, strict=True), 2)
    slopes = sorted((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs)
    alike = [y.count(value) for value in set(y)]
    n, count = len(y), len(slopes)
    # The variance of Kendall's S, whose quantiles count the slopes that lie outside.
    variance = (n * (n - 1) * (2 * n + 5) - sum(k * (k - 1) * (2 * k + 5) for k in alike)) / 18
    outside = (count - _SURE * math.sqrt(variance)) / 2
    low = max(round(outside) - 1, 0)
    high = min(round(count - outside), count - 1)
    return Slope(median(slopes), slopes[low], slopes[high])


def within(value: float) -> float:
    """The value in [-1, 1]: a mean of what is there may leave it by a rounding."""
    return max(-1.0, min(1.0, value))


def _window(
    days: Sequence[Day], today: date, length: int | None
) -> list[tuple[date, Affect, Seconds]]:
    """The days with a place among the last ones until today, oldest first."""
    found = [
        (day.day, day.affect, day.weight)
        for day in days
        if day.affect is not None
        and day.day <= today
        and (length is None or (today - day.day).days < length)
    ]
    return sorted(found, key=lambda item: item[0])


def _middle(values: Sequence[float]) -> tuple[float, float]:
    base = median(values)
    return base, max(_SIGMA * median(abs(value - base) for value in values), LEAST_SPREAD)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
