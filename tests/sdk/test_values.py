from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.audio import FRAME_LEN, frames, to_float, to_int16
from echat_sdk.cues import Cue, Cues, ReplyEmotion


@given(st.integers(0, 5000))
def test_frames_hold_every_sample_and_only_silence_beside(n: int) -> None:
    samples = (np.arange(n) % 30_000 + 1).astype(np.int16)
    whole = np.concatenate([f.samples for f in frames(samples)]) if n else samples
    assert len(whole) % FRAME_LEN == 0
    assert (whole[:n] == samples).all()
    assert not whole[n:].any()


def test_samples_survive_the_way_to_float_and_back() -> None:
    samples = np.arange(-32768, 32768).astype(np.int16)
    assert (to_int16(to_float(samples)) == samples).all()


def test_too_loud_is_clipped_never_wrapped() -> None:
    loud = np.array([2.0, -2.0, 1.0], np.float32)
    assert to_int16(loud).tolist() == [32767, -32768, 32767]


@given(
    st.sampled_from(["sad", "unknown"]),
    st.floats(0, 1).map(lambda x: round(x, 4)),
    st.dictionaries(st.sampled_from(["sad", "happy"]), st.floats(0, 1).map(lambda x: round(x, 4))),
)
def test_cues_survive_the_way_to_json_and_back(
    label: str, confidence: float, distribution: dict[str, float]
) -> None:
    cues = Cues(emotion=Cue(label, confidence, distribution), age=Cue(why="no classifier"))
    assert Cues.from_json(cues.to_json()).to_json() == cues.to_json()


@pytest.mark.parametrize("word", ["happy", "HAPPY ", "开心"])
def test_a_reply_emotion_is_named_by_word_or_tag(word: str) -> None:
    assert ReplyEmotion.from_word(word) is ReplyEmotion.HAPPY


def test_an_unknown_reply_emotion_is_told_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="comforting"):
        ReplyEmotion.from_word("loud")
