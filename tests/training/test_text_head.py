from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echat_sdk.cues import Emotion
from echat_sdk.errors import ConfigError
from echat_sdk.model.cascade.text_emotion import EMOTIONS, TextEmotion
from echat_training.text_head import (
    GOEMOTIONS,
    LIFE_EVENTS,
    expand,
    read_goemotions,
    read_life_events,
    save,
    train,
)


def test_alternatives_are_written_out() -> None:
    assert expand("my [dog|cat] died [today|]") == [
        "my dog died today", "my dog died", "my cat died today", "my cat died",
    ]  # fmt: skip
    assert expand("hello") == ["hello"]


def test_every_label_of_goemotions_is_folded_once() -> None:
    folded = [name for group in GOEMOTIONS.values() for name in group]
    assert len(folded) == len(set(folded)) == 28
    assert set(GOEMOTIONS) == set(Emotion)


def test_our_own_lines_are_well_formed_and_of_every_emotion() -> None:
    rows = read_life_events()
    assert set(rows.labels) == set(range(len(EMOTIONS)))
    assert all(text == text.strip() and "[" not in text and "|" not in text for text in rows.texts)
    lines = LIFE_EVENTS.read_text().splitlines()
    assert len(lines) == len(set(lines))
    assert len(set(rows.lines)) == len(lines)


def test_comments_with_two_feelings_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("joy\nlove\nanger\n")
    (tmp_path / "train.tsv").write_text("both\t0,2\tx\nsame\t0,1\ty\ncross\t2\tz\n")
    rows = read_goemotions(tmp_path, "train")
    assert rows.texts == ["same", "cross"]
    with pytest.raises(ConfigError, match="--goemotions"):
        read_goemotions(tmp_path, "test")


def test_a_trained_and_written_head_scores_as_it_did_before(tmp_path: Path) -> None:
    rows = read_life_events()
    head = train(rows)
    reader = TextEmotion(save(head, 1.0, tmp_path))
    texts = rows.texts[::97]
    ours = np.stack([reader(text, "en") for text in texts])
    assert (ours.argmax(axis=1) == head.scores(texts).argmax(axis=1)).mean() > 0.95
    assert (ours.argmax(axis=1) == rows.labels[::97]).mean() > 0.8
