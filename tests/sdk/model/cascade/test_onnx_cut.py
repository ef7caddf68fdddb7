from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from echat_sdk.errors import CheckpointError
from echat_sdk.model.cascade.onnx_cut import OnnxNetwork


@pytest.fixture(scope="module")
def network() -> bytes:
    from hibari.tts import ASSETS

    return Path(ASSETS, "hibari.onnx").read_bytes()


def test_the_two_halves_of_a_network_do_what_the_whole_does(network: bytes) -> None:
    seam = ["/Reshape_42_output_0", "f0", "/Mul_62_output_0"]
    made = ["lh", "lr"]
    first = OnnxNetwork(network).cut(inputs=["ids", "speed"], outputs=seam)
    second = OnnxNetwork(network).cut(inputs=seam, outputs=made)
    assert len(first) + len(second) < 1.01 * len(network)

    feed = {"ids": np.array([[0, 50, 83, 54, 31, 4, 0]]), "speed": np.ones(1, np.float32)}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    whole, head, tail = (
        onnxruntime.InferenceSession(part, options) for part in (network, first, second)
    )
    between = dict(zip(seam, head.run(seam, feed), strict=True))
    for a, b in zip(tail.run(made, between), whole.run(made, feed), strict=True):
        assert np.median(np.abs(a - b)) < 0.02  # dynamic int8 rounds by chance


def test_a_tensor_that_is_not_there_is_named(network: bytes) -> None:
    with pytest.raises(CheckpointError, match="no tensor 'pitch'"):
        OnnxNetwork(network).cut(inputs=["pitch"], outputs=["lh"])


@given(st.binary(max_size=200))
@example(b"8\x00")  # a graph that is a number
@example(b":\x00")  # an empty graph
def test_bytes_that_are_no_network_are_refused(body: bytes) -> None:
    with pytest.raises(CheckpointError):
        OnnxNetwork(body)
