"""Integer convolutions as integer matrix products, which some processors do three times as fast.

ONNX Runtime multiplies unsigned by signed bytes with the processor's own instruction for it (VNNI),
but only where the signed ones are known beforehand, and the weights of a quantised convolution are
unsigned. So each convolution of a signal becomes a product: the steps that one output sees are laid
side by side, and the weights are shifted by 128 to be signed, which their zero point makes up for.
Every integer that comes out is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from echat_sdk.model.cascade.onnx_wire import Node, Tensor, read_tensor, write_node, write_tensor

_ZERO, _ONE, _AXIS = "product/zero", "product/one", "product/axis"
_SHARED = {_ZERO: np.array(0), _ONE: np.array(1), _AXIS: np.array([1])}


def multiplies_signed_bytes_fast() -> bool:
    """Whether this processor has the instruction; others are slower at it, or saturate."""
    try:
        flags = Path("/proc/cpuinfo").read_text("ascii", errors="replace").split()
    except OSError:  # no Linux
        return False
    return not {"avx512_vnni", "avx_vnni"}.isdisjoint(flags)


def as_matrix_products(
    nodes: Sequence[Node], weights: Mapping[str, Tensor]
) -> tuple[list[Node], dict[str, Tensor]]:
    """The same network with its integer convolutions written as matrix products.

    Convolutions that do not keep a signal's length, or whose weights are not constant unsigned
    bytes, stay as they are.

    Args:
        nodes: The network, in the order of the data's flow; opset 18 or later.
        weights: Its constants by name.
    """
    written: list[Node] = []
    constants = {name: write_tensor(name, values) for name, values in _SHARED.items()}
    for node in nodes:
        kernel = _kernel(node, weights) if node.op == "ConvInteger" else None
        if kernel is None:
            written.append(node)
        else:
            product, tensors = _product(node, *kernel)
            written += product
            constants |= {name: write_tensor(name, values) for name, values in tensors.items()}
    return written, {**weights, **constants}


def _kernel(
    node: Node, weights: Mapping[str, Tensor]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]] | None:
    """The weights [out, in, width] and their zero point, if the node can be rewritten."""
    if len(node.takes) != 4 or not {node.takes[1], node.takes[3]} <= weights.keys():
        return None
    kernel, zero = (read_tensor(weights[node.takes[i]]) for i in (1, 3))
    if kernel is None or zero is None or kernel.ndim != 3 or zero.size != 1:
        return None
    given = node.integers()
    reach = (kernel.shape[2] - 1) * given.get("dilations", (1,))[0]
    keeps_length = sum(given.get("pads", (0,))) == reach and given.get("strides", (1,)) == (1,)
    plain = keeps_length and given.get("group", (1,)) == (1,)
    return (kernel, zero) if plain and kernel.dtype == zero.dtype == np.uint8 else None


def _product(
    node: Node, kernel: npt.NDArray[np.uint8], zero: npt.NDArray[np.uint8]
) -> tuple[list[Node], dict[str, npt.NDArray[Any]]]:
    """A convolution's nodes as a product, and their constants."""
    signal, _, signal_zero, _ = node.takes
    (result,) = node.makes
    given = node.integers()
    channels_out, channels, width = kernel.shape

    def name(part: str) -> str:
        return f"{result}/product/{part}"

    steps = np.arange(width) * given.get("dilations", (1,))[0]
    before, after = given.get("pads", (0, 0))
    tensors = {
        name("weights"): _signed(kernel.transpose(2, 1, 0).reshape(width * channels, channels_out)),
        name("weights_zero"): _signed(zero.reshape(())),
        name("pads"): np.array([0, before, 0, 0, after, 0]),
        name("steps"): steps[None],
        name("shape"): np.array([0, 0, width * channels]),
    }
    nodes = [
        write_node("Transpose", [signal], name("rows"), perm=(0, 2, 1)),
        write_node("Pad", [name("rows"), name("pads"), signal_zero], name("padded")),
        # Which rows each output sees: its own number and the steps after it, [length, width].
        write_node("Shape", [signal], name("size"), start=2, end=3),
        write_node("Squeeze", [name("size")], name("length")),
        write_node("Range", [_ZERO, name("length"), _ONE], name("outputs")),
        write_node("Unsqueeze", [name("outputs"), _AXIS], name("column")),
        write_node("Add", [name("column"), name("steps")], name("seen")),
        write_node("Gather", [name("padded"), name("seen")], name("windows"), axis=1),
        write_node("Reshape", [name("windows"), name("shape")], name("table")),
        write_node(
            "MatMulInteger",
            [name("table"), name("weights"), signal_zero, name("weights_zero")],
            name("made"),
        ),
        write_node("Transpose", [name("made")], result, perm=(0, 2, 1)),
    ]
    return nodes, tensors


def _signed(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
    """Each byte less 128; [out] of the same shape."""
    return np.ascontiguousarray(values ^ np.uint8(128)).view(np.int8)
