"""A tiny random Whisper encoder, written as the CTranslate2 file that the package reads."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

WIDTH, HEADS, LAYERS, POSITIONS = 16, 2, 2, 100


@pytest.fixture(scope="session")
def whisper_dir(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a model and gives its folder: `whisper_dir(kind=4)`; kind 4 is float16, 0 float32."""
    written: dict[int, Path] = {}

    def write(kind: int = 4) -> Path:
        if kind not in written:
            written[kind] = tmp_path_factory.mktemp("whisper")
            (written[kind] / "model.bin").write_bytes(_model(kind))
        return written[kind]

    return write


def _model(kind: int) -> bytes:
    rng = np.random.default_rng(3)
    shapes: dict[str, tuple[int, ...]] = {
        "decoder/embeddings/weight": (5, WIDTH),  # not wanted by anybody here
        "encoder/conv1/weight": (WIDTH, 80, 3),
        "encoder/conv1/bias": (WIDTH,),
        "encoder/conv2/weight": (WIDTH, WIDTH, 3),
        "encoder/conv2/bias": (WIDTH,),
        "encoder/position_encodings/encodings": (POSITIONS, WIDTH),
    }
    for layer in range(LAYERS):
        attention, ffn = f"encoder/layer_{layer}/self_attention", f"encoder/layer_{layer}/ffn"
        shapes |= {
            f"{attention}/layer_norm/gamma": (WIDTH,),
            f"{attention}/layer_norm/beta": (WIDTH,),
            f"{attention}/linear_0/weight": (3 * WIDTH, WIDTH),
            f"{attention}/linear_0/bias": (3 * WIDTH,),
            f"{attention}/linear_1/weight": (WIDTH, WIDTH),
            f"{attention}/linear_1/bias": (WIDTH,),
            f"{ffn}/layer_norm/gamma": (WIDTH,),
            f"{ffn}/layer_norm/beta": (WIDTH,),
            f"{ffn}/linear_0/weight": (4 * WIDTH, WIDTH),
            f"{ffn}/linear_0/bias": (4 * WIDTH,),
            f"{ffn}/linear_1/weight": (WIDTH, 4 * WIDTH),
            f"{ffn}/linear_1/bias": (WIDTH,),
        }
    dtype = {0: "<f4", 1: "i1", 4: "<f2"}[kind]
    tensors = {
        name: (kind, (0.3 * rng.standard_normal(shape)).astype(dtype))
        for name, shape in shapes.items()
    }
    body = [
        _entry("encoder/num_heads", 2, np.array(HEADS, "<i2")),
        *[_entry(name, of, values) for name, (of, values) in sorted(tensors.items())],
    ]
    head = struct.pack("<I", 6) + _text("WhisperSpec") + struct.pack("<II", 3, len(body))
    return head + b"".join(body) + struct.pack("<I", 0)


def _text(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def _entry(name: str, kind: int, values: npt.NDArray[np.generic]) -> bytes:
    shape = struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
    return _text(name) + shape + struct.pack("<BI", kind, values.nbytes) + values.tobytes()
