from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echat_sdk.errors import ConfigError
from echat_sdk.model.cascade.voice_cues import CORPUS_EMOTIONS
from echat_training.emodb import (
    CLASSES,
    Corpus,
    both_out,
    genders_out,
    read_emodb,
    sentences_out,
    speakers_out,
)
from echat_training.voice_head import (
    Heard,
    Trainer,
    crossed_temperature,
    four_recall,
)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Ten speakers, ten sentences, seven emotions, once each; half of the speakers are women."""
    grid = np.stack(np.meshgrid(np.arange(10), np.arange(10), np.arange(7)), -1).reshape(-1, 3)
    return Corpus(
        files=[Path(f"{i}.flac") for i in range(len(grid))],
        speaker=grid[:, 0].astype(str),
        sentence=grid[:, 1].astype(str),
        emotion=grid[:, 2],
        female=grid[:, 0] % 2,
    )


@pytest.fixture(scope="module")
def trainer(corpus: Corpus) -> Trainer:
    """Features in which each emotion has a direction of its own, and each gender too."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((len(corpus.files), 12)).astype(np.float32)
    x[np.arange(len(x)), corpus.emotion] += 4.0
    x[:, 7] += 4.0 * corpus.female
    anchors, anchor_female = x[:10] + 1.0, corpus.female[:10]
    return Trainer(corpus, Heard({"clean": x}, x[None] + 0.1, anchors, anchor_female))


@pytest.mark.parametrize(
    ("folds", "shared"),
    [
        (speakers_out, ("speaker",)),
        (sentences_out, ("sentence",)),
        (both_out, ("speaker", "sentence")),
        (genders_out, ("speaker", "sentence", "female")),
    ],
)
def test_what_is_left_out_is_never_trained_on(
    corpus: Corpus, folds: object, shared: tuple[str, ...]
) -> None:
    tested = np.zeros(len(corpus.files), int)
    for train, test in folds(corpus):  # type: ignore[operator]
        assert train.any()
        for attribute in shared:
            of = getattr(corpus, attribute)
            assert not set(of[train]) & set(of[test])
        tested += test
    assert (tested == 1).all()


def test_crossed_scores_find_what_is_there(trainer: Trainer) -> None:
    scores = trainer.crossed(speakers_out(trainer.corpus))["clean"]
    assert (scores.argmax(axis=1) == trainer.corpus.emotion).mean() > 0.9
    female = trainer.crossed_gender()
    assert (female.argmax(axis=1) == trainer.corpus.female).mean() > 0.9


def test_labels_in_disorder_are_not_found(trainer: Trainer) -> None:
    corpus = trainer.corpus
    shuffled = Corpus(
        corpus.files,
        corpus.speaker,
        corpus.sentence,
        np.random.default_rng(1).permutation(corpus.emotion),
        corpus.female,
    )
    blind = Trainer(shuffled, trainer.heard)
    scores = blind.crossed(speakers_out(shuffled))["clean"]
    assert (scores.argmax(axis=1) == shuffled.emotion).mean() < 0.25


def test_probabilities_are_of_other_speakers_temperatures(trainer: Trainer) -> None:
    scores = trainer.crossed(speakers_out(trainer.corpus))
    calibration = np.stack(list(scores.values()))
    probabilities = crossed_temperature(scores.values(), calibration, trainer.corpus)
    assert probabilities.shape == (1, len(trainer.corpus.files), 7)
    assert probabilities.sum(axis=-1) == pytest.approx(1.0, abs=1e-4)


def test_an_unknown_answer_counts_as_a_miss() -> None:
    labels = np.array([CLASSES.index(c) for c in ("anger", "happy", "neutral", "sad")])
    sure = np.eye(7, dtype=np.float32)[labels]
    assert four_recall(sure, labels) == (1.0, 1.0, 0.0)
    unsure = np.full((4, 7), 1 / 7, np.float32)
    unsure[:, CLASSES.index("boredom")] = 0.0
    _, recall, unknown = four_recall(unsure, labels)
    assert (recall, unknown) == (0.0, 1.0)


def test_every_class_of_the_corpus_is_an_emotion_of_the_sdk() -> None:
    assert tuple(sorted(CLASSES)) == CLASSES
    assert CORPUS_EMOTIONS["boredom"] == "neutral"


def test_a_folder_without_labels_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--emodb"):
        read_emodb(tmp_path)
