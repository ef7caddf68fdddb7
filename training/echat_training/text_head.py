"""Trains the head that reads the emotion of English words, and prints how good it is.

python -m echat_training.text_head --goemotions DIR --out echat_sdk/model/cascade/heads

Rows: GoEmotions (Reddit comments, Apache-2.0), its 28 labels folded into OSUM's eight, and our own
sentences about life's events (data/life_events.tsv), for Reddit seldom says "my dog died". A row of
`[a|b|]` alternatives is written out several times and counts as one line in every split.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import track
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from echat_sdk.cues import Emotion
from echat_sdk.errors import ConfigError
from echat_sdk.model.cascade.text_emotion import EMOTIONS, term_key, terms
from echat_training.measure import (
    Labels,
    Scores,
    calibration_error,
    confusion_table,
    fit_temperature,
    softmax,
    unweighted_accuracy,
)

GOEMOTIONS: dict[Emotion, tuple[str, ...]] = {
    Emotion.HAPPY: (
        "admiration", "amusement", "excitement", "gratitude", "joy", "love", "optimism", "pride",
        "relief",
    ),
    Emotion.SAD: ("sadness", "grief", "disappointment", "remorse"),
    Emotion.ANGER: ("anger", "annoyance"),
    Emotion.FEAR: ("fear", "nervousness"),
    Emotion.SURPRISE: ("surprise",),
    Emotion.DISGUST: ("disgust",),
    Emotion.NEUTRAL: ("neutral", "approval", "realization", "curiosity"),
    Emotion.OTHER: ("caring", "confusion", "desire", "disapproval", "embarrassment"),
}  # fmt: skip
LIFE_EVENTS = Path(__file__).with_name("data") / "life_events.tsv"

_MIN_ROWS = 3  # a term is known if it is in as many rows
_MAX_TERMS = 20_000
_MOST_VARIANTS = 8
_LIFE_WEIGHT = 12.0  # one own line weighs as much as so many comments
_REGULARISATION = 6.0


@dataclass(frozen=True, slots=True)
class Rows:
    """Texts with a label, a weight and the line that they came from (for honest splits)."""

    texts: list[str]
    labels: Labels
    weights: npt.NDArray[np.float64]
    lines: Labels

    def __add__(self, other: Rows) -> Rows:
        return Rows(
            self.texts + other.texts,
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.weights, other.weights]),
            np.concatenate([self.lines, other.lines]),
        )

    def take(self, mask: npt.NDArray[np.bool_]) -> Rows:
        """The rows where `mask` is true."""
        texts = [text for text, keep in zip(self.texts, mask, strict=True) if keep]
        return Rows(texts, self.labels[mask], self.weights[mask], self.lines[mask])


def read_goemotions(folder: Path, split: str) -> Rows:
    """The comments of a split whose labels fold into a single emotion of OSUM's."""
    try:
        names = (folder / "labels.txt").read_text().split()
        lines = (folder / f"{split}.tsv").read_text().splitlines()
    except OSError as error:
        raise ConfigError(f"--goemotions: cannot read {error.filename}") from error
    of = {name: emotion for emotion, group in GOEMOTIONS.items() for name in group}
    texts, labels = [], []
    for line in lines:
        text, ids, _ = line.split("\t")
        folded = {of[names[int(i)]] for i in ids.split(",")}
        if len(folded) == 1:
            texts.append(text)
            labels.append(EMOTIONS.index(folded.pop()))
    n = len(texts)
    return Rows(texts, np.array(labels), np.ones(n), np.full(n, -1))


