"""Keys and values of many conversations beside each other, for one unpatched transformers decoder.

The *arena* holds the rows that are being decoded, one conversation a row, packed at the front so
that a step reads no idle row. A conversation that is not being decoded is *parked*: its keys and
values are one immutable tensor, which a fork shares and a crop only views. To load and to park
copies once a turn, never once a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from echat_sdk.errors import GenerationError
from echat_sdk.model.echat.kv_layers import PrefillLayer, Span, StepLayer
from echat_sdk.model.echat.parking import Parking, Place


@dataclass(frozen=True, slots=True)
class ParkedKV:
    """What a conversation has been read so far. Shared by its forks, and never written to.

    Attributes:
        keys: Shape [layers, heads, L, D].
        values: Shape [layers, heads, L, D].
        place: Where its memory is counted, all of it, however little a crop views; None if nowhere.
    """

    keys: Tensor
    values: Tensor
    place: Place | None = None

    @property
    def length(self) -> int:
        """Positions held."""
        return int(self.keys.shape[2])

    @property
    def nbytes(self) -> int:
        """Bytes of the positions held."""
        return 2 * self.keys.numel() * self.keys.element_size()

    def crop(self, length: int) -> ParkedKV:
        """The first positions alone; a view, so it costs nothing and frees nothing.

        Raises:
            ValueError: more positions are asked for than there are.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot crop {self.length} positions to {length}")
        return ParkedKV(self.keys[:, :, :length], self.values[:, :, :length], self.place)

    def compact(self) -> ParkedKV:
        """The same in memory of its own, so that what was cropped off is freed."""
        own = ParkedKV(self.keys.clone(), self.values.clone())
        return own if self.place is None else own.counted(self.place.parking)

    def counted(self, parking: Parking) -> ParkedKV:
        """The same, its bytes counted as long as it or a crop of it is held."""
        return replace(self, place=parking.take(self.nbytes))


@dataclass(frozen=True, slots=True)
class KVShape:
    """Sizes of the keys and values of a decoder.

    Attributes:
        layers: Layers of the decoder.
        heads: Key and value heads of a layer.
        size: Numbers of a head.
    """

    layers: int
    heads: int
    size: int

    @classmethod
    def of(cls, config: Any) -> KVShape:
        """The shape that a transformers config of a decoder gives."""
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(config.num_hidden_layers, config.num_key_value_heads, size)

    def nbytes(self, positions: int, dtype: torch.dtype) -> int:
        """Bytes of so many positions."""
        return 2 * self.layers * self.heads * self.size * positions * dtype.itemsize


