from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.cues import UNKNOWN, Cue, Emotion, Gender
from echat_sdk.model.cascade.fusion import emotion_cue, fuse, gender_cue
from echat_sdk.model.cascade.text_emotion import EMOTIONS

distributions = (
    st.lists(st.floats(0.0, 1.0), min_size=8, max_size=8)
    .filter(lambda xs: sum(xs) > 0.1)
    .map(lambda xs: (np.array(xs) / sum(xs)).astype(np.float32))
)


def of(**shares: float) -> np.ndarray:
    """A distribution with these shares; the rest is spread evenly."""
    named = {Emotion[name.upper()]: share for name, share in shares.items()}
    rest = (1.0 - sum(shares.values())) / (8 - len(named))
    return np.array([named.get(emotion, rest) for emotion in EMOTIONS], dtype=np.float32)


def hear(voice: np.ndarray, words: np.ndarray, seconds: float = 2.0, snr: float | None = 25) -> Cue:
    return emotion_cue(voice, words, speech_seconds=seconds, snr_db=snr)


NEUTRAL_WORDS = of(neutral=0.75, other=0.1)


@pytest.mark.parametrize("emotion", ["sad", "anger", "happy", "fear", "disgust"])
def test_neutral_words_never_drag_a_moved_voice_to_neutral(emotion: str) -> None:
    voice = of(**{emotion: 0.5, "neutral": 0.35})
    assert np.array_equal(fuse(voice, NEUTRAL_WORDS), voice)
    assert hear(voice, NEUTRAL_WORDS).label == emotion


def test_a_flat_voice_with_strong_words_takes_their_feeling_less_surely() -> None:
    cue = hear(of(neutral=0.9), of(sad=0.95))
    assert cue.label == "sad"
    assert 0.5 < cue.confidence < 0.9


def test_a_crying_voice_with_happy_words_is_sad_and_both_stay_visible() -> None:
    cue = hear(of(sad=0.8, neutral=0.1), of(happy=0.95))
    assert cue.label == "sad"
    assert cue.distribution["happy"] > 0.15
    assert cue.distribution["sad"] > 0.5


def test_words_and_voice_that_agree_are_surer_than_an_unsure_voice_alone() -> None:
    voice = of(fear=0.4, sad=0.3)
    assert hear(voice, of(fear=0.9)).confidence > hear(voice, NEUTRAL_WORDS).confidence


def test_words_decide_between_two_feelings_of_the_voice() -> None:
    voice = of(happy=0.42, anger=0.40)
    assert hear(voice, NEUTRAL_WORDS).label == UNKNOWN
    assert hear(voice, of(anger=0.9)).label == "anger"


def test_surprise_can_come_from_the_words_alone() -> None:
    assert hear(of(neutral=0.85), of(surprise=0.9)).label == "surprise"


@pytest.mark.parametrize(
    ("seconds", "snr", "why"), [(0.79, 25, "0.8 s"), (2.0, -1.0, "noise"), (0.0, None, "0.8 s")]
)
def test_poor_audio_is_unknown_with_its_reason(seconds: float, snr: float | None, why: str) -> None:
    cue = hear(of(sad=0.99), of(sad=0.99), seconds, snr)
    assert (cue.label, cue.confidence) == (UNKNOWN, 0.0)
    assert why in cue.why
    gender = gender_cue(0.99, speech_seconds=seconds, snr_db=snr)
    assert gender.label == UNKNOWN
    assert why in gender.why


def test_two_labels_close_together_are_unknown_and_both_are_named() -> None:
    cue = hear(of(sad=0.40, fear=0.35), NEUTRAL_WORDS)
    assert cue.label == UNKNOWN
    assert "sad" in cue.why
    assert "fear" in cue.why
    assert cue.distribution["sad"] == pytest.approx(0.40, abs=1e-6)


@pytest.mark.parametrize(
    ("female", "label"),
    [(0.9, Gender.FEMALE), (0.1, Gender.MALE), (0.6, UNKNOWN), (0.4, UNKNOWN), (0.66, "female")],
)
def test_gender_is_unknown_between_the_two(female: float, label: str) -> None:
    assert gender_cue(female, speech_seconds=2.0, snr_db=None).label == label


@given(voice=distributions, words=distributions)
def test_what_is_fused_is_a_distribution(voice: np.ndarray, words: np.ndarray) -> None:
    fused = fuse(voice, words)
    assert fused.sum() == pytest.approx(1.0, abs=1e-4)
    assert (fused >= 0).all()


@given(voice=distributions, words=distributions)
def test_a_cue_is_never_sure_of_what_its_distribution_does_not_favour(
    voice: np.ndarray, words: np.ndarray
) -> None:
    cue = hear(voice, words)
    if cue.is_known:
        assert cue.confidence == max(cue.distribution.values())
        assert cue.distribution[cue.label] == cue.confidence


@given(voice=distributions, words=distributions)
def test_a_voice_surely_moved_keeps_its_label_against_any_words(
    voice: np.ndarray, words: np.ndarray
) -> None:
    moved = 0.2 * voice + 0.8 * np.eye(8, dtype=np.float32)[EMOTIONS.index(Emotion.SAD)]
    assert EMOTIONS[fuse(moved, words).argmax()] == Emotion.SAD
