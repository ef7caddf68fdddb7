from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echat_memory.mood_home import (
    Affect,
    Home,
    InsufficientData,
    Trend,
    deviation,
    home,
    mood,
    slope,
    trend,
)

TODAY = date(2026, 3, 30)
AT_HOME = Home(base=Affect(0.1, -0.1), spread=Affect(0.2, 0.2), days=9)


@dataclass(frozen=True)
class OneDay:
    day: date
    affect: Affect | None
    weight: float = 20.0


def ago(days: int, valence: float, arousal: float = 0.0) -> OneDay:
    return OneDay(TODAY - timedelta(days=days), Affect(valence, arousal))


_places = st.builds(Affect, st.floats(-1, 1), st.floats(-1, 1))
_days = st.lists(
    st.builds(
        OneDay,
        st.integers(-3, 40).map(lambda days: TODAY - timedelta(days=days)),
        st.none() | _places,
        st.floats(0.1, 1e4),
    ),
    max_size=25,
    unique_by=lambda day: day.day,
)
_homes = st.builds(Home, _places, st.just(Affect(0.1, 0.1)), st.just(9))


# --- laws ------------------------------------------------------------------------------------


@given(_days, _homes, st.randoms())
def test_the_order_of_days_changes_not_a_bit(
    days: list[OneDay], at_home: Home, random: Random
) -> None:
    shuffled = days.copy()
    random.shuffle(shuffled)
    assert home(shuffled, today=TODAY, sessions=9) == home(days, today=TODAY, sessions=9)
    assert mood(shuffled, at_home, today=TODAY) == mood(days, at_home, today=TODAY)
    assert trend(shuffled, today=TODAY) == trend(days, today=TODAY)


@given(_days, _homes)
def test_every_place_stays_within_its_bounds(days: list[OneDay], at_home: Home) -> None:
    places = [mood(days, at_home, today=TODAY)]
    found = home(days, today=TODAY, sessions=9)
    if isinstance(found, Home):
        places.append(found.base)
        assert min(found.spread.valence, found.spread.arousal) >= 0.10
    for place in places:
        assert -1 <= place.valence <= 1
        assert -1 <= place.arousal <= 1


@given(_days, _homes)
def test_with_no_new_day_a_mood_comes_ever_closer_to_its_home_base(
    days: list[OneDay], at_home: Home
) -> None:
    last = max((day.day for day in days), default=TODAY)
    away = [
        abs(mood(days, at_home, today=last + timedelta(days=later)).valence - at_home.base.valence)
        for later in range(40)
    ]
    assert all(b <= a + 1e-12 for a, b in pairwise(away))
    assert away[-1] < 0.05


# --- what is told ----------------------------------------------------------------------------


def test_a_mood_without_a_day_is_the_home_base() -> None:
    assert mood([], AT_HOME, today=TODAY) == AT_HOME.base


def test_a_day_counts_half_after_three_days() -> None:
    """Beside a home base of 0.5: 2/3 of a day's evidence on the day, 1/3 of it three days later."""
    days = [OneDay(TODAY, Affect(0.7, 0.5), weight=20.0)]
    on_the_day = mood(days, AT_HOME, today=TODAY)
    assert on_the_day.valence == pytest.approx(0.1 + 0.6 * (2 / 3) / (2 / 3 + 1 / 2))
    later = mood(days, AT_HOME, today=TODAY + timedelta(days=3))
    assert later.valence == pytest.approx(0.1 + 0.6 * (1 / 3) / (1 / 3 + 1 / 2))


def test_a_day_that_rests_on_little_moves_a_mood_less() -> None:
    little, much = (
        mood([OneDay(TODAY, Affect(-0.6, 0.0), weight)], AT_HOME, today=TODAY).valence
        for weight in (1.0, 100.0)
    )
    assert much < little < AT_HOME.base.valence


def test_a_home_base_is_the_median_of_four_weeks() -> None:
    days = [ago(28, -0.6), ago(27, 0.3), ago(9, 0.1), ago(3, -0.2), ago(-1, -0.6)]
    found = home(days, today=TODAY, sessions=5)
    assert isinstance(found, Home)
    assert (found.base.valence, found.days) == (0.1, 3)
    assert found.spread.valence == pytest.approx(1.4826 * 0.2)
    assert found.spread.arousal == 0.10  # never less, or a breath would be a storm


@pytest.mark.parametrize(
    ("sessions", "days", "there"),
    [(0, 0, "are 0 sessions on 0 days"), (1, 1, "is 1 session on 1 day"), (9, 2, "on 2 days")],
)
def test_too_few_days_are_told_and_not_guessed_from(sessions: int, days: int, there: str) -> None:
    found = home([ago(i, 0.1) for i in range(days)], today=TODAY, sessions=sessions)
    assert isinstance(found, InsufficientData)
    assert "needs 5 sessions on 3 days within 28 days" in found.missing
    assert there in found.missing


def test_a_deviation_is_counted_in_spreads() -> None:
    assert deviation(Affect(-0.3, 0.1), AT_HOME) == Affect(pytest.approx(-2.0), pytest.approx(1.0))


# --- trend -----------------------------------------------------------------------------------


@settings(deadline=None)  # the first draw imports scipy
@given(
    st.lists(st.integers(-13, 0), min_size=5, max_size=14, unique=True).flatmap(
        lambda x: st.tuples(
            st.just([float(day) for day in x]),
            st.lists(st.integers(-20, 20).map(lambda n: n / 20), min_size=len(x), max_size=len(x)),
        )
    )
)
def test_a_slope_and_its_bounds_are_those_of_scipy(
    points: tuple[list[float], list[float]],
) -> None:
    stats = pytest.importorskip("scipy.stats")
    x, y = points
    theirs = stats.theilslopes(y, x, 0.95)
    ours = slope(x, y)
    assert (ours.per_day, ours.low, ours.high) == pytest.approx(
        (theirs.slope, theirs.low_slope, theirs.high_slope)
    )


def test_one_bad_day_bends_no_trend() -> None:
    rising = [ago(day, -day / 50) for day in range(14)]
    rising[3] = ago(3, -0.6)
    found = trend(rising, today=TODAY)
    assert isinstance(found, Trend)
    assert found.valence.per_day == pytest.approx(1 / 50)
    assert found.valence.is_clear
    assert not found.arousal.is_clear


def test_a_trend_needs_five_days_of_two_weeks() -> None:
    found = trend([ago(day, 0.1) for day in (0, 1, 13, 13 + 1, 20)], today=TODAY)
    assert found == InsufficientData(
        "needs 5 days within 14 days on which an emotion is known; there are 3 days"
    )
    assert isinstance(trend([ago(day, 0.1) for day in (0, 1, 2, 12, 13)], today=TODAY), Trend)
