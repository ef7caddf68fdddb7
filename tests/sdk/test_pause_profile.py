"""What is learnt of a speaker's pauses, as laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from echat_sdk.pause_profile import LONGEST, MOST, USUAL, PauseProfile
from echat_sdk.turn_policy import TurnPolicy

POLICY = TurnPolicy()
pauses = st.lists(st.floats(0, 10), max_size=80)


def after(heard: list[float]) -> PauseProfile:
    profile = PauseProfile()
    for pause in heard:
        profile = profile.after(pause)
    return profile


def test_of_a_stranger_nothing_is_assumed() -> None:
    assert PauseProfile().patience(POLICY) == 1


@given(pauses)
def test_patience_stays_within_its_bounds(heard: list[float]) -> None:
    assert 1 <= after(heard).patience(POLICY) <= POLICY.most_patience


@given(pauses, st.integers(0, 79), st.floats(0, 5))
def test_a_longer_pause_never_makes_us_less_patient(
    heard: list[float], number: int, more: float
) -> None:
    if heard:
        longer = list(heard)
        longer[number % len(heard)] += more
        assert after(longer).patience(POLICY) >= after(heard).patience(POLICY) - 1e-9


@given(
    st.lists(st.floats(0, LONGEST), min_size=2, max_size=2),
    st.integers(0, MOST),
    st.floats(1, 4),
)
def test_patience_rises_with_the_mean_and_hurries_nobody(
    means: list[float], count: int, most: float
) -> None:
    policy = TurnPolicy(most_patience=most)
    less, more = (PauseProfile(mean=mean, count=count).patience(policy) for mean in sorted(means))
    assert 1 <= less <= more <= most


@given(pauses, st.floats(0, 100))
def test_one_pause_moves_little(heard: list[float], odd: float) -> None:
    profile = after(heard)
    moved = profile.after(odd).patience(POLICY) - profile.patience(POLICY)
    assert abs(moved) <= LONGEST / USUAL / 7 + 1e-9


@given(pauses, st.floats(0.1, 2.5))
def test_who_changes_is_followed(heard: list[float], now: float) -> None:
    assert after([*heard, *[now] * 200]).mean == pytest.approx(now, abs=0.05)


def test_who_pauses_long_is_waited_for_longer_and_who_does_not_is_not_hurried() -> None:
    slow, quick = after([1.2] * 20), after([0.2] * 20)
    assert slow.patience(POLICY) > 1.3
    assert quick.patience(POLICY) == 1


@given(pauses)
def test_a_profile_that_was_kept_comes_back_as_it_was(heard: list[float]) -> None:
    profile = after(heard)
    assert PauseProfile.model_validate_json(profile.model_dump_json()) == profile


def test_a_profile_out_of_bounds_is_refused() -> None:
    with pytest.raises(ValidationError):
        PauseProfile(mean=-1)
    with pytest.raises(ValidationError):
        PauseProfile(count=1000)
