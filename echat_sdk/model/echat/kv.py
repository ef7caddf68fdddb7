"""Keys and values of many conversations beside each other, for one unpatched transformers decoder.

The *arena* holds the rows that are being decoded, one conversation a row, packed at the front so
that a step reads no idle row. A conversation that is not being decoded is *parked*: its keys and
values are one immutable tensor, which a fork shares and a crop only views. To load and to park
copies once a turn, never once a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from echat_sdk.errors import GenerationError


@dataclass(frozen=True, slots=True)
class ParkedKV:
    """What a conversation has been read so far. Shared by its forks, and never written to.

    Attributes:
        keys: Shape [layers, heads, L, D].
        values: Shape [layers, heads, L, D].
    """

    keys: Tensor
    values: Tensor

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
        return ParkedKV(self.keys[:, :, :length], self.values[:, :, :length])

    def compact(self) -> ParkedKV:
        """The same in memory of its own, so that what was cropped off is freed."""
        return ParkedKV(self.keys.clone(), self.values.clone())


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
        self._keys = self._empty(min(self.FIRST_BUCKET, most))
        self._values = self._empty(min(self.FIRST_BUCKET, most))

    @property
    def capacity(self) -> int:
        """Positions that a row holds before the arena must grow."""
        return int(self._keys.shape[3])

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
        for name in ("_keys", "_values"):
            old = getattr(self, name)
            new = self._empty(capacity)
            new[:, :, :, : old.shape[3]] = old
            setattr(self, name, new)

    def load(self, row: int, parked: ParkedKV | None) -> None:
        """Put a conversation into a row; None is a conversation that has not begun."""
        if parked is not None:
            self.reserve(parked.length)
            self._keys[:, row, :, : parked.length] = parked.keys
            self._values[:, row, :, : parked.length] = parked.values

    def clear(self, row: int) -> None:
        """Forget a row. What is not a number would else spoil the next one: 0 * NaN is NaN."""
        self._keys[:, row] = 0
        self._values[:, row] = 0

    def park(self, row: int, length: int) -> ParkedKV:
        """A copy of the first positions of a row."""
        return ParkedKV(
            self._keys[:, row, :, :length].clone(), self._values[:, row, :, :length].clone()
        )

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first positions of a row over another row."""
        self._keys[:, target, :, :length] = self._keys[:, source, :, :length]
        self._values[:, target, :, :length] = self._values[:, source, :, :length]

    def prefill_cache(self, row: int, start: int, count: int) -> Cache:
        """A transformers cache that writes `count` positions of one row from `start` on."""
        self.reserve(start + count)
        return Cache(
            layers=[
                _PrefillLayer(self._keys[i, row : row + 1], self._values[i, row : row + 1], start)
                for i in range(self.shape.layers)
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
                _StepLayer(self._keys[i], self._values[i], rows, at, seen)
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

    def prefill_mask(self, start: int, count: int) -> Tensor | None:
        """What `count` new positions of one row may look at; None where plain causality says it."""
        if start == 0:
            return None
        new = torch.arange(start, start + count, device=self._device)
        return (torch.arange(start + count, device=self._device)[None] <= new[:, None])[None, None]

    def _empty(self, capacity: int) -> Tensor:
        shape = self.shape
        return torch.zeros(
            (shape.layers, self.rows, shape.heads, capacity, shape.size),
            device=self._device,
            dtype=self._dtype,
        )


class _PrefillLayer(CacheLayerMixin):
    """One layer of one row: new positions go behind `start`."""

    def __init__(self, keys: Tensor, values: Tensor, start: int) -> None:
        super().__init__()
        self.keys, self.values = self._k, self._v = keys, values
        self.is_initialized = True
        self._start = start

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """The arena has its memory already."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write the new positions; give all up to them."""
        end = self._start + key_states.shape[2]
        self._k[:, :, self._start : end] = key_states
        self._v[:, :, self._start : end] = value_states
        return self._k[:, :, :end], self._v[:, :, :end]

    def get_seq_length(self) -> int:
        """Positions before the new ones."""
        return self._start

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Positions in all, and the first of them."""
        return self._start + query_length, 0

    def get_max_length(self) -> int:
        """Positions at most."""
        return int(self._k.shape[2])


class _StepLayer(CacheLayerMixin):
    """One layer of the first rows: one position each, at each row's own place."""

    def __init__(self, keys: Tensor, values: Tensor, rows: Tensor, at: Tensor, seen: int) -> None:
        super().__init__()
        self.keys, self.values = self._k, self._v = keys, values
        self.is_initialized = True
        self._rows, self._at, self._seen = rows, at, seen

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """The arena has its memory already."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write one position a row; give the rows as far as the longest reaches."""
        self._k[self._rows, :, self._at] = key_states[:, :, 0]
        self._v[self._rows, :, self._at] = value_states[:, :, 0]
        count = len(self._rows)
        return self._k[:count, :, : self._seen], self._v[:count, :, : self._seen]

    def get_seq_length(self) -> int:
        """Positions of the longest row before the step."""
        return self._seen - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Positions in all, and the first of them."""
        return self._seen, 0

    def get_max_length(self) -> int:
        """Positions at most."""
        return int(self._k.shape[2])
