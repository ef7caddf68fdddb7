"""How a token is drawn: upstream's presets, and one law for a row alone and for a whole batch.

A draw is the inverse of the distribution's cumulative sum at one uniform number, which comes from
the request's own stream on the processor. So a seed repeats whatever else is in the batch, on any
device; the rest is tensors that stay where the logits are.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

Preset = Literal["understand", "s2t", "s2s", "tts", "t2t", "greedy"]


_SMALL = 32
"""Blocks smaller than this save less than they cost."""


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

    def uniform(self) -> float:
        """The next number of the stream, in [0, 1); greedy requests take none and get 0."""
        return self._random.random() if self.sampling.temperature else 0.0

    def draw(self, logits: Tensor, rule: Rule) -> int:
        """The next token.

        Args:
            logits: Of one row, over one head. Shape [V] or [S]; left as it is.
            rule: In the ids of that head.

        Raises:
            ValueError: a logit is not a number, or the rule allows no token.
        """
        ((token, _),) = draw_rows(logits[None], Draws.of([self], [rule], logits.device)).read()
        if token < 0:
            raise ValueError("no token can be drawn: the logits are not numbers, or all are banned")
        return token


@dataclass(frozen=True, slots=True)
class Draws:
    """What the rows of one batch are drawn with, on the device of their logits.

    Attributes:
        temperature: 1 in a greedy row. Shape [B, 1], float64, as the next three.
        top_p: Share of probability that is drawn from.
        penalty: 1 is none.
        uniform: One number a row, in [0, 1).
        within: 1 for the places that top_k lets in, 0 for the rest. Shape [B, largest top_k].
        banned: Rows and the ids that they do not draw; None if there are none. Shape [2, N].
        seen: Rows and the ids that the penalty falls on; None if there are none. Shape [2, N].
        allowed: Rows and the only ids that they may draw; None if all may draw any. Shape [2, N].
        limited: The rows that `allowed` speaks of. Shape [rows].
    """

    temperature: Tensor
    top_p: Tensor
    penalty: Tensor
    uniform: Tensor
    within: Tensor
    banned: Tensor | None = None
    seen: Tensor | None = None
    allowed: Tensor | None = None
    limited: Tensor | None = None

    @classmethod
    def of(cls, samplers: Sequence[Sampler], rules: Sequence[Rule], device: torch.device) -> Draws:
        """One draw a row; takes a number from each sampler's stream."""
        how = [sampler.sampling for sampler in samplers]
        top_k = [one.top_k if one.temperature else 1 for one in how]
        numbers = [
            [one.temperature or 1.0 for one in how],
            [one.top_p for one in how],
            [one.repetition_penalty for one in how],
            [sampler.uniform() for sampler in samplers],
        ]
        columns = _put(numbers, device, torch.float64)[..., None]
        most = max(top_k)
        places = [[1.0] * k + [0.0] * (most - k) for k in top_k]
        seen = [
            rule.seen if one.repetition_penalty != 1 else ()
            for one, rule in zip(how, rules, strict=True)
        ]
        limited = [row for row, rule in enumerate(rules) if rule.allowed is not None]
        return cls(
            temperature=columns[0],
            top_p=columns[1],
            penalty=columns[2],
            uniform=columns[3],
            within=_put(places, device, torch.float64),
            banned=_pairs([rule.banned for rule in rules], device),
            seen=_pairs(seen, device),
            allowed=_pairs([rule.allowed or () for rule in rules], device),
            limited=_put(limited, device) if limited else None,
        )


@dataclass(frozen=True, slots=True)
class Drawn:
    """One token a row.

    Attributes:
        ids: In the ids of the head; -1 where no token can be drawn, because a logit is not a
            number or the rule allows none. Shape [B].
        probabilities: What the head gave each, before any rule or setting. Shape [B].
    """

    ids: Tensor
    probabilities: Tensor

    def read(self) -> list[tuple[int, float]]:
        """All rows on the processor; waits for the device once."""
        ids, probabilities = torch.stack((self.ids.double(), self.probabilities.double())).tolist()
        return [(int(one), given) for one, given in zip(ids, probabilities, strict=True)]


