from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from echat_sdk.cues import Emotion
from echat_sdk.errors import CheckpointError, ModelMissingError
from echat_sdk.model.cascade.fusion import fuse
from echat_sdk.model.cascade.heads import TEXT
from echat_sdk.model.cascade.text_emotion import EMOTIONS, TextEmotion, terms


@pytest.fixture(scope="module")
def text_emotion() -> TextEmotion:
    """The head that ships."""
    return TextEmotion(TEXT)


def test_contractions_are_opened_and_negated_words_are_other_words() -> None:
    found = terms("I'm not happy, I can't")
    assert {"i", "am", "not", "!happy", "not happy", "can not"} <= found
    assert "happy" not in found
    assert terms("I’m not happy, I can not") == found


@pytest.mark.parametrize(
    ("words", "label"),
    [
        ("I got the job!", "happy"),
        ("We're having a baby.", "happy"),
        ("My dog died yesterday.", "sad"),
        ("They fired me this morning.", "sad"),
        ("Nobody called me on my birthday.", "sad"),
        ("I failed the exam again.", "sad"),
        ("She left me.", "sad"),
        ("Somebody is in my house!", "fear"),
        ("I'm so angry at him, he lied to me again.", "anger"),
        ("That is disgusting.", "disgust"),
        ("Oh wow, I did not expect that.", "surprise"),
        ("Kids are talking by the door.", "neutral"),
        ("Dogs are sitting by the door.", "neutral"),
        ("What time does the train leave?", "neutral"),
    ],
)
def test_the_shipped_head_reads_what_people_say(
    text_emotion: TextEmotion, words: str, label: str
) -> None:
    found = text_emotion(words, "en")
    assert EMOTIONS[found.argmax()] == label


@pytest.mark.parametrize(
    ("words", "label"),
    [
        ("我的狗昨天死了。", "sad"),
        ("我找到工作了！", "happy"),
        ("没有人给我打电话。", "sad"),
        ("他又骗了我，气死我了。", "anger"),
        ("我家里有人，我好怕。", "fear"),
        ("天哪，真没想到！", "surprise"),
        ("这个味道好恶心。", "disgust"),
        ("今天星期三。", "neutral"),
        ("我不开心。", "sad"),
        ("我不生气。", "neutral"),
    ],
)
def test_chinese_words_are_read_by_the_lexicon(
    text_emotion: TextEmotion, words: str, label: str
) -> None:
    found = text_emotion(words, "zh")
    assert EMOTIONS[found.argmax()] == label
    assert found.max() < 0.9  # a list is never sure


@given(words=st.text(max_size=80), zh=st.booleans())
@settings(max_examples=80, deadline=None)
def test_any_text_gives_a_distribution(words: str, zh: bool) -> None:
    found = _SHIPPED(words, "zh" if zh else "en")
    assert found.shape == (8,)
    assert found.sum() == pytest.approx(1.0, abs=1e-4)


_SHIPPED = TextEmotion(TEXT)


def test_words_that_nobody_knows_are_neutral(text_emotion: TextEmotion) -> None:
    for words in ("", "   ", "🙂", "xyzzyq plughq"):
        assert EMOTIONS[text_emotion(words, "en").argmax()] == "neutral"


def test_a_megabyte_of_words_is_cut_and_fast(text_emotion: TextEmotion) -> None:
    assert text_emotion("sad " * 250_000, "en").sum() == pytest.approx(1.0, abs=1e-4)


def test_a_damaged_head_is_a_checkpoint_error(tmp_path: Path) -> None:
    damaged, other = tmp_path / "damaged.safetensors", tmp_path / "other.safetensors"
    damaged.write_bytes(TEXT.read_bytes()[:1000])
    save_file({"keys": np.zeros(3, np.uint32), "weight": np.zeros((2, 8), np.int8)}, other)
    for path in (damaged, other):
        with pytest.raises(CheckpointError, match=path.name):
            TextEmotion(path)
    with pytest.raises(ModelMissingError):
        TextEmotion(tmp_path / "none.safetensors")


def test_everyday_words_do_not_vote_against_a_voice(text_emotion: TextEmotion) -> None:
    voice = np.full(8, 0.1, np.float32)
    voice[EMOTIONS.index(Emotion.ANGER)] = 0.3
    everyday = (
        "Kids are talking by the door.",
        "Dogs are sitting by the door.",
        "The letter came on Thursday.",
        "He put the plates back into the cupboard.",
        "You can park behind the library.",
    )
    for words in everyday:
        assert EMOTIONS[fuse(voice, text_emotion(words, "en")).argmax()] == "anger"
