from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from echat_sdk.model.cascade.matrix_convolution import as_matrix_products
from echat_sdk.model.cascade.onnx_cut import OnnxNetwork
from echat_sdk.model.cascade.onnx_wire import field, write_node, write_tensor

_GRAPH_OUTPUT, _INT32 = 12, 6


def _value(name: str, kind: int) -> bytes:
    return field(1, name.encode()) + field(2, field(1, b"\x08" + bytes([kind])))


def _network(kernel: npt.NDArray[Any], **given: int | tuple[int, ...]) -> bytes:
    """A file that quantises a signal and convolves it: `x`, float, to `y`, int32."""
    constants = {"kernel": kernel, "kernel_zero": np.array(70, kernel.dtype)}
    convolution = ["x_bytes", "kernel", "x_zero", "kernel_zero"]
    quantise = field(1, field(1, b"x") + b"".join(
        field(2, name) for name in (b"x_bytes", b"x_scale", b"x_zero")
    ) + field(4, b"DynamicQuantizeLinear"))  # fmt: skip
    graph = quantise + bytes(write_node("ConvInteger", convolution, "y", **given).whole)
    graph += b"".join(field(5, write_tensor(n, values)) for n, values in constants.items())
    graph += field(2, b"g") + field(11, _value("x", 1)) + field(_GRAPH_OUTPUT, _value("y", _INT32))
    opset = field(1, b"") + b"\x10\x12"  # version 18
    return b"\x08\x09" + field(7, graph) + field(8, opset)


def _run(network: bytes, signal: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(network, options)
    return np.asarray(session.run(["y"], {"x": signal})[0])


def _rewritten(network: bytes) -> tuple[bytes, list[str]]:
    """The network as products, its integers given out as they are, and its operators."""
    ops: list[str] = []

    def rewrite(nodes: Any, weights: Any) -> Any:
        nodes, weights = as_matrix_products(nodes, weights)
        ops.extend(node.op for node in nodes)
        return nodes, weights

    cut = OnnxNetwork(network, rewrite=rewrite).cut(inputs=["x"], outputs=["y"])
    return cut.replace(_value("y", 1), _value("y", _INT32)), ops


@pytest.mark.parametrize(
    ("width", "dilation", "pads"),
    [(1, 1, (0, 0)), (3, 1, (1, 1)), (7, 3, (9, 9)), (11, 5, (25, 25)), (2, 4, (4, 0))],
)
def test_a_convolution_as_a_product_gives_the_same_integers(
    width: int, dilation: int, pads: tuple[int, int]
) -> None:
    random = np.random.default_rng(width)
    kernel = random.integers(0, 256, (5, 6, width)).astype(np.uint8)
    signal = random.normal(0.3, 1.0, (1, 6, 41)).astype(np.float32)
    network = _network(kernel, dilations=(dilation,), pads=pads, strides=(1,), group=1)
    product, ops = _rewritten(network)
    assert "MatMulInteger" in ops
    assert "ConvInteger" not in ops
    assert np.array_equal(_run(product, signal), _run(network, signal))


@pytest.mark.parametrize(
    "given",
    [
        {"pads": (1, 1), "strides": (2,)},
        {"pads": (0, 0), "strides": (1,)},
        {"pads": (1, 1), "strides": (1,), "group": 2},
    ],
)
def test_a_convolution_of_another_kind_is_left_as_it_is(given: dict[str, Any]) -> None:
    kernel = np.full((4, 4 // given.get("group", 1), 3), 9, np.uint8)
    assert _rewritten(_network(kernel, **given))[1] == ["DynamicQuantizeLinear", "ConvInteger"]


def test_signed_weights_are_left_as_they_are() -> None:
    network = _network(np.full((4, 4, 3), 9, np.int8), pads=(1, 1))
    assert _rewritten(network)[1] == ["DynamicQuantizeLinear", "ConvInteger"]
