from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echat_sdk.errors import CheckpointError, ModelMissingError
from echat_sdk.model.cascade.ct2_weights import read_tensors
from echat_sdk.model.cascade.encoder import WhisperEncoder, encoder_width

WhisperDir = Callable[..., Path]


def float64_encoder(t: dict[str, np.ndarray], mel: np.ndarray, n_layers: int) -> np.ndarray:
    """A second implementation, slow and plain: exact erf, one head and one step at a time."""
    erf = np.vectorize(math.erf)

    def gelu(x: np.ndarray) -> np.ndarray:
        return x * 0.5 * (1 + erf(x / math.sqrt(2)))

    def conv(x: np.ndarray, name: str, stride: int) -> np.ndarray:
        w, padded = t[f"{name}/weight"].astype(float), np.pad(x, ((1, 1), (0, 0)))
        steps = range(0, len(x), stride)
        return (
            np.array([np.einsum("oik,ki->o", w, padded[s : s + 3]) for s in steps])
            + t[f"{name}/bias"]
        )

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * t[f"{name}/gamma"] + t[f"{name}/beta"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ t[f"{name}/weight"].astype(float).T + t[f"{name}/bias"]

    x = gelu(conv(gelu(conv(mel.T.astype(float), "encoder/conv1", 1)), "encoder/conv2", 2))
    x = x + t["encoder/position_encodings/encodings"][: len(x)]
    heads = int(t["encoder/num_heads"])
    for i in range(n_layers):
        name = f"encoder/layer_{i}"
        q, k, v = np.split(
            linear(norm(x, f"{name}/self_attention/layer_norm"), f"{name}/self_attention/linear_0"),
            3,
            axis=1,
        )
        size = x.shape[1] // heads
        mixed = []
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            weights = np.exp(q[:, part] @ k[:, part].T / math.sqrt(size))
            mixed.append(weights / weights.sum(1, keepdims=True) @ v[:, part])
        x = x + linear(np.concatenate(mixed, axis=1), f"{name}/self_attention/linear_1")
        up = linear(norm(x, f"{name}/ffn/layer_norm"), f"{name}/ffn/linear_0")
        x = x + linear(gelu(up), f"{name}/ffn/linear_1")
    return x


@pytest.mark.parametrize("frames", [1, 2, 7, 20])
def test_the_encoder_equals_a_slow_plain_one(whisper_dir: WhisperDir, frames: int) -> None:
    folder = whisper_dir()
    mel = np.random.default_rng(1).standard_normal((80, frames)).astype("f4")
    states = WhisperEncoder.load(folder, n_layers=2)(mel)
    tensors = read_tensors(folder / "model.bin", lambda name: True)
    assert [s.shape for s in states] == [((frames + 1) // 2, 16)] * 3
    for layer in range(3):
        assert np.abs(states[layer] - float64_encoder(tensors, mel, layer)).max() < 2e-3


def test_only_the_wanted_layers_are_read_and_too_few_are_refused(whisper_dir: WhisperDir) -> None:
    folder = whisper_dir()
    assert WhisperEncoder.load(folder, n_layers=1).n_layers == 1
    with pytest.raises(CheckpointError, match="layer_2"):
        WhisperEncoder.load(folder, n_layers=3)


def test_speech_longer_than_the_positions_is_cut_and_not_an_error(whisper_dir: WhisperDir) -> None:
    encoder = WhisperEncoder.load(whisper_dir(), n_layers=1)
    assert len(encoder(np.zeros((80, 999), np.float32))[-1]) == encoder.max_states


def test_the_width_is_told_without_reading_layers(whisper_dir: WhisperDir) -> None:
    assert encoder_width(whisper_dir()) == 16


def test_a_missing_model_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match="models pull"):
        WhisperEncoder.load(tmp_path, n_layers=1)


def test_int8_weights_are_refused_by_name(whisper_dir: WhisperDir) -> None:
    with pytest.raises(CheckpointError, match="data type 1"):
        WhisperEncoder.load(whisper_dir(kind=1), n_layers=1)


def test_another_version_of_the_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(struct.pack("<I", 5) + bytes(40))
    with pytest.raises(CheckpointError, match="version 5"):
        WhisperEncoder.load(tmp_path, n_layers=1)


@given(cut=st.integers(0, 30_000), flip=st.integers(0, 400), byte=st.integers(0, 255))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_file_is_a_checkpoint_error_and_nothing_else(
    whisper_dir: WhisperDir, tmp_path: Path, cut: int, flip: int, byte: int
) -> None:
    data = bytearray((whisper_dir() / "model.bin").read_bytes())[:cut]
    if flip < len(data):
        data[flip] = byte
    path = tmp_path / "damaged.bin"
    path.write_bytes(data)
    with contextlib.suppress(CheckpointError):
        read_tensors(path, lambda name: True)


@pytest.mark.real
def test_all_six_layers_of_the_true_encoder_equal_those_of_ctranslate2() -> None:
    import ctranslate2

    from echat_sdk.model.zoo import locate

    folder = locate("whisper-base")
    mel = np.random.default_rng(0).uniform(-0.5, 1.2, (80, 240)).astype("f4")
    states = WhisperEncoder.load(folder, n_layers=6)(mel)[-1]
    norm = read_tensors(folder / "model.bin", lambda name: name.startswith("encoder/layer_norm/"))
    centred = states - states.mean(-1, keepdims=True)
    ours = centred / np.sqrt(states.var(-1, keepdims=True) + 1e-5)
    ours = ours * norm["encoder/layer_norm/gamma"] + norm["encoder/layer_norm/beta"]
    whisper = ctranslate2.models.Whisper(str(folder), compute_type="float32", intra_threads=1)
    view = ctranslate2.StorageView.from_array(np.ascontiguousarray(mel[None]))
    theirs = np.array(whisper.encode(view, to_cpu=True))[0]
    assert np.abs(ours - theirs).max() < 0.02  # of values up to 16
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99999
