"""The emotion in Chinese words, by a lexicon of our own: feelings, and the events that bring them.

There is no licence-clean corpus of Chinese feelings to train on, so this is a list, and knows it:
its votes are never surer than 0.85, and words that it does not know are neutral.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from echat_sdk.cues import Emotion
from echat_sdk.model.cascade.heads import LEXICON_ZH

_MAX_CHARS = 2_000
_NEGATIONS = ("不", "没", "没有", "别", "不太", "不是很", "并不", "不怎么", "不再")
_STRONGEST = 0.85

_OPPOSITE = {
    Emotion.HAPPY: Emotion.SAD,
    Emotion.SAD: Emotion.NEUTRAL,
    Emotion.ANGER: Emotion.NEUTRAL,
    Emotion.FEAR: Emotion.NEUTRAL,
    Emotion.SURPRISE: Emotion.NEUTRAL,
    Emotion.DISGUST: Emotion.NEUTRAL,
    Emotion.OTHER: Emotion.NEUTRAL,
}


@lru_cache(maxsize=1)
def _phrases() -> list[tuple[str, Emotion]]:
    """Longest first: a phrase uses up its characters, so 不开心 is never read as 开心."""
    lines = LEXICON_ZH.read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    found = [(phrase, Emotion(label)) for label, phrases in rows for phrase in phrases.split()]
    return sorted(found, key=lambda item: -len(item[0]))


def chinese_distribution(words: str) -> npt.NDArray[np.float32]:
    """Shape [8], in the order of `Emotion`."""
    rest = words[:_MAX_CHARS]
    votes = dict.fromkeys(Emotion, 0.0)
    for phrase, emotion in _phrases():
        start = rest.find(phrase)
        if start < 0:
            continue
        negated = rest[:start].endswith(_NEGATIONS)
        votes[_OPPOSITE[emotion] if negated else emotion] += 1.0 + 0.25 * (len(phrase) > 2)
        rest = rest[:start] + "。" + rest[start + len(phrase) :]
    counts = np.array(list(votes.values()), dtype=np.float32)
    out = np.full(len(votes), 0.02, np.float32)
    if counts.sum() == 0:
        out[list(Emotion).index(Emotion.NEUTRAL)] += 0.84
        return out
    certain = min(_STRONGEST, 0.65 + 0.1 * float(counts.max()))
    out += counts**2 / np.square(counts).sum() * certain
    out[list(Emotion).index(Emotion.NEUTRAL)] += max(0.0, 0.84 - certain)
    total: npt.NDArray[np.float32] = out / out.sum()
    return total
