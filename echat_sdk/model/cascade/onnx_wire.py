"""The parts of the ONNX format that cutting and rewriting a network needs: nodes and tensors.

An ONNX file is one protobuf message. Its few fields are read and written here directly (numbers
from onnx.proto, IR version 3 and later), which spares an install of `onnx`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

_NODE_INPUT, _NODE_OUTPUT, _NODE_OP, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_INTS, _ATTRIBUTE_TYPE = 1, 3, 8, 20
_INT, _INTS = 2, 7  # AttributeProto.AttributeType
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_INTS, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 5, 8, 9
_DTYPES: Mapping[int, type[np.generic]] = MappingProxyType(
    {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64}
)  # TensorProto.DataType

Tensor = bytes | memoryview  # the bytes of a stored tensor, a TensorProto
Field = tuple[int, memoryview, memoryview]  # number, all its bytes, its body: views, no copies


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of a network.

    Attributes:
        op: Its operator, such as `Conv`.
        takes: Names of the tensors that go in; empty where an optional one is left out.
        makes: Names of the tensors that come out.
        whole: Its bytes in the graph.
    """

    op: str
    takes: tuple[str, ...]
    makes: tuple[str, ...]
    whole: bytes | memoryview

    def integers(self) -> dict[str, tuple[int, ...]]:
        """Its attributes that are integers or lists of them."""
        ((_, _, body),) = fields(memoryview(self.whole))
        found = {}
        for number, _, attribute in fields(body):
            if number == _NODE_ATTRIBUTE:
                values = [*_integers(attribute, _ATTRIBUTE_INT)]
                values += _integers(attribute, _ATTRIBUTE_INTS)
                found[text(attribute, _ATTRIBUTE_NAME)] = tuple(values)
        return found


def read_node(whole: memoryview, body: memoryview) -> Node:
    """A node out of its field of the graph."""
    parts: dict[int, list[str]] = {_NODE_INPUT: [], _NODE_OUTPUT: [], _NODE_OP: []}
    for number, _, name in fields(body):
        if number in parts:
            parts[number].append(str(name, "utf-8"))
    op = "".join(parts[_NODE_OP])
    return Node(op, tuple(parts[_NODE_INPUT]), tuple(parts[_NODE_OUTPUT]), whole)


def write_node(
    op: str, takes: Sequence[str], makes: str, **attributes: int | Sequence[int]
) -> Node:
    """A node of a standard operator that makes one tensor, as the graph's field 1."""
    body = b"".join(field(_NODE_INPUT, name.encode()) for name in takes)
    body += field(_NODE_OUTPUT, makes.encode()) + field(_NODE_OP, op.encode())
    for name, value in attributes.items():
        attribute = field(_ATTRIBUTE_NAME, name.encode())
        if isinstance(value, int):
            attribute += _number(_ATTRIBUTE_INT, value) + _number(_ATTRIBUTE_TYPE, _INT)
        else:
            attribute += b"".join(_number(_ATTRIBUTE_INTS, one) for one in value)
            attribute += _number(_ATTRIBUTE_TYPE, _INTS)
        body += field(_NODE_ATTRIBUTE, attribute)
    return Node(op, tuple(takes), (makes,), field(1, body))


def read_tensor(tensor: Tensor) -> npt.NDArray[Any] | None:
    """The values of a stored tensor; None for a type or a way of storing that is not read here."""
    body = memoryview(tensor)
    dims = list(_integers(body, _TENSOR_DIMS))
    dtype = _DTYPES.get(next(_integers(body, _TENSOR_TYPE), 0))
    raw = next((part for number, _, part in fields(body) if number == _TENSOR_RAW), None)
    if dtype is None:
        return None
    if raw is not None:
        return np.frombuffer(raw, dtype).reshape(dims)
    if dtype in (np.uint8, np.int8, np.int32):
        return np.array(list(_integers(body, _TENSOR_INTS)), np.int64).astype(dtype).reshape(dims)
    return None


def write_tensor(name: str, values: npt.NDArray[Any]) -> Tensor:
    """A tensor to be stored."""
    kind = next(number for number, dtype in _DTYPES.items() if values.dtype == dtype)
    dims = b"".join(_number(_TENSOR_DIMS, size) for size in values.shape)
    rest = field(_TENSOR_NAME, name.encode()) + field(_TENSOR_RAW, values.tobytes())
    return dims + _number(_TENSOR_TYPE, kind) + rest


def fields(message: memoryview) -> Iterator[Field]:
    """Each field of a message; plain numbers have an empty body.

    Raises:
        IndexError: the message is damaged.
    """
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        body = message[:0]
        if key & 7 == 2:
            size, at = _varint(message, at)
            body, at = message[at : at + size], at + size
        elif key & 7 == 0:
            _, at = _varint(message, at)
        elif key & 7 in (1, 5):
            at += 8 if key & 7 == 1 else 4
        else:
            raise IndexError("a protobuf field of an unknown wire type")
        if at > len(message):
            raise IndexError("a protobuf field that is longer than its message")
        yield key >> 3, message[start:at], body


def field(number: int, body: bytes | memoryview) -> bytes:
    """A field with a body: a message, a text or bytes."""
    return _to_varint(number << 3 | 2) + _to_varint(len(body)) + body


def text(message: memoryview, number: int) -> str:
    """The first field of this number, a text.

    Raises:
        StopIteration: there is none.
    """
    return next(str(body, "utf-8") for n, _, body in fields(message) if n == number)


def _integers(message: memoryview, number: int) -> Iterator[int]:
    """The integers of a repeated field, packed or one by one; none are negative in what we read."""
    for found, whole, body in fields(message):
        if found == number:
            packed, at = (body, 0) if body else (whole, _varint(whole, 0)[1])
            while at < len(packed):
                value, at = _varint(packed, at)
                yield value


def _number(number: int, value: int) -> bytes:
    return _to_varint(number << 3) + _to_varint(value)


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _to_varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))
