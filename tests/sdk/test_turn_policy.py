"""How long a pause must be before a turn is over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from echat_sdk.cues import Age, Cue, Cues, Emotion
from echat_sdk.turn_policy import TurnPolicy, patience_for

chances = st.floats(0, 1)
presets = st.sampled_from(["patient", "normal", "brisk", "kiosk"])


@given(presets, chances, chances)
def test_the_more_complete_a_turn_sounds_the_sooner_it_ends(
    preset: str, one: float, other: float
) -> None:
    policy = TurnPolicy.of(preset)  # type: ignore[arg-type]
    less, more = sorted((one, other))
    assert policy.end_delay(less) >= policy.end_delay(more)


@given(presets, st.none() | chances, st.floats(0.1, 100))
def test_no_delay_leaves_the_bounds(preset: str, chance: float | None, patience: float) -> None:
    policy = TurnPolicy.of(preset)  # type: ignore[arg-type]
    assert policy.min_delay <= policy.end_delay(chance, patience) <= policy.max_delay


@given(presets, st.none() | chances, st.floats(1, 3))
def test_words_that_hang_are_waited_for_longer_and_whole_ones_no_longer(
    preset: str, chance: float | None, patience: float
) -> None:
    policy = TurnPolicy.of(preset)  # type: ignore[arg-type]
    unread = policy.end_delay(chance, patience)
    hanging, whole = (policy.end_delay(chance, patience, hangs=does) for does in (True, False))
    assert policy.min_delay <= whole <= unread <= hanging <= policy.max_delay


def test_words_bound_what_the_sound_may_say() -> None:
    policy = TurnPolicy()
    assert policy.end_delay(1.0, hangs=True) == policy.end_delay(policy.hanging) > policy.delay
    assert policy.end_delay(0.0, hangs=False) == policy.end_delay(policy.whole) < policy.max_delay
    assert policy.end_delay(1.0, hangs=False) == policy.min_delay
    assert policy.end_delay(0.0, hangs=True) == policy.max_delay


def test_a_complete_turn_waits_least_and_an_unknown_one_in_between() -> None:
    policy = TurnPolicy()
    assert policy.end_delay(0.97) == policy.min_delay
    assert policy.end_delay(0.0) == policy.max_delay
    assert policy.end_delay(None) == policy.delay


def test_what_sounds_three_quarters_complete_is_waited_for_a_little() -> None:
    policy = TurnPolicy()
    waited = policy.end_delay(0.75)
    assert policy.min_delay + 0.2 < waited < policy.delay + 0.1


def test_presets_are_ordered_by_patience() -> None:
    delays = [TurnPolicy.of(preset).delay for preset in ("brisk", "kiosk", "normal", "patient")]
    assert delays == sorted(delays)


def test_delays_in_the_wrong_order_are_refused_with_what_was_got() -> None:
    with pytest.raises(ValidationError, match=r"min_delay <= delay.*got 0\.14, 0\.9, 0\.7"):
        TurnPolicy(min_delay=0.9)
    with pytest.raises(ValidationError, match="longer than confirm"):
        TurnPolicy(duck_after=0.5)
    with pytest.raises(ValidationError, match=r"hanging 0\.6 is a larger chance than whole 0\.3"):
        TurnPolicy(hanging=0.6)


def test_the_sad_and_the_old_are_given_more_time_and_an_unknown_voice_is_not() -> None:
    assert patience_for(Cues()) == 1
    sad = Cues(emotion=Cue(Emotion.SAD, 0.8))
    assert patience_for(sad) > 1
    assert patience_for(Cues(emotion=sad.emotion, age=Cue(Age.OLD, 0.8))) > patience_for(sad)
