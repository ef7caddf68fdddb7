"""Linear discriminant analysis, its covariance shrunk, with a direction that it can distrust."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from echat_training.measure import Labels

Features = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Linear:
    """Scores of classes: `features @ weight + bias`; weight of shape [F, C]."""

    weight: Features
    bias: Features

    def __call__(self, features: Features) -> Features:
        """Shape [N, C]."""
        out: Features = features @ self.weight + self.bias
        return out

    def cooled(self, temperature: float) -> Linear:
        """The same with every score divided by a temperature."""
        t = np.float32(temperature)
        return Linear(self.weight / t, self.bias / t)


def fit_discriminant(
    features: Features,
    labels: Labels,
    *,
    shrinkage: float,
    elsewhere: Features | None = None,
    here: Features | None = None,
    distrust: float = 0.0,
) -> Linear:
    """Fit classes of one covariance and equal priors, on standardised features.

    Args:
        features: Shape [N, F].
        labels: 0 to C - 1, each of them present. Shape [N].
        shrinkage: Share of the covariance that is replaced by its mean variance.
        elsewhere: Speech of one class from other rooms, voices and languages. Shape [M, F].
        here: Speech of the same class out of `features`; the direction from its mean to that of
            `elsewhere` says where a voice was recorded and not what it feels.
        distrust: How much variance is added along that direction, in squared lengths of it.
    """
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    x = (features - mean) / deviation
    means = np.stack([x[labels == c].mean(axis=0) for c in range(int(labels.max()) + 1)])
    residual = x - means[labels]
    covariance = residual.T @ residual / len(x)
    if elsewhere is not None and here is not None and distrust:
        shift = (elsewhere.mean(axis=0) - here.mean(axis=0)) / deviation
        covariance += distrust * np.outer(shift, shift)
    size = len(covariance)
    level = shrinkage * np.trace(covariance) / size
    covariance *= 1.0 - shrinkage
    covariance.flat[:: size + 1] += level
    weight = np.linalg.solve(covariance, means.T)
    bias = -0.5 * (means.T * weight).sum(axis=0)
    weight /= deviation[:, None]
    return Linear(weight.astype(np.float32), (bias - mean @ weight).astype(np.float32))
