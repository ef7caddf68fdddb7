"""The emotion in the words: a linear head over words and word pairs (English), a lexicon (Chinese).

The head is trained by `python -m echat_training.text_head`; its vocabulary is stored as hashes.
"""

from __future__ import annotations

import re
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from echat_sdk.cues import Emotion
from echat_sdk.errors import CheckpointError
from echat_sdk.model.cascade.heads import load_head
from echat_sdk.model.cascade.text_emotion_zh import chinese_distribution
from echat_sdk.turn import Lang

EMOTIONS = tuple(Emotion)
Distribution = npt.NDArray[np.float32]

_MAX_CHARS = 2_000
_CONTRACTIONS = (
    (re.compile(r"\bcan'?t\b"), "can not"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"n't\b|(?<=\bdid)nt\b|(?<=\bdo)nt\b|(?<=\bis)nt\b"), " not"),
    (re.compile(r"\bi'm\b"), "i am"),
    (re.compile(r"'re\b"), " are"),
    (re.compile(r"'ve\b"), " have"),
    (re.compile(r"'ll\b"), " will"),
    (re.compile(r"'d\b"), " would"),
    (re.compile(r"\b(he|she|it|that|what|there|who|how|where|everything|this)'s\b"), r"\1 is"),
)
_WORD = re.compile(r"[a-z]+|\?")
_NEGATIONS = frozenset({"not", "never", "no", "without", "nobody", "nothing", "cannot"})
_NEGATED_WORDS = 3


def terms(text: str) -> set[str]:
    """The words and word pairs of an English text, contractions opened.

    The three words that follow a negation count as other words (`!happy`).
    """
    text = text[:_MAX_CHARS].lower().replace("’", "'").replace("[name]", "they")
    for pattern, opened in _CONTRACTIONS:
        text = pattern.sub(opened, text)
    words = _WORD.findall(text)
    found: set[str] = set()
    negated = 0
    for word in words:
        found.add(f"!{word}" if negated else word)
        negated = _NEGATED_WORDS if word in _NEGATIONS else max(0, negated - 1)
    edged = ["<", *words, ">"]
    found.update(f"{a} {b}" for a, b in pairwise(edged))
    return found


def term_key(term: str) -> int:
    """The number under which the head keeps a term."""
    return zlib.crc32(term.encode())


class TextEmotion:
    """Words to a distribution over OSUM's eight emotions.

    Args:
        path: A head written by `echat_training.text_head`.

    Raises:
        CheckpointError: the head is damaged.
    """

    def __init__(self, path: Path) -> None:
        head = load_head(path)
        try:
            keys, weight = head["keys"], head["weight"]
            self._bias = head["bias"].astype(np.float32)
            self._scale = head["scale"].astype(np.float32)
        except KeyError as error:
            raise CheckpointError(f"{path.name} lacks the tensor {error}") from error
        if weight.shape != (len(keys), len(EMOTIONS)):
            raise CheckpointError(f"{path.name} holds weights of shape {weight.shape}")
        self._weight = weight
        self._row = {int(key): row for row, key in enumerate(keys)}

    def __call__(self, words: str, lang: Lang) -> Distribution:
        """Shape [8], in the order of `EMOTIONS`. Words without a known term are neutral."""
        if lang == "zh":
            return chinese_distribution(words)
        found = terms(words)
        rows = [self._row[key] for key in map(term_key, found) if key in self._row]
        if not rows:
            neutral = np.zeros(len(EMOTIONS), np.float32)
            neutral[EMOTIONS.index(Emotion.NEUTRAL)] = 1.0
            return neutral
        total = self._weight[rows].sum(axis=0, dtype=np.float32) * self._scale
        return softmax(total / np.sqrt(np.float32(len(found))) + self._bias)


def softmax(scores: npt.NDArray[np.float32]) -> Distribution:
    """Scores to probabilities over the last axis."""
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    out: Distribution = raised / raised.sum(axis=-1, keepdims=True)
    return out
