"""The emotion behind the turns of a sitting: the forward filter of a hidden Markov model. Pure.

A classifier's label flickers from turn to turn; what somebody feels changes less often. The filter
knows that, and no more: what is felt stays from one turn to the next with `STAY`, else changes to
any other label alike. It looks only back. It sees a change later than the raw label does, so a
reply is chosen by the raw label, and this is for what is told of a sitting or of late.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType

from echat_sdk.cues import UNKNOWN, Cue, Emotion

STAY = 0.7
"""Probability that the next turn feels as this one does."""
RELIABILITY = 0.6
"""What a label counts that came without a probability: about as often is one turn's label right."""
MARGIN = 0.10
"""Two labels closer than this are not told apart."""

LABELS = tuple(label.value for label in Emotion)

Belief = Sequence[float]
"""Probability of each of `LABELS`; sums to 1."""

_LEAST = 1e-6  # shares that sum to less are rounding, not evidence: products of them run to 0
_UNIFORM = [1 / len(LABELS)] * len(LABELS)
_shares = itemgetter(*LABELS)


def certainty(confidence: float) -> float:
    """How sure a known label is, in (0, 1]."""
    return min(confidence, 1.0) if confidence > 0 else RELIABILITY


def evidence(
    label: str, confidence: float, distribution: Mapping[str, float]
) -> Sequence[float] | None:
    """What one turn says by itself: the likelihood of each of `LABELS`, on no particular scale.

    A label without a distribution leaves what it is not sure of to all others alike.

    Returns:
        None where the emotion is not known, which is no evidence.
    """
    if label == UNKNOWN:
        return None
    try:
        shares: Sequence[float] = _shares(distribution)
    except KeyError:
        shares = [distribution.get(name, 0.0) for name in LABELS]
    if min(shares) < 0:
        shares = [max(share, 0.0) for share in shares]
    if _LEAST < sum(shares) < math.inf:
        return shares
    if label not in LABELS:
        return None
    sure = max(certainty(confidence), _UNIFORM[0])  # a label never counts against itself
    rest = (1 - sure) / (len(LABELS) - 1)
    return [sure if name == label else rest for name in LABELS]


def forward(turns: Iterable[Sequence[float] | None], *, stay: float = STAY) -> Iterator[Belief]:
    """What is believed after each turn of one sitting, given it and those before it.

    Args:
        turns: The `evidence` of each, in order. None lets what was believed fade, and adds nothing.
        stay: Probability that a turn feels as the one before; 1/8 believes each turn by itself.
            Below 1.
    """
    other = (1 - stay) / (len(LABELS) - 1)
    kept = stay - other
    belief = _UNIFORM
    for seen in turns:
        if seen is None:
            belief = [other + kept * p for p in belief]
        else:
            belief = [(other + kept * p) * q for p, q in zip(belief, seen, strict=True)]
        total = sum(belief)
        belief = [p / total for p in belief]
        yield belief


def likeliest(belief: Belief) -> str:
    """The label that is believed most; `unknown` where the first two are about as likely."""
    second, first = sorted(belief)[-2:]
    return UNKNOWN if first - second < MARGIN else LABELS[belief.index(first)]


def state(belief: Belief) -> Cue:
    """A belief as a cue: its likeliest label, or unknown with the reason."""
    distribution = MappingProxyType(dict(zip(LABELS, belief, strict=True)))
    label = likeliest(belief)
    if label == UNKNOWN:
        return Cue(distribution=distribution, why="two emotions are about as likely")
    return Cue(label, distribution[label], distribution)
