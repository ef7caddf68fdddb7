from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echat_sdk.errors import CheckpointError
from echat_sdk.model.cascade.gguf import convert

Array = npt.NDArray[np.float32]


def reference_logits(tiny: Any, ids: list[int]) -> Array:
    """The network in plain numpy, one position after another. Shape [T, V]."""
    w = tiny.weights
    heads, kv_heads = 4, 2
    width = w["output_norm.weight"].shape[0]
    head = width // heads

    def norm(x: Array, gamma: Array) -> Array:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * gamma

    def rotate(x: Array) -> Array:  # [T, H, D]
        angle = np.outer(np.arange(len(x)), 10_000.0 ** (-np.arange(0, head, 2) / head))[:, None]
        first, second = (
            (x[..., ::2], x[..., 1::2])
            if tiny.architecture == "llama"
            else (x[..., : head // 2], x[..., head // 2 :])
        )
        a = first * np.cos(angle) - second * np.sin(angle)
        b = second * np.cos(angle) + first * np.sin(angle)
        if tiny.architecture == "llama":
            return np.stack([a, b], -1).reshape(x.shape)
        return np.concatenate([a, b], -1)

    x = w["token_embd.weight"][ids]
    for i in range(2):
        block = f"blk.{i}."
        h = norm(x, w[block + "attn_norm.weight"])
        q, k, v = (
            (h @ w[f"{block}attn_{n}.weight"].T + w.get(f"{block}attn_{n}.bias", 0)).reshape(
                len(ids), -1, head
            )
            for n in "qkv"
        )
        q, k = rotate(q), rotate(k)
        k, v = (np.repeat(y, heads // kv_heads, axis=1) for y in (k, v))
        scores = np.einsum("thd,shd->hts", q, k) / np.sqrt(head)
        scores = np.where(np.tril(np.ones((len(ids), len(ids)))), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        attended = np.einsum("hts,shd->thd", weights, v).reshape(len(ids), width)
        x = x + attended @ w[block + "attn_output.weight"].T
        h = norm(x, w[block + "ffn_norm.weight"])
        gate = h @ w[block + "ffn_gate.weight"].T
        unit = gate / (1 + np.exp(-gate)) * (h @ w[block + "ffn_up.weight"].T)
        x = x + unit @ w[block + "ffn_down.weight"].T
    return norm(x, w["output_norm.weight"]) @ w["token_embd.weight"].T


def logits_of(directory: Path, tokens: list[str]) -> tuple[Array, list[str]]:
    model = ctranslate2.Generator(str(directory), intra_threads=1, compute_type="default")
    vocabulary = json.loads((directory / "vocabulary.json").read_text("utf-8"))
    return np.array(model.forward_batch([tokens]))[0], vocabulary


TOKENS = ["<|im_start|>", "hello", "Ġsad", "Ġhappy", "h", "Ġ", "a", "<|im_end|>"]


@pytest.mark.parametrize("quantised", [False, True], ids=["f32", "q8_0"])
@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_a_converted_model_computes_what_the_network_says(
    tiny_gguf: Callable[..., Any], tmp_path: Path, architecture: str, quantised: bool
) -> None:
    tiny = tiny_gguf(architecture, quantised=quantised)
    convert(tiny.path, tmp_path, precision="float32", prune=False)
    logits, vocabulary = logits_of(tmp_path, TOKENS)
    rows = [tiny.tokens.index(token) for token in vocabulary]
    expected = reference_logits(tiny, [tiny.tokens.index(token) for token in TOKENS])[:, rows]
    np.testing.assert_allclose(logits, expected, atol=2e-3)


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_int8_stays_close_to_the_network(
    tiny_gguf: Callable[..., Any], tmp_path: Path, architecture: str
) -> None:
    tiny = tiny_gguf(architecture)
    convert(tiny.path, tmp_path, prune=False)
    logits, vocabulary = logits_of(tmp_path, TOKENS)
    rows = [tiny.tokens.index(token) for token in vocabulary]
    expected = reference_logits(tiny, [tiny.tokens.index(token) for token in TOKENS])[:, rows]
    assert np.corrcoef(logits.ravel(), expected.ravel())[0, 1] > 0.995


def test_pruning_drops_rows_and_changes_no_other(
    tiny_gguf: Callable[..., Any], tmp_path: Path
) -> None:
    tiny = tiny_gguf()
    convert(tiny.path, tmp_path / "full", precision="float32", prune=False)
    convert(tiny.path, tmp_path / "pruned", precision="float32")
    full, all_tokens = logits_of(tmp_path / "full", TOKENS)
    pruned, kept = logits_of(tmp_path / "pruned", TOKENS)
    assert len(kept) < len(all_tokens)
    np.testing.assert_allclose(pruned, full[:, [all_tokens.index(t) for t in kept]], atol=1e-4)


def test_progress_rises_to_one(tiny_gguf: Callable[..., Any], tmp_path: Path) -> None:
    seen: list[float] = []
    convert(tiny_gguf().path, tmp_path, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_an_unknown_architecture_is_refused_by_name(
    tiny_gguf: Callable[..., Any], tmp_path: Path
) -> None:
    data = tiny_gguf().path.read_bytes()
    (tmp_path / "other.gguf").write_bytes(data.replace(b"qwen2", b"gemma"))
    with pytest.raises(CheckpointError, match="gemma"):
        convert(tmp_path / "other.gguf", tmp_path / "out")


def test_a_file_that_is_not_there_is_a_checkpoint_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot read"):
        convert(tmp_path / "none.gguf", tmp_path / "out")


def test_weights_that_are_not_numbers_are_refused(
    tiny_gguf: Callable[..., Any], tmp_path: Path
) -> None:
    tiny = tiny_gguf()
    needle = tiny.weights["output_norm.weight"].tobytes()
    bad = np.full(len(needle) // 4, np.nan, np.float32).tobytes()
    (tmp_path / "nan.gguf").write_bytes(tiny.path.read_bytes().replace(needle, bad))
    with pytest.raises(CheckpointError, match="NaN"):
        convert(tmp_path / "nan.gguf", tmp_path / "out")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(part=st.floats(0, 0.999))
def test_a_file_cut_anywhere_is_refused(
    tiny_gguf: Callable[..., Any], tmp_path: Path, part: float
) -> None:
    if not (whole := tmp_path / "whole").exists():
        whole.write_bytes(tiny_gguf().path.read_bytes())
    data = whole.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(data[: int(part * (len(data) - 64))])
    with pytest.raises(CheckpointError):
        convert(tmp_path / "cut.gguf", tmp_path / "out")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_header_is_refused_or_harmless(
    tiny_gguf: Callable[..., Any], tmp_path: Path, data: st.DataObject
) -> None:
    if not (whole := tmp_path / "whole").exists():
        whole.write_bytes(tiny_gguf().path.read_bytes())
    raw = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, 12_000))] = data.draw(st.integers(0, 255))
    (tmp_path / "bad.gguf").write_bytes(raw)
    try:
        convert(tmp_path / "bad.gguf", tmp_path / "out", precision="float32")
    except CheckpointError:
        return
    assert (tmp_path / "out" / "model.bin").exists()