def read_life_events(path: Path = LIFE_EVENTS) -> Rows:
    """Our own lines with their alternatives written out, at most eight variants of each."""
    texts, labels, weights, lines = [], [], [], []
    for number, line in enumerate(path.read_text().splitlines()):
        label, template = line.split("\t")
        variants = expand(template)
        step = max(1, len(variants) // _MOST_VARIANTS)
        variants = variants[::step][:_MOST_VARIANTS]
        for text in variants:
            texts.append(text)
            labels.append(EMOTIONS.index(Emotion(label)))
            weights.append(_LIFE_WEIGHT / len(variants) ** 0.5)
            lines.append(number)
    return Rows(texts, np.array(labels), np.array(weights), np.array(lines))


def expand(template: str) -> list[str]:
    """Every sentence that a template with `[one|other|]` alternatives can say."""
    parts = template.replace("]", "[").split("[")
    choices = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    return [" ".join("".join(choice).split()) for choice in itertools.product(*choices)]


@dataclass(frozen=True, slots=True)
class TextHead:
    """A linear model over hashed terms."""

    keys: npt.NDArray[np.uint32]
    weight: Scores
    bias: Scores

    def scores(self, texts: list[str]) -> Scores:
        """Shape [N, 8]."""
        index = {int(key): i for i, key in enumerate(self.keys)}
        return np.asarray(_matrix(texts, index) @ self.weight + self.bias, dtype=np.float32)


def _matrix(texts: list[str], index: dict[int, int]) -> csr_matrix:
    columns, starts, values = [], [0], []
    for text in texts:
        found = terms(text)
        known = sorted(index[key] for key in map(term_key, found) if key in index)
        columns += known
        values += [1.0 / len(found) ** 0.5] * len(known)
        starts.append(len(columns))
    shape = (len(texts), len(index))
    return csr_matrix((np.array(values, np.float32), columns, starts), shape=shape)


def train(rows: Rows) -> TextHead:
    """Fit a weighted logistic regression; rare emotions count for more."""
    seen = Counter(itertools.chain.from_iterable(map(terms, rows.texts)))
    ranked = sorted(seen, key=lambda term: (-seen[term], term))[:_MAX_TERMS]
    common = [term for term in ranked if seen[term] >= _MIN_ROWS]
    keys = np.array(sorted({term_key(term) for term in common}), dtype=np.uint32)
    matrix = _matrix(rows.texts, {int(key): i for i, key in enumerate(keys)})
    share = np.bincount(rows.labels, rows.weights, len(EMOTIONS)) / rows.weights.sum()
    weights = rows.weights * (1 / (len(EMOTIONS) * share))[rows.labels] ** 0.35
    model = LogisticRegression(C=_REGULARISATION, max_iter=200, tol=1e-3)
    model.fit(matrix, rows.labels, sample_weight=weights)
    return TextHead(keys, model.coef_.T.astype(np.float32), model.intercept_.astype(np.float32))


def save(head: TextHead, temperature: float, folder: Path) -> Path:
    """Write int8 weights, the temperature folded into their scale."""
    from safetensors.numpy import save_file

    weight = head.weight / temperature
    scale = np.abs(weight).max(axis=0) / 127.0
    path = folder / "text.safetensors"
    save_file(
        {
            "keys": head.keys,
            "weight": np.round(weight / scale).astype(np.int8),
            "scale": scale.astype(np.float32),
            "bias": (head.bias / temperature).astype(np.float32),
        },
        path,
    )
    return path


def _report(console: Console, name: str, scores: Scores, labels: Labels) -> None:
    guess = scores.argmax(axis=1)
    console.print(
        f"{name}: accuracy {(guess == labels).mean():.3f}, "
        f"UA {unweighted_accuracy(labels, guess):.3f}, "
        f"ECE {calibration_error(softmax(scores), labels):.3f} ({len(labels)} texts)"
    )


def main(
    goemotions: Annotated[Path, typer.Option(help="Folder with train.tsv, dev.tsv, test.tsv.")],
    out: Annotated[Path, typer.Option(help="Where text.safetensors goes.")] = Path(),
    evaluate: Annotated[bool, typer.Option(help="Only print.")] = False,
) -> None:
    """Train the text head, print its figures and write it."""
    console = Console()
    comments, life = read_goemotions(goemotions, "train"), read_life_events()
    dev, test = read_goemotions(goemotions, "dev"), read_goemotions(goemotions, "test")
    held_out = np.zeros((len(life.texts), len(EMOTIONS)), np.float32)
    for fold in track(range(5), "own lines, five folds", console=console):
        mine = life.lines % 5 == fold
        held_out[mine] = train(comments + life.take(~mine)).scores(life.take(mine).texts)
    head = train(comments + life)
    dev_scores = np.concatenate([head.scores(dev.texts), held_out])
    temperature = fit_temperature(dev_scores, np.concatenate([dev.labels, life.labels]))
    scores = head.scores(test.texts) / temperature
    _report(console, "GoEmotions test", scores, test.labels)
    _report(console, "own lines, held out", held_out / temperature, life.labels)
    names = [emotion.value for emotion in EMOTIONS]
    console.print(confusion_table(test.labels, scores.argmax(axis=1), names))
    console.print(confusion_table(life.labels, held_out.argmax(axis=1), names))
    if not evaluate:
        path = save(head, temperature, out)
        console.print(f"{path}: {len(head.keys)} terms, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    typer.run(main)
