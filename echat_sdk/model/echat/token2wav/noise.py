"""Random numbers that are tied to places: however an answer is cut, a frame gets the same noise."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_WORD = 2**64


class NoiseTape:
    """An endless tape of standard normal numbers; the same seed and name, the same tape.

    A counter-based generator makes it in blocks, so that any place can be read without what lies
    before it, and on the CPU, so that every device reads the same numbers.

    Args:
        seed: any integer; its low 64 bits count.
        track: which of a seed's tapes; tapes of one seed are independent.
        rows: numbers at each place.
        block: places that are made at once.
    """

    def __init__(self, seed: int, track: int, rows: int, block: int) -> None:
        self._key = np.array([seed % _WORD, track], dtype=np.uint64)
        self._shape = (rows, block)

    def read(self, start: int, stop: int) -> Tensor:
        """The numbers at start ... stop - 1, float32 [1, rows, stop - start]."""
        rows, block = self._shape
        if stop <= start:
            return torch.zeros(1, rows, 0)
        first = start // block
        blocks = [self._block(index) for index in range(first, -(-stop // block))]
        tape = np.concatenate(blocks, axis=1)[:, start - first * block : stop - first * block]
        return torch.from_numpy(np.ascontiguousarray(tape))[None]

    def _block(self, index: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        # The block's number is the counter's highest word: no block can run into the next one.
        bits = np.random.Philox(key=self._key, counter=np.array([0, 0, 0, index], dtype=np.uint64))
        return np.random.Generator(bits).standard_normal(self._shape, dtype=np.float32)


def harmonic_phases(seed: int, track: int, count: int) -> Tensor:
    """Start phases of `count` harmonics in radians, uniform in [-pi, pi), float32 [1, count]."""
    bits = np.random.Philox(key=np.array([seed % _WORD, track], dtype=np.uint64))
    drawn = np.random.Generator(bits).uniform(-np.pi, np.pi, (1, count))
    return torch.from_numpy(drawn.astype(np.float32))
