"""The rows of an arena as layers of a transformers cache, for an unpatched decoder."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from transformers.cache_utils import CacheLayerMixin


@dataclass(frozen=True, slots=True)
class Span:
    """Where new positions go, the same in every layer.

    Attributes:
        rows: The rows. Shape [B].
        of: The row of each position that is no padding. Shape [N].
        at: Its place in the row. Shape [N].
        is_read: Which of the new positions are no padding. Shape [B, new].
        start: Positions that the longest row holds before.
        seen: Positions that the longest row holds after.
    """

    rows: Tensor
    of: Tensor
    at: Tensor
    is_read: Tensor
    start: int
    seen: int


class PrefillLayer(CacheLayerMixin):
    """One layer of some rows: new positions go behind what each row holds."""

    def __init__(self, keys: Tensor, values: Tensor, span: Span) -> None:
        super().__init__()
        self.keys, self.values = self._k, self._v = keys, values
        self.is_initialized = True
        self._span = span

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """The arena has its memory already."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write the new positions; give all up to the longest row's last."""
        span = self._span
        self._k[span.of, :, span.at] = key_states.transpose(1, 2)[span.is_read]
        self._v[span.of, :, span.at] = value_states.transpose(1, 2)[span.is_read]
        if span.start == 0:
            return key_states, value_states
        return self._k[span.rows, :, : span.seen], self._v[span.rows, :, : span.seen]

    def get_seq_length(self) -> int:
        """Positions of the longest row before the new ones."""
        return self._span.start

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Positions in all, and the first of them."""
        return self._span.seen, 0

    def get_max_length(self) -> int:
        """Positions at most."""
        return int(self._k.shape[2])


class StepLayer(CacheLayerMixin):
    """One layer of the first rows: one position each, at each row's own span."""

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
