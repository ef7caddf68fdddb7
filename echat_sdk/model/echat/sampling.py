"""How a token is drawn: upstream's presets, and a draw that no neighbour in a batch can change."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

Preset = Literal["understand", "s2t", "s2s", "tts", "t2t", "greedy"]


class Sampling(BaseModel):
    """How tokens are drawn; in the order in which the settings act."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repetition_penalty: float = Field(default=1.0, ge=1, le=2, description="1 is none")
    temperature: float = Field(default=1.0, ge=0, le=2, description="0 takes the likeliest token")
    top_k: int = Field(default=50, ge=1, le=1000, description="draw among so many likeliest tokens")
    top_p: float = Field(default=1.0, gt=0, le=1, description="and among this much probability")


PRESETS: Mapping[Preset, Sampling] = MappingProxyType(
    {
        "understand": Sampling(temperature=1.0, top_k=5, top_p=0.9, repetition_penalty=1.05),
        "s2t": Sampling(temperature=0.4, top_k=2, top_p=1.0, repetition_penalty=1.05),
        "s2s": Sampling(temperature=1.2, top_k=10, top_p=0.9),
        "tts": Sampling(temperature=1.2, top_k=15, top_p=0.8),
        "t2t": Sampling(temperature=0),
        "greedy": Sampling(temperature=0),
    }
)
"""What upstream draws with in each mode (its generate methods; OSUM-EChat, `llmasr_model`)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What one row's next token may not be.

    Attributes:
        banned: Ids that are not drawn.
        allowed: The only ids that may be drawn; None for any.
        seen: Ids that the repetition penalty falls on.
    """

    banned: Collection[int] = ()
    allowed: Collection[int] | None = None
    seen: Collection[int] = ()


class Sampler:
    """Draws the tokens of one request from a seeded stream of its own.

    Args:
        sampling: How.
        seed: The same seed and logits give the same tokens, alone or in any batch.
    """

    def __init__(self, sampling: Sampling, seed: int) -> None:
        self.sampling = sampling
        self._random = random.Random(seed)

    def draw(self, logits: Tensor, rule: Rule) -> int:
        """The next token.

        Args:
            logits: Of one row, over one head. Shape [V] or [S]; left as it is.
            rule: In the ids of that head.

        Raises:
            ValueError: a logit is not a number, or the rule allows no token.
        """
        settings = self.sampling
        scores = self._ruled(logits, rule)
        best = torch.topk(scores, min(settings.top_k if settings.temperature else 1, len(scores)))
        values: Sequence[float] = best.values.tolist()
        ids: Sequence[int] = best.indices.tolist()
        if math.isnan(values[0]) or math.isinf(values[0]):
            raise ValueError("no token can be drawn: the logits are not numbers, or all are banned")
        if not settings.temperature:
            return ids[0]
        return ids[self._drawn([value / settings.temperature for value in values])]

    def _ruled(self, logits: Tensor, rule: Rule) -> Tensor:
        penalty = self.sampling.repetition_penalty
        if not (rule.banned or rule.allowed is not None or (penalty != 1 and rule.seen)):
            return logits
        scores = logits.float().clone()
        if penalty != 1 and rule.seen:
            at = torch.tensor(sorted(rule.seen), device=scores.device)
            old = scores[at]
            scores[at] = torch.where(old < 0, old * penalty, old / penalty)
        if rule.banned:
            scores[torch.tensor(sorted(rule.banned), device=scores.device)] = -math.inf
        if rule.allowed is not None:
            at = torch.tensor(sorted(rule.allowed), device=scores.device)
            only = torch.full_like(scores, -math.inf)
            only[at] = scores[at]
            scores = only
        return scores

    def _drawn(self, scores: Sequence[float]) -> int:
        """The place of one of the scores, best first; the nucleus is cut as in transformers."""
        weights = [math.exp(score - scores[0]) for score in scores]
        whole = sum(weights)
        kept = 0.0
        nucleus = []
        for weight in weights:
            if kept >= self.sampling.top_p * whole:
                break
            nucleus.append(weight)
            kept += weight
        at = self._random.random() * kept
        for index, weight in enumerate(nucleus):
            at -= weight
            if at < 0:
                return index
        return len(nucleus) - 1
