from __future__ import annotations

import numpy as np
import pytest

from echat_training.discriminant import fit_discriminant


def blobs(seed: int = 0, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that differ in the first of four features."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], n)
    x = rng.standard_normal((2 * n, 4)).astype(np.float32)
    x[:, 0] += 3.0 * labels
    return x, labels


def test_two_clouds_are_told_apart() -> None:
    x, labels = blobs()
    head = fit_discriminant(x, labels, shrinkage=0.1)
    fresh, truth = blobs(seed=1)
    assert (head(fresh).argmax(axis=1) == truth).mean() > 0.9


def test_without_shrinkage_scores_are_those_of_sklearn() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    x, labels = blobs()
    theirs = LinearDiscriminantAnalysis(solver="lsqr", priors=[0.5, 0.5]).fit(x, labels)
    scores = fit_discriminant(x, labels, shrinkage=0.0)(x)
    assert np.abs(scores[:, 1] - scores[:, 0] - theirs.decision_function(x)).max() < 0.02


def test_a_distrusted_direction_no_longer_moves_the_scores() -> None:
    x, labels = blobs()
    x[:, 1] += 2.0 * labels  # a second sign of the class, which elsewhere means nothing
    here = x[labels == 0]
    elsewhere = here + np.array([0, 8, 0, 0], np.float32)
    naive = fit_discriminant(x, labels, shrinkage=0.1)
    wary = fit_discriminant(x, labels, shrinkage=0.1, elsewhere=elsewhere, here=here, distrust=10.0)
    assert (naive(elsewhere).argmax(axis=1) == 0).mean() < 0.1
    assert (wary(elsewhere).argmax(axis=1) == 0).mean() > 0.8


def test_a_temperature_divides_every_score() -> None:
    x, labels = blobs()
    head = fit_discriminant(x, labels, shrinkage=0.1)
    assert head.cooled(2.0)(x) == pytest.approx(head(x) / 2.0, rel=1e-4, abs=1e-4)
