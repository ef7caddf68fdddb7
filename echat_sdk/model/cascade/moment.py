"""What kind of moment somebody tells of, read from the small model's state after a question.

The model itself names feelings badly. Its state tells them better: the scores it gives to a fixed
choice of tokens, as the next word after "They feel", go through a linear head that was trained by
`python -m echat_training.moment_head`. So "my letter came back unopened" is bad news without a
sad word in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from echat_sdk.errors import CheckpointError
from echat_sdk.model.cascade import prompt
from echat_sdk.model.cascade.generator import TextGenerator
from echat_sdk.model.cascade.heads import load_head, moment_head

KINDS = ("loss", "bad", "wrong", "threat", "tired", "lonely", "good", "talk")
"""Kinds of moments, in the order of the head. `talk` tells of no feeling."""

HARD = KINDS[:6]
"""The kinds that are no pleasure."""

UNREAD: Mapping[str, float] = MappingProxyType({"bad": 0.25, "good": 0.25, "talk": 0.5})
"""What is known of a moment that nobody read."""


class MomentReader:
    """Words to the probabilities of `KINDS`.

    Args:
        generator: The model whose state is read.
        path: A head trained on this model; None for the one that ships. Of a model for which none
            ships every moment stays `UNREAD`.

    Raises:
        CheckpointError: the head is damaged, or made for another model.
    """

    def __init__(self, generator: TextGenerator, path: Path | None = None) -> None:
        self._generator = generator
        path = path or moment_head(generator.vocabulary_size)
        self._head = load_head(path) if path else {}
        if path is None:
            return
        shapes = {name: tensor.shape for name, tensor in self._head.items()}
        tokens = shapes.get("tokens", (0,))[0]
        wanted = {"tokens": (tokens,), "weight": (tokens, len(KINDS)), "bias": (len(KINDS),)}
        if shapes != wanted or int(self._head["tokens"].max()) >= generator.vocabulary_size:
            raise CheckpointError(f"{path.name} holds {shapes}; reinstall echat-sdk")

    def __call__(self, text: str) -> Mapping[str, float]:
        """The probability of each kind; they sum to 1."""
        if not self._head:
            return UNREAD
        scores = scores_of(self._generator, text)[self._head["tokens"]]
        raised = (scores - scores.mean()) @ self._head["weight"].astype(np.float32)
        raised = np.exp(raised + self._head["bias"] - (raised + self._head["bias"]).max())
        shares = raised / raised.sum()
        return {kind: float(p) for kind, p in zip(KINDS, shares, strict=True)}


def scores_of(generator: TextGenerator, text: str) -> npt.NDArray[np.float32]:
    """The model's scores for the word after "They feel". Shape [vocabulary_size]."""
    return generator.next_scores(
        prompt.question(text), static=prompt.moment_head(), prefix=prompt.FEEL
    )