class KVArena:
    """Rows of keys and values, grown in buckets of positions.

    Args:
        shape: Sizes of the decoder.
        rows: Conversations decoded at once.
        most: Positions of a row at most.
        device: Where the model is.
        dtype: That of the model.
    """

    FIRST_BUCKET = 512
    """Positions of the smallest bucket; the next has twice as many."""

    def __init__(
        self, shape: KVShape, *, rows: int, most: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.shape = shape
        self.rows = rows
        self.most = most
        self._device = device
        self._dtype = dtype
        self.keys = self._empty(min(self.FIRST_BUCKET, most))
        self.values = self._empty(min(self.FIRST_BUCKET, most))

    @property
    def capacity(self) -> int:
        """Positions that a row holds before the arena must grow."""
        return int(self.keys.shape[3])

    @property
    def nbytes(self) -> int:
        """Bytes that the arena takes now."""
        return self.shape.nbytes(self.rows * self.capacity, self._dtype)

    def reserve(self, positions: int) -> None:
        """Make every row hold at least so many positions.

        Raises:
            GenerationError: more than the arena may ever hold.
        """
        if positions > self.most:
            raise GenerationError(
                f"the conversation needs {positions} positions, this model holds {self.most}; "
                "start a new one or drop earlier turns"
            )
        if positions <= self.capacity:
            return
        capacity = self.capacity
        while capacity < positions:
            capacity = min(2 * capacity, self.most)
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = self._empty(capacity)
            new[:, :, :, : old.shape[3]] = old
            setattr(self, name, new)

    def load(self, row: int, parked: ParkedKV | None) -> None:
        """Put a conversation into a row; None is a conversation that has not begun."""
        if parked is not None:
            self.reserve(parked.length)
            self.keys[:, row, :, : parked.length] = parked.keys
            self.values[:, row, :, : parked.length] = parked.values

    def clear(self, row: int) -> None:
        """Forget a row. What is not a number would else spoil the next one: 0 * NaN is NaN."""
        self.keys[:, row] = 0
        self.values[:, row] = 0

    def park(self, row: int, length: int) -> ParkedKV:
        """A copy of the first positions of a row."""
        return ParkedKV(
            self.keys[:, row, :, :length].clone(), self.values[:, row, :, :length].clone()
        )

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first positions of a row over another row."""
        self.keys[:, target, :, :length] = self.keys[:, source, :, :length]
        self.values[:, target, :, :length] = self.values[:, source, :, :length]

    def swap(self, one: int, other: int, length: int) -> None:
        """Let two rows change places, their first positions."""
        for held in (self.keys, self.values):
            kept = held[:, one, :, :length].clone()
            held[:, one, :, :length] = held[:, other, :, :length]
            held[:, other, :, :length] = kept

    def prefill_cache(
        self, rows: Sequence[int], starts: Sequence[int], counts: Sequence[int]
    ) -> Cache:
        """A transformers cache that writes new positions of some rows.

        Args:
            rows: Which rows.
            starts: Positions that each holds before.
            counts: New positions of each; those beyond, up to the most, are padding.
        """
        ends = [start + count for start, count in zip(starts, counts, strict=True)]
        self.reserve(max(ends))
        most = max(counts)
        new = torch.arange(most, device=self._device)
        is_read = new < torch.tensor(counts, device=self._device)[:, None]
        at = torch.tensor(starts, device=self._device)[:, None] + new
        of = torch.tensor(rows, device=self._device)[:, None].expand(-1, most)
        span = Span(of[:, 0], of[is_read], at[is_read], is_read, max(starts), max(ends))
        return Cache(
            layers=[
                PrefillLayer(self.keys[i], self.values[i], span) for i in range(self.shape.layers)
            ]
        )

    def step_cache(self, lengths: Sequence[int]) -> Cache:
        """A transformers cache for one step of the first rows, at each row's own position.

        Args:
            lengths: Positions that each row holds before the step.
        """
        self.reserve(max(lengths) + 1)
        rows = torch.arange(len(lengths), device=self._device)
        at = torch.tensor(lengths, device=self._device)
        seen = max(lengths) + 1
        return Cache(
            layers=[
                StepLayer(self.keys[i], self.values[i], rows, at, seen)
                for i in range(self.shape.layers)
            ]
        )

    def step_mask(self, lengths: Sequence[int]) -> Tensor | None:
        """What each row of a step may look at, [B, 1, 1, positions]; None where that is all."""
        if min(lengths) == max(lengths):
            return None
        positions = torch.arange(max(lengths) + 1, device=self._device)
        seen = torch.tensor(lengths, device=self._device)[:, None]
        return (positions[None] <= seen)[:, None, None]

    def prefill_mask(self, starts: Sequence[int], counts: Sequence[int]) -> Tensor | None:
        """What new positions may look at, [B, 1, new, positions]; None where causality says it.

        Args:
            starts: Positions that each row holds before.
            counts: New positions of each.
        """
        if not any(starts):
            return None
        ends = [start + count for start, count in zip(starts, counts, strict=True)]
        first = torch.tensor(starts, device=self._device)[:, None]
        new = first + torch.arange(max(counts), device=self._device)
        return (torch.arange(max(ends), device=self._device) <= new[..., None])[:, None]

    def _empty(self, capacity: int) -> Tensor:
        shape = self.shape
        return torch.zeros(
            (shape.layers, self.rows, shape.heads, capacity, shape.size),
            device=self._device,
            dtype=self._dtype,
        )
