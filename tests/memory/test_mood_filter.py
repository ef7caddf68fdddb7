from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from echat_memory.mood_filter import LABELS, RELIABILITY, evidence, forward, state
from echat_sdk.cues import Emotion

_shares = st.lists(st.floats(1e-6, 1), min_size=8, max_size=8)
_sittings = st.lists(st.none() | _shares, max_size=30)


@given(_sittings, st.floats(0, 0.99))
def test_what_is_believed_sums_to_one(sitting: list[list[float] | None], stay: float) -> None:
    beliefs = list(forward(sitting, stay=stay))
    assert len(beliefs) == len(sitting)
    for belief in beliefs:
        assert sum(belief) == pytest.approx(1)
        assert all(0 <= p <= 1 for p in belief)


@given(st.lists(_shares, max_size=20))
def test_where_nothing_stays_each_turn_is_believed_by_itself(sitting: list[list[float]]) -> None:
    for belief, raw in zip(forward(sitting, stay=1 / 8), sitting, strict=True):
        assert belief == pytest.approx([p / sum(raw) for p in raw])


@given(_sittings, _shares)
def test_without_evidence_what_is_believed_fades(
    sitting: list[list[float] | None], last: list[float]
) -> None:
    *_, believed, faded, more = forward([*sitting, last, None, None])
    assert _unlike(more) <= _unlike(faded) + 1e-12 <= _unlike(believed) + 2e-12


@given(_sittings)
def test_what_comes_later_changes_nothing_before(sitting: list[list[float] | None]) -> None:
    whole = list(forward(sitting))
    assert list(forward(sitting[: len(sitting) // 2])) == whole[: len(sitting) // 2]


def _unlike(belief: Sequence[float]) -> float:
    return max(abs(p - 1 / 8) for p in belief)


def test_a_turn_that_is_not_known_is_no_evidence() -> None:
    assert evidence("unknown", 0.0, {}) is None
    assert evidence("unknown", 0.0, {"sad": 0.5, "happy": 0.5}) is None  # too close to tell
    assert evidence("cheerful", 0.9, {}) is None  # not one of ours


def test_a_label_alone_is_not_taken_for_certain() -> None:
    told = evidence("sad", 0.0, {})
    assert told is not None
    assert told[LABELS.index("sad")] == RELIABILITY
    assert sum(told) == pytest.approx(1)
    least = evidence("sad", 0.01, {})
    assert least == pytest.approx([1 / 8] * 8)  # a label does not count against itself


def test_a_distribution_of_some_labels_gives_the_others_nothing() -> None:
    told = evidence("sad", 0.8, {"sad": 0.8, "neutral": 0.2, "bored": 3.0, "fear": -1.0})
    assert told is not None
    assert dict(zip(LABELS, told, strict=True)) == {
        **dict.fromkeys(LABELS, 0.0),
        "sad": 0.8,
        "neutral": 0.2,
    }


@pytest.mark.parametrize("share", [0.0, 5e-324, 1e-9, float("nan"), float("inf")])
def test_shares_that_are_rounding_or_no_number_leave_the_label_to_speak(share: float) -> None:
    assert evidence("sad", 0.6, {"sad": share}) == evidence("sad", 0.6, {})


@given(st.lists(st.dictionaries(st.sampled_from(LABELS), st.floats(0, 1)), max_size=30))
def test_whatever_shares_were_stored_make_a_belief(sitting: list[dict[str, float]]) -> None:
    for belief in forward(evidence("sad", 0.0, shares) for shares in sitting):
        assert sum(belief) == pytest.approx(1)


def test_one_odd_turn_does_not_turn_a_sitting() -> None:
    sad, odd = evidence("sad", 0.7, {}), evidence("neutral", 0.5, {})
    *_, belief = forward([sad, sad, sad, odd])
    assert state(belief).label == "sad"
    *_, belief = forward([sad, sad, sad, odd, odd, odd])
    assert state(belief).label == "neutral"


def test_two_that_are_about_as_likely_are_unknown_with_the_reason() -> None:
    told = state([0.4, 0.35, 0.25, 0, 0, 0, 0, 0])
    assert (told.label, told.why) == ("unknown", "two emotions are about as likely")
    assert told.distribution[Emotion.SAD] == 0.4
    assert state([0.5, 0.3, 0.2, 0, 0, 0, 0, 0]).label == "sad"


# How far the means of the labels lie apart, in standard deviations of the noise, so that one turn
# is labelled rightly in 55 % and in 70 % of cases.
APART = {0.55: 1.51, 0.70: 1.97}


@pytest.mark.parametrize(
    ("stay", "accuracy"), [(0.60, 0.55), (0.75, 0.55), (0.75, 0.70), (0.85, 0.70)]
)
def test_over_a_dialogue_the_filter_is_right_more_often_than_the_turn_alone(
    stay: float, accuracy: float
) -> None:
    """Dialogues of 14 turns as in the design's own simulation of filters.

    What is felt stays with `stay`, else becomes any other label; a turn shows it as a mean in eight
    dimensions with noise of variance 1, and the classifier gives the posterior of that, so that it
    is calibrated. The filter does not know `stay`.
    """
    random = np.random.default_rng(5)
    dialogues, turns, labels = 400, 14, len(LABELS)
    felt = np.zeros((dialogues, turns), dtype=int)
    felt[:, 0] = random.integers(labels, size=dialogues)
    for turn in range(1, turns):
        other = (felt[:, turn - 1] + random.integers(1, labels, size=dialogues)) % labels
        felt[:, turn] = np.where(random.random(dialogues) < stay, felt[:, turn - 1], other)
    shown = APART[accuracy] * np.eye(labels)[felt] + random.normal(size=(dialogues, turns, labels))
    likelihood = np.exp(APART[accuracy] * shown)
    raw = likelihood.argmax(axis=-1)
    assert (raw == felt).mean() == pytest.approx(accuracy, abs=0.02)
    filtered = np.array(
        [[np.argmax(belief) for belief in forward(dialogue.tolist())] for dialogue in likelihood]
    )
    assert _macro_f1(felt, filtered) > _macro_f1(felt, raw) + 0.05


def _macro_f1(truth: NDArray[np.int_], told: NDArray[np.int_]) -> float:
    scores = []
    for label in range(len(LABELS)):
        both = ((truth == label) & (told == label)).sum()
        scores.append(2 * both / ((truth == label).sum() + (told == label).sum()))
    return float(np.mean(scores))
