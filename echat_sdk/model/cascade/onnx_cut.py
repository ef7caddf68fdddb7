"""Cut a piece out of an ONNX network, so that what flows between two of its nodes can change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from echat_sdk.errors import CheckpointError, ModelMissingError
from echat_sdk.model.cascade.onnx_wire import Node, Tensor, field, fields, read_node, text

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE_INFO = 1, 5, 11, 12, 13
_TENSOR_NAME, _VALUE_NAME = 8, 1
_FLOAT = 1  # TensorProto.DataType.FLOAT

_REWRITTEN = (_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE_INFO)

Rewrite = Callable[[Sequence[Node], Mapping[str, Tensor]], tuple[list[Node], dict[str, Tensor]]]


class OnnxNetwork:
    """A network to be cut.

    Args:
        model: The bytes of an ONNX file.
        rewrite: What to put in place of its nodes and constants, which are given by name.

    Raises:
        CheckpointError: these bytes are no ONNX.
    """

    def __init__(self, model: bytes, *, rewrite: Rewrite | None = None) -> None:
        try:
            whole_model = list(fields(memoryview(model)))
            graph = list(fields(next(body for n, _, body in whole_model if n == _MODEL_GRAPH)))
            # The nodes are stored in the order of the data's flow.
            self._nodes = [read_node(whole, body) for n, whole, body in graph if n == _GRAPH_NODE]
            self._weights: dict[str, Tensor] = {
                text(body, _TENSOR_NAME): body for n, _, body in graph if n == _GRAPH_INITIALIZER
            }
            self._inputs = {
                text(body, _VALUE_NAME): whole for n, whole, body in graph if n == _GRAPH_INPUT
            }
            if rewrite:
                self._nodes, self._weights = rewrite(self._nodes, self._weights)
        except (StopIteration, IndexError, UnicodeDecodeError) as error:
            raise CheckpointError("not an ONNX file, or a damaged one") from error
        if not self._nodes:
            raise CheckpointError("not an ONNX file: it holds no network")
        self._model_rest = [whole for n, whole, _ in whole_model if n != _MODEL_GRAPH]
        self._graph_rest = [whole for n, whole, _ in graph if n not in _REWRITTEN]

    def cut(self, *, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
        """The part of the network between some of its tensors, as an ONNX file.

        Args:
            inputs: Tensors to be fed from outside; float, unless the network takes them already.
            outputs: Tensors to be given out, all float.

        Raises:
            CheckpointError: the network has no tensor of such a name.
        """
        known = {name for node in self._nodes for name in node.makes} | set(self._inputs)
        for name in (*inputs, *outputs):
            if name not in known:
                raise CheckpointError(f"the network has no tensor {name!r}; is it another version?")
        needed, fed = set(outputs), set(inputs)
        kept: list[bytes | memoryview] = []
        for node in reversed(self._nodes):
            if needed.intersection(node.makes) - fed:
                kept.append(node.whole)
                needed.update(node.takes)
        graph = [*reversed(kept), *self._graph_rest]
        graph += [
            field(_GRAPH_INITIALIZER, tensor)
            for name, tensor in self._weights.items()
            if name in needed
        ]
        graph += [
            self._inputs[name] if name in self._inputs else field(_GRAPH_INPUT, _float_value(name))
            for name in inputs
        ]
        graph += [field(_GRAPH_OUTPUT, _float_value(name)) for name in outputs]
        return b"".join([*self._model_rest, field(_MODEL_GRAPH, b"".join(graph))])


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
    # Moving transposes about makes them fewer, but has means taken across memory, which costs more.
    unwanted = ["TransposeOptimizer", "TransposeOptimizer_CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(model, options, disabled_optimizers=unwanted)
    except (
        refusals.Fail,
        refusals.InvalidArgument,
        refusals.InvalidGraph,
        refusals.InvalidProtobuf,
        refusals.NotImplemented,
    ) as error:
        raise CheckpointError(f"ONNX Runtime refuses the network: {error}") from error


def _float_value(name: str) -> bytes:
    """A ValueInfoProto: a name, and a float tensor of any shape."""
    tensor_type = b"\x08" + bytes([_FLOAT])
    return field(1, name.encode()) + field(2, field(1, tensor_type))