def draw_rows(logits: Tensor, draws: Draws) -> Drawn:
    """Draw a token for every row. Nothing is read back, so the device is not waited for.

    Args:
        logits: Over one head; left as they are. Shape [B, V].
        draws: As many rows.
    """
    logits = logits.float()
    whole = logits.logsumexp(1, keepdim=True)
    gaps, ids = _best(_ruled(logits, draws), draws.within.shape[1])
    weights = (gaps / draws.temperature).neg_().exp_().mul_(draws.within[:, : ids.shape[1]])
    reached = weights.cumsum(1)
    # The nucleus is cut as in transformers: the token that crosses top_p is the last one in.
    is_in = reached - weights < draws.top_p * reached[:, -1:]
    at = draws.uniform * torch.where(is_in, reached, 0.0).amax(1, keepdim=True)
    place = (reached <= at).sum(1, keepdim=True).clamp_(max=ids.shape[1] - 1)
    drawn = ids.gather(1, place)
    probabilities = logits.gather(1, drawn).sub_(whole).exp_()
    can = (whole + gaps[:, :1]).isfinite()
    return Drawn(torch.where(can, drawn, -1)[:, 0], probabilities[:, 0])


def _ruled(logits: Tensor, draws: Draws) -> Tensor:
    """The scores that the rules leave; a copy where there is any rule."""
    if draws.banned is None and draws.seen is None and draws.limited is None:
        return logits
    scores = logits.clone()
    flat, vocabulary = scores.view(-1), scores.shape[1]
    if draws.seen is not None:
        rows, ids = draws.seen
        at = rows * vocabulary + ids
        old, penalty = flat[at], draws.penalty[rows, 0].float()
        flat.index_copy_(0, at, torch.where(old < 0, old * penalty, old / penalty))
    if draws.banned is not None:
        rows, ids = draws.banned
        flat.index_fill_(0, rows * vocabulary + ids, -math.inf)
    if draws.limited is None:
        return scores
    only = scores.index_fill(0, draws.limited, -math.inf)
    if draws.allowed is not None:
        rows, ids = draws.allowed
        at = rows * vocabulary + ids
        only.view(-1).index_copy_(0, at, flat[at])
    return only


def _best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """How far the best tokens of each row are below its very best, and their ids, in order.

    A vocabulary is never sorted. It is cut into blocks: the best tokens lie in the blocks with the
    highest maxima, as many of them, so one pass for the maxima leaves few candidates. The block
    size makes maxima and candidates about as many.
    """
    rows, vocabulary = scores.shape
    count = min(count, vocabulary)
    best = scores.amax(1, keepdim=True)
    size = math.isqrt(vocabulary // count)
    if size < _SMALL:
        return _top(best - scores, _places(0, vocabulary, scores), count)
    blocks = vocabulary // size
    maxima = scores[:, : blocks * size].unflatten(1, (blocks, size)).amax(2)
    _, chosen = _top(best - maxima, _places(0, blocks, scores), count)
    inside = (chosen[..., None] * size + _places(0, size, scores)).flatten(1)
    rest = _places(blocks * size, vocabulary, scores).expand(rows, -1)
    ids = torch.cat((inside, rest), dim=1)
    return _top(best - scores.gather(1, ids), ids, count)


def _top(gaps: Tensor, ids: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The smallest gaps in order and their ids, the lower id first where two are equal.

    `topk` alone leaves open which of equal values it takes. The bits of a float that is not
    negative, read as an integer, are in its order; so gap and id make one integer key.
    """
    keys = (gaps.view(torch.int32).long() << 32) + ids
    keys, at = keys.topk(min(count, keys.shape[1]), largest=False)
    return gaps.gather(1, at), keys & 0xFFFFFFFF


def _places(start: int, stop: int, like: Tensor) -> Tensor:
    return torch.arange(start, stop, device=like.device)


def _pairs(ids: Sequence[Collection[int]], device: torch.device) -> Tensor | None:
    rows = [row for row, each in enumerate(ids) for _ in each]
    if not rows:
        return None
    return _put((rows, list(chain.from_iterable(ids))), device)


def _put(values: Sequence[object], device: torch.device, dtype: torch.dtype = torch.long) -> Tensor:
    """A tensor of what is given; a GPU gets it in its turn, so that nobody waits for its step."""
    made = torch.tensor(values, dtype=dtype)
    return made.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else made
