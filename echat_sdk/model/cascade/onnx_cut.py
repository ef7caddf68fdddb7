"""Cut a piece out of an ONNX file, so that what flows between two of its nodes can be changed.

An ONNX file is one protobuf message. The few fields that a cut needs are read and written here
directly (numbers from onnx.proto, IR version 3 and later), which spares an install of `onnx`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from echat_sdk.errors import CheckpointError, ModelMissingError

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE_INFO = 1, 5, 11, 12, 13
_NODE_INPUT, _NODE_OUTPUT = 1, 2
_TENSOR_NAME, _VALUE_NAME = 8, 1
_FLOAT = 1  # TensorProto.DataType.FLOAT

_REWRITTEN = (_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE_INFO)

_Field = tuple[int, memoryview, memoryview]  # number, all its bytes, its body: views, no copies


class OnnxNetwork:
    """A network to be cut.

    Args:
        model: The bytes of an ONNX file.

    Raises:
        CheckpointError: these bytes are no ONNX.
    """

    def __init__(self, model: bytes) -> None:
        try:
            fields = list(_fields(memoryview(model)))
            graph = list(_fields(next(body for n, _, body in fields if n == _MODEL_GRAPH)))
            # What a node takes and makes; the nodes are stored in the order of the data's flow.
            self._nodes = [_node(whole, body) for n, whole, body in graph if n == _GRAPH_NODE]
            self._weights = [
                (whole, _name(body, _TENSOR_NAME))
                for n, whole, body in graph
                if n == _GRAPH_INITIALIZER
            ]
            self._inputs = {
                _name(body, _VALUE_NAME): whole for n, whole, body in graph if n == _GRAPH_INPUT
            }
        except (StopIteration, IndexError, UnicodeDecodeError) as error:
            raise CheckpointError("not an ONNX file, or a damaged one") from error
        if not self._nodes:
            raise CheckpointError("not an ONNX file: it holds no network")
        self._model_rest = [whole for n, whole, _ in fields if n != _MODEL_GRAPH]
        self._graph_rest = [whole for n, whole, _ in graph if n not in _REWRITTEN]

    def cut(self, *, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
        """The part of the network between some of its tensors, as an ONNX file.

        Args:
            inputs: Tensors to be fed from outside; float, unless the network takes them already.
            outputs: Tensors to be given out, all float.

        Raises:
            CheckpointError: the network has no tensor of such a name.
        """
        known = {name for _, _, makes in self._nodes for name in makes} | set(self._inputs)
        for name in (*inputs, *outputs):
            if name not in known:
                raise CheckpointError(f"the network has no tensor {name!r}; is it another version?")
        needed, fed = set(outputs), set(inputs)
        kept: list[memoryview] = []
        for whole, takes, makes in reversed(self._nodes):
            if needed.intersection(makes) - fed:
                kept.append(whole)
                needed.update(takes)
        graph: list[bytes | memoryview] = [*reversed(kept), *self._graph_rest]
        graph += [whole for whole, name in self._weights if name in needed]
        graph += [
            self._inputs[name] if name in self._inputs else _field(_GRAPH_INPUT, _float_value(name))
            for name in inputs
        ]
        graph += [_field(_GRAPH_OUTPUT, _float_value(name)) for name in outputs]
        return b"".join([*self._model_rest, _field(_MODEL_GRAPH, b"".join(graph))])


def open_network(model: bytes, *, threads: int) -> Any:
    """An ONNX Runtime session for the bytes of an ONNX file.

    Raises:
        ModelMissingError: onnxruntime is not installed.
        CheckpointError: ONNX Runtime refuses the file.
    """
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as refusals
    except ImportError as error:
        raise ModelMissingError(
            "onnxruntime is not installed: pip install 'echat-sdk[lite]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options)
    except (
        refusals.Fail,
        refusals.InvalidArgument,
        refusals.InvalidGraph,
        refusals.InvalidProtobuf,
        refusals.NotImplemented,
    ) as error:
        raise CheckpointError(f"ONNX Runtime refuses the network: {error}") from error


def _node(whole: memoryview, body: memoryview) -> tuple[memoryview, list[str], list[str]]:
    takes, makes = [], []
    for number, _, name in _fields(body):
        if number == _NODE_INPUT:
            takes.append(str(name, "utf-8"))
        elif number == _NODE_OUTPUT:
            makes.append(str(name, "utf-8"))
    return whole, takes, makes


def _name(message: memoryview, field: int) -> str:
    return next(str(body, "utf-8") for number, _, body in _fields(message) if number == field)


def _float_value(name: str) -> bytes:
    """A ValueInfoProto: a name, and a float tensor of any shape."""
    tensor_type = b"\x08" + bytes([_FLOAT])
    return _field(1, name.encode()) + _field(2, _field(1, tensor_type))


def _fields(message: memoryview) -> Iterator[_Field]:
    """Each field of a message; plain numbers have an empty body."""
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


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _field(number: int, body: bytes) -> bytes:
    return _to_varint(number << 3 | 2) + _to_varint(len(body)) + body


def _to_varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))
