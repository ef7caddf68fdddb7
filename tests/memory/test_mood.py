from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_memory.mood import mood_line
from echat_sdk.cues import Cue, Emotion, affect


def test_a_mood_is_told_with_a_hedge() -> None:
    line = mood_line(["sad", "sad", "happy"], "en")
    assert line == "Lately they have sounded sad more often than not."
    assert mood_line(["happy", "happy", "sad"], "zh") == "最近听起来，用户多半开心。"


@pytest.mark.parametrize(
    "labels",
    [
        (),
        ("sad", "sad"),
        ("sad", "sad", "unknown", "unknown", "other"),
        ("neutral", "neutral", "sad"),
        ("sad", "happy", "surprise", "neutral"),
    ],
)
def test_too_little_or_too_mixed_says_nothing(labels: tuple[str, ...]) -> None:
    assert mood_line(labels, "en") == ""


def test_different_heavy_feelings_together_are_troubled() -> None:
    assert "troubled" in mood_line(["sad", "fear", "anger", "happy"], "en")


def test_valence_and_arousal_are_the_mean_over_the_distribution() -> None:
    assert affect(Cue("sad", 1.0)) == (-0.63, -0.27)
    valence, arousal = affect(Cue("sad", 0.5, {"sad": 0.5, "neutral": 0.5})) or (9, 9)
    assert (valence, arousal) == pytest.approx((-0.315, -0.135))
    assert affect(Cue()) is None
    assert affect(Cue("other", 1.0)) is None


@given(st.dictionaries(st.sampled_from([*Emotion]), st.floats(0, 1), min_size=1))
def test_valence_and_arousal_stay_within_their_bounds(distribution: dict[str, float]) -> None:
    place = affect(Cue("sad", 0.5, distribution))
    if place is not None:
        assert all(-1 <= x <= 1 for x in place)


@given(st.lists(st.sampled_from([*Emotion, "unknown"])), st.randoms())
def test_the_order_of_turns_does_not_change_the_mood(labels: list[str], random: Random) -> None:
    shuffled = labels.copy()
    random.shuffle(shuffled)
    assert mood_line(labels, "en") == mood_line(shuffled, "en")
