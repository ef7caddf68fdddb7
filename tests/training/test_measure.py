from __future__ import annotations

import numpy as np
import pytest

from echat_training.measure import (
    calibration_error,
    confusion_table,
    fit_temperature,
    softmax,
    unweighted_accuracy,
)


def test_unweighted_accuracy_counts_classes_and_not_clips() -> None:
    labels = np.array([0, 0, 0, 0, 1])
    assert unweighted_accuracy(labels, np.zeros(5, int)) == 0.5


def test_calibration_error_of_a_braggart_and_of_an_honest_one() -> None:
    labels = np.array([0, 1] * 50)
    assert calibration_error(np.tile([[1.0, 0.0]], (100, 1)), labels) == pytest.approx(0.5)
    assert calibration_error(np.tile([[0.5001, 0.4999]], (100, 1)), labels) < 0.01


def test_the_fitted_temperature_undoes_what_was_multiplied() -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((4_000, 3)) * 2
    labels = np.array([rng.choice(3, p=p) for p in softmax(scores)])
    assert fit_temperature(scores * 5, labels) == pytest.approx(5.0, rel=0.1)
    assert calibration_error(softmax(scores), labels) < 0.03


def test_a_confusion_table_has_a_row_for_each_class() -> None:
    table = confusion_table(np.array([0, 1, 1]), np.array([0, 1, 0]), ["a", "b"])
    assert table.row_count == 2
    assert list(table.columns[1].cells) == ["1", "1"]
