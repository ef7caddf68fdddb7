"""Reads single tensors from a CTranslate2 `model.bin` without CTranslate2.

The format (binary version 6), little-endian throughout: `u32` version, name of the model class,
`u32` revision, `u32` number of tensors; then for each tensor its name, `u8` rank, `u32` dimensions,
`u8` data type, `u32` bytes, the bytes. A name is `u16` length and as many bytes, the last one NUL.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from echat_sdk.errors import CheckpointError, ModelMissingError

Tensors = dict[str, npt.NDArray[np.float32]]

_VERSION = 6
_MAX_TENSORS = 10_000
_MAX_RANK = 8
_DTYPES: dict[int, np.dtype[Any]] = {
    0: np.dtype("<f4"),
    2: np.dtype("<i2"),
    3: np.dtype("<i4"),
    4: np.dtype("<f2"),
}


def read_tensors(path: Path, wanted: Callable[[str], bool]) -> Tensors:
    """The tensors whose name `wanted` accepts, as float32; the others are skipped over unread.

    Raises:
        ModelMissingError: there is no such file.
        CheckpointError: it is not a CTranslate2 model, is cut short, or holds a wanted tensor in a
            data type other than float32, float16, int16 or int32.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return _Reader(file, size, path.name).read(wanted)
    except FileNotFoundError as error:
        raise ModelMissingError(
            f"no {path.name} in {path.parent}; run `echat models pull`"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


class _Reader:
    def __init__(self, file: BinaryIO, size: int, name: str) -> None:
        self._file, self._size, self._name = file, size, name

    def read(self, wanted: Callable[[str], bool]) -> Tensors:
        (version,) = self._unpack("<I")
        if version != _VERSION:
            raise self._broken(f"has format version {version}, expected {_VERSION}")
        self._text()
        _, count = self._unpack("<II")
        if count > _MAX_TENSORS:
            raise self._broken(f"claims {count} tensors")
        tensors: Tensors = {}
        for _ in range(count):
            name = self._text()
            (rank,) = self._unpack("<B")
            if rank > _MAX_RANK:
                raise self._broken(f"claims a tensor of rank {rank}")
            shape = self._unpack(f"<{rank}I")
            kind, n_bytes = self._unpack("<BI")
            if n_bytes > self._size - self._file.tell():
                raise self._broken("ends in the middle of a tensor")
            if wanted(name):
                tensors[name] = self._tensor(name, shape, kind, n_bytes)
            else:
                self._file.seek(n_bytes, 1)
        return tensors

    def _tensor(
        self, name: str, shape: tuple[int, ...], kind: int, n_bytes: int
    ) -> npt.NDArray[np.float32]:
        dtype = _DTYPES.get(kind)
        if dtype is None:
            raise self._broken(f"holds {name} in data type {kind}; pull the float16 model")
        if math.prod(shape) * dtype.itemsize != n_bytes:
            raise self._broken(f"gives {name} {n_bytes} bytes for shape {shape}")
        values = np.frombuffer(self._file.read(n_bytes), dtype).reshape(shape)
        return np.asarray(values, dtype=np.float32)

    def _unpack(self, layout: str) -> tuple[int, ...]:
        data = self._file.read(struct.calcsize(layout))
        if len(data) < struct.calcsize(layout):
            raise self._broken("ends too early")
        return struct.unpack(layout, data)

    def _text(self) -> str:
        (length,) = self._unpack("<H")
        return self._file.read(length).rstrip(b"\0").decode("utf-8", "replace")

    def _broken(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self._name} {what}; run `echat models verify`")
