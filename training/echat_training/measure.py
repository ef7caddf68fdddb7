"""Figures of merit of a classifier, and its calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from rich.table import Table
from scipy.optimize import minimize_scalar

Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


def softmax(scores: Scores) -> Scores:
    """Scores to probabilities over the last axis."""
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    out: Scores = raised / raised.sum(axis=-1, keepdims=True)
    return out


def unweighted_accuracy(labels: Labels, guesses: Labels) -> float:
    """The mean over classes of the share of each that was found (UA)."""
    return float(np.mean([(guesses[labels == c] == c).mean() for c in np.unique(labels)]))


def calibration_error(probabilities: Scores, labels: Labels, *, bins: int = 10) -> float:
    """How far confidence is from accuracy, over bins of confidence (ECE)."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        (bin_of == b).mean() * abs(confidence[bin_of == b].mean() - right[bin_of == b].mean())
        for b in np.unique(bin_of)
    ]
    return float(np.sum(gaps))


def fit_temperature(scores: Scores, labels: Labels) -> float:
    """The number to divide scores by so that their probabilities are the likeliest."""
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        p = softmax(scores / np.float32(np.exp(log_temperature)))[rows, labels]
        return float(-np.log(np.maximum(p, 1e-9)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x))


def confusion_table(labels: Labels, guesses: Labels, names: Sequence[str]) -> Table:
    """Rows are the truth, columns the guess, cells counts."""
    table = Table(title="confusion (rows: truth)")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for c, name in enumerate(names):
        row = [str(int(((labels == c) & (guesses == g)).sum())) for g in range(len(names))]
        table.add_row(name, *row)
    return table
