"""Trains the head that tells what kind of moment somebody speaks of, and prints how good it is.

python -m echat_training.moment_head --mind DIR --out echat_sdk/model/cascade/heads

Rows: our own lines (data/moments.jsonl), most of which only imply the feeling. A theme (family,
work, money) is held out whole, so that no figure comes from knowing its words. What is measured is
the kind of the eight, the feeling of the three (hard, good, none), and what is left when a feeling
counts only if it is sure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import track
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from echat_sdk.errors import ConfigError
from echat_sdk.model.cascade.generator import TextGenerator
from echat_sdk.model.cascade.moment import HARD, KINDS, scores_of
from echat_sdk.model.cascade.strategy import SURE
from echat_training.measure import (
    Labels,
    Scores,
    calibration_error,
    confusion_table,
    fit_temperature,
    softmax,
)

MOMENTS = Path(__file__).with_name("data") / "moments.jsonl"
TOKENS = 1024
"""How many tokens' scores the head sees; they span the model's state, which is smaller."""

_MOST_SCORE = 150.0  # a token with a wilder score is padding that the model cannot write
_DIRECTIONS = 200
_REGULARISATION = 1.0
_TALK = 0.3  # share of plain talk to suppose, whatever our lines hold; voice and words move it
_DOUBT = 1.2  # real talk strays further from our lines than one theme does from another
_FOLDS = 6


@dataclass(frozen=True, slots=True)
class Moments:
    """Lines with their kind (index in `KINDS`), language and fold; a theme is in one fold."""

    texts: list[str]
    kinds: Labels
    langs: npt.NDArray[np.str_]
    folds: Labels


def read_moments(path: Path = MOMENTS) -> Moments:
    """The lines of a file of `{text, lang, kind, theme}` rows."""
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    except OSError as error:
        raise ConfigError(f"cannot read {path.name}: {error.strerror}") from error
    themes = {theme: i % _FOLDS for i, theme in enumerate(dict.fromkeys(r["theme"] for r in rows))}
    return Moments(
        [row["text"] for row in rows],
        np.array([KINDS.index(row["kind"]) for row in rows]),
        np.array([row["lang"] for row in rows]),
        np.array([themes[row["theme"]] for row in rows]),
    )


@dataclass(frozen=True, slots=True)
class MomentHead:
    """A linear model over the scores of some tokens, their mean taken off."""

    weight: Scores
    bias: Scores

    def scores(self, features: Scores) -> Scores:
        """Shape [N, kinds]."""
        return np.asarray(features @ self.weight + self.bias, np.float32)


def train(features: Scores, kinds: Labels) -> MomentHead:
    """Logistic regression on the directions in which the features differ most."""
    mean = features.mean(axis=0)
    _, strength, directions = np.linalg.svd(features - mean, full_matrices=False)
    scale = strength[0] / len(features) ** 0.5
    down = directions[:_DIRECTIONS].T / scale
    model = LogisticRegression(C=_REGULARISATION, max_iter=500)
    model.fit((features - mean) @ down, kinds)
    weight = (down @ model.coef_.T).astype(np.float32)
    talk = KINDS.index("talk")
    plain = (kinds == talk).mean()
    bias = model.intercept_ - mean @ weight
    bias[talk] += np.log(_TALK / (1 - _TALK) * (1 - plain) / plain)
    return MomentHead(weight, bias.astype(np.float32))


def held_out(features: Scores, moments: Moments) -> Scores:
    """The scores of each line by a head that never saw its theme."""
    scores = np.zeros((len(features), len(KINDS)), np.float32)
    for fold in range(_FOLDS):
        mine = moments.folds == fold
        scores[mine] = train(features[~mine], moments.kinds[~mine]).scores(features[mine])
    return scores


def held_out_ngrams(moments: Moments) -> Scores:
    """The same by letters alone, for comparison: pieces of one to four, weighed by rarity."""
    scores = np.zeros((len(moments.texts), len(KINDS)), np.float32)
    for fold in range(_FOLDS):
        mine = moments.folds == fold
        seen = [t for t, out in zip(moments.texts, mine, strict=True) if not out]
        unseen = [t for t, out in zip(moments.texts, mine, strict=True) if out]
        pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True)
        model = LogisticRegression(C=20.0, max_iter=500)
        model.fit(pieces.fit_transform(seen), moments.kinds[~mine])
        scores[mine] = model.decision_function(pieces.transform(unseen))
    return scores


def report(scores: Scores, kinds: Labels) -> str:
    """Accuracy over kinds and feelings, calibration, and what is told when it must be sure."""
    shares = softmax(scores)
    hard = shares[:, : len(HARD)].sum(axis=1)
    feelings = np.stack([hard, *shares[:, len(HARD) :].T])
    truth = np.maximum(kinds - len(HARD) + 1, 0)
    told = feelings[:2].max(axis=0) >= SURE
    right = feelings[:2].argmax(axis=0)[told] == truth[told]
    found = told[truth < 2].mean()
    return (
        f"kind {(shares.argmax(axis=1) == kinds).mean():.3f}, "
        f"feeling {(feelings.argmax(axis=0) == truth).mean():.3f}, "
        f"ECE {calibration_error(feelings.T, truth):.3f}; when sure: {right.mean():.3f} right, "
        f"{found:.3f} of feelings answered ({len(kinds)} lines)"
    )


def save(head: MomentHead, temperature: float, tokens: Labels, size: int, folder: Path) -> Path:
    """Write the head, the temperature folded in."""
    from safetensors.numpy import save_file

    path = folder / f"moment-{size}.safetensors"
    weight = head.weight - head.weight.mean(axis=0)  # so that only differences of scores count
    tensors = {
        "tokens": tokens.astype(np.int32),
        "weight": (weight / temperature).astype(np.float32),
        "bias": (head.bias / temperature).astype(np.float32),
    }
    save_file(tensors, path)
    return path


def main(
    mind: Annotated[Path, typer.Option(help="Directory of the converted language model.")],
    out: Annotated[Path, typer.Option(help="Where the head goes.")] = Path(),
    features: Annotated[Path | None, typer.Option(help="Keeps the scores for a next run.")] = None,
    evaluate: Annotated[bool, typer.Option(help="Only print.")] = False,
) -> None:
    """Train the head of moments, print its figures and write it."""
    console = Console()
    moments = read_moments()
    generator = TextGenerator(mind)
    tokens, seen = _features(generator, moments.texts, features)
    scores = held_out(seen, moments)
    temperature = _DOUBT * fit_temperature(scores, moments.kinds)
    letters = held_out_ngrams(moments)
    letters /= fit_temperature(letters, moments.kinds)
    for lang in ("en", "zh"):
        mine = moments.langs == lang
        console.print(f"{lang}: {report(scores[mine] / temperature, moments.kinds[mine])}")
        console.print(f"{lang}, letters only: {report(letters[mine], moments.kinds[mine])}")
    console.print(confusion_table(moments.kinds, scores.argmax(axis=1), KINDS))
    if not evaluate:
        head = train(seen, moments.kinds)
        path = save(head, temperature, tokens, generator.vocabulary_size, out)
        console.print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def _features(
    generator: TextGenerator, texts: list[str], kept: Path | None
) -> tuple[Labels, Scores]:
    """Which tokens, and their scores after each text. Shapes [T] and [N, T]."""
    if kept and kept.is_file():
        with np.load(kept) as saved:
            return saved["tokens"], saved["scores"]
    tokens: Labels = np.arange(generator.vocabulary_size)
    rows: list[Scores] = []
    for scores in _all_scores(generator, texts):
        if not rows:
            able = np.flatnonzero(np.abs(scores) < _MOST_SCORE)
            tokens = np.sort(np.random.default_rng(0).choice(able, min(TOKENS, len(able)), False))
        rows.append(scores[tokens] - scores[tokens].mean())
    found = np.stack(rows)
    if kept:
        np.savez(kept, tokens=tokens, scores=found)
    return tokens, found


def _all_scores(generator: TextGenerator, texts: list[str]) -> Iterator[Scores]:
    for text in track(texts, "reading"):
        yield scores_of(generator, text)


if __name__ == "__main__":
    typer.run(main)
