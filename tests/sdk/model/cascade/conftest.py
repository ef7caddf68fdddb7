"""Tiny random models: GGUF files that the converter reads, and a Whisper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import pytest
from ctranslate2.specs import model_spec, whisper_spec
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from echat_sdk.model.cascade.gguf import convert
from echat_sdk.model.cascade.vocabulary import BYTE_OF_LETTER, MARKUP

WIDTH, HIDDEN, HEADS, KV_HEADS, LAYERS = 64, 96, 4, 2, 2


def _letters(text: str) -> str:
    of_byte = {byte: letter for letter, byte in BYTE_OF_LETTER.items()}
    return "".join(of_byte[byte] for byte in text.encode())


def _learn(words: list[str]) -> tuple[list[str], list[str]]:
    """Tokens and merges that make each word one token, left to right."""
    tokens, merges = list(BYTE_OF_LETTER), []
    for word in map(_letters, words):
        for end in range(2, len(word) + 1):
            if word[:end] not in tokens:
                tokens.append(word[:end])
                merges.append(f"{word[: end - 1]} {word[end - 1]}")
    return tokens, merges


@dataclass(frozen=True, slots=True)
class TinyGGUF:
    """A GGUF file with what was written into it."""

    path: Path
    architecture: str
    tokens: list[str]
    weights: dict[str, npt.NDArray[np.float32]]


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TinyGGUF]:
    """Writes a random model: `tiny_gguf("qwen2" | "llama", quantised=False)`."""

    def write(architecture: str = "qwen2", *, quantised: bool = False) -> TinyGGUF:
        path = tmp_path_factory.mktemp("gguf") / f"{architecture}.gguf"
        rng = np.random.default_rng(7)
        words = ["hello", " sad", " happy", "你好", "。", "getElement", "привет", "...)"]
        tokens, merges = _learn(words)
        tokens += [*MARKUP, "<|fim_middle|>", "[PAD1]"]
        kv_width = WIDTH // HEADS * KV_HEADS
        shapes: dict[str, tuple[int, ...]] = {
            "token_embd.weight": (len(tokens), WIDTH),
            "output_norm.weight": (WIDTH,),
        }
        for i in range(LAYERS):
            shapes |= {
                f"blk.{i}.attn_norm.weight": (WIDTH,),
                f"blk.{i}.attn_q.weight": (WIDTH, WIDTH),
                f"blk.{i}.attn_k.weight": (kv_width, WIDTH),
                f"blk.{i}.attn_v.weight": (kv_width, WIDTH),
                f"blk.{i}.attn_output.weight": (WIDTH, WIDTH),
                f"blk.{i}.ffn_norm.weight": (WIDTH,),
                f"blk.{i}.ffn_gate.weight": (HIDDEN, WIDTH),
                f"blk.{i}.ffn_up.weight": (HIDDEN, WIDTH),
                f"blk.{i}.ffn_down.weight": (WIDTH, HIDDEN),
            }
            if architecture == "qwen2":
                for part, size in (("q", WIDTH), ("k", kv_width), ("v", kv_width)):
                    shapes[f"blk.{i}.attn_{part}.bias"] = (size,)
        weights = {
            name: rng.normal(1.0 if "norm" in name else 0.0, 0.3, shape).astype(np.float32)
            for name, shape in shapes.items()
        }
        writer = gguf.GGUFWriter(path, architecture)
        writer.add_block_count(LAYERS)
        writer.add_embedding_length(WIDTH)
        writer.add_feed_forward_length(HIDDEN)
        writer.add_head_count(HEADS)
        writer.add_head_count_kv(KV_HEADS)
        writer.add_rope_freq_base(10_000.0)
        writer.add_layer_norm_rms_eps(1e-6)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("qwen2" if architecture == "qwen2" else "smollm")
        writer.add_token_list(tokens)
        writer.add_token_merges(merges)
        for name, values in weights.items():
            if quantised and values.ndim == 2:
                kind = gguf.GGMLQuantizationType.Q8_0
                raw = gguf.quantize(values, kind)
                weights[name] = gguf.dequantize(raw, kind)
                writer.add_tensor(name, raw, raw_dtype=kind)
            else:
                writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return TinyGGUF(path, architecture, tokens, weights)

    return write


@pytest.fixture(scope="session")
def tiny_chat_model(
    tiny_gguf: Callable[..., TinyGGUF], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A directory with a tiny random chat model, in float32."""
    target = tmp_path_factory.mktemp("chat") / "model"
    convert(tiny_gguf().path, target, precision="float32")
    return target


@pytest.fixture(scope="session")
def tiny_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a tiny random Whisper that hears English only."""
    target = tmp_path_factory.mktemp("whisper") / "model"
    target.mkdir()
    width = 32
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|transcribe|>", "<|startofprev|>"]
    special += ["<|nospeech|>", "<|notimestamps|>", *(f"<|{i / 50:.2f}|>" for i in range(1501))]
    tokens = [*BYTE_OF_LETTER, *special]
    shapes = {
        "conv1/weight": (width, 80, 3),
        "conv2/weight": (width, width, 3),
        "embeddings/weight": (len(tokens), width),
        "projection/weight": (len(tokens), width),
        "self_attention/linear_0/weight": (3 * width, width),
        "attention/linear_1/weight": (2 * width, width),
        "self_attention/linear_1/weight": (width, width),
        "ffn/linear_0/weight": (2 * width, width),
        "ffn/linear_1/weight": (width, 2 * width),
        "gamma": (width,),
        "beta": (width,),
        "weight": (width, width),
    }
    rng = np.random.default_rng(5)
    spec = whisper_spec.WhisperSpec(1, 2, 1, 2)

    def fill(part: object, name: str, value: object) -> None:
        if value is None:
            shape = next(shape for end, shape in shapes.items() if name.endswith(end))
            setattr(part, name.rsplit("/", 1)[-1], rng.normal(0, 0.3, shape).astype(np.float32))

    model_spec.visit_spec(spec, fill)
    for part, length in ((spec.encoder, 1500), (spec.decoder, 448)):
        part.position_encodings.encodings = rng.normal(0, 0.1, (length, width)).astype(np.float32)
    spec.register_vocabulary(tokens)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = []
    spec.config.lang_ids = []
    spec.config.alignment_heads = [[0, 0], [0, 1]]
    spec.validate()
    spec.save(str(target))
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(target / "tokenizer.json"))
    return target
