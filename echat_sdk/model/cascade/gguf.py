"""Text models from GGUF files to CTranslate2 directories, once, when they are pulled.

Reads the header itself: the `gguf` package takes 12 s over a large vocabulary. Tensors are
dequantised and quantised again a slice of rows at a time, so memory holds little more than the
result. The architectures are `qwen2` and `llama` (SmolLM2): pre-norm decoders with rotary
positions, grouped queries and gated units.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from echat_sdk.errors import CheckpointError
from echat_sdk.model.cascade.vocabulary import TEXT_END, TURN_END, Vocabulary

if TYPE_CHECKING:
    from ctranslate2.specs.common_spec import EmbeddingsSpec, LinearSpec
    from ctranslate2.specs.transformer_spec import TransformerDecoderModelSpec

CONVERTER_VERSION = 2
"""Raised when the same file would become another directory; part of the cache's key."""

Precision = Literal["int8", "float32"]
T = TypeVar("T")
Floats = npt.NDArray[np.float32]

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}
_SCALARS |= {12: "d"}
_STRING, _ARRAY = 8, 9
_MAX_STRING = 1 << 20  # bytes
_MAX_ITEMS = 1 << 20
_MAX_TENSORS = 10_000
_SLICE_ROWS = 4096


@dataclass(frozen=True, slots=True)
class _Tensor:
    shape: tuple[int, ...]  # outermost first
    kind: int
    offset: int


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """The sizes that a GGUF file gives for its network."""

    architecture: str
    layers: int
    width: int
    hidden: int
    heads: int
    kv_heads: int
    rope_base: float
    epsilon: float

    def __post_init__(self) -> None:
        plausible = (
            self.architecture in ("qwen2", "llama")
            and 1 <= self.layers <= 128
            and 1 <= self.kv_heads <= self.heads <= 128
            and self.heads % self.kv_heads == 0
            and self.heads * 2 <= self.width <= 16_384
            and self.width % (self.heads * 2) == 0
            and 1 <= self.hidden <= 65_536
            and 1 <= self.rope_base <= 1e9
            and 0 < self.epsilon < 1e-2
        )
        if not plausible:
            raise CheckpointError(
                f"a GGUF file with {self}: expected qwen2 or llama with plausible sizes; "
                "pull a Qwen2.5 or SmolLM2 model"
            )


class GgufFile:
    """A GGUF file (versions 2 and 3, little-endian), its tensors read on demand."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, 2)
        file.seek(0)
        if file.read(4) != b"GGUF" or self._scalar("I") not in (2, 3):
            raise CheckpointError("not a GGUF file of version 2 or 3; pull the model again")
        tensors, fields = self._scalar("Q"), self._scalar("Q")
        if tensors > _MAX_TENSORS or fields > _MAX_TENSORS:
            raise CheckpointError(f"{tensors} tensors and {fields} fields: the file is corrupt")
        self._fields = {self._string(): self._value(self._scalar("I")) for _ in range(fields)}
        self.tensors = dict(self._tensor() for _ in range(tensors))
        alignment = self.field("general.alignment", int, 32)
        if not 1 <= alignment <= 4096:
            raise CheckpointError(f"data aligned to {alignment} bytes: the file is corrupt")
        self._data = -(-file.tell() // alignment) * alignment

    def field(self, key: str, kind: type[T], default: T | None = None) -> T:
        """A field of the file's head.

        Raises:
            CheckpointError: there is none, or it is of another kind.
        """
        value = self._fields.get(key, default)
        if not isinstance(value, kind):
            raise CheckpointError(
                f"GGUF field {key!r} is {type(value).__name__}, expected {kind.__name__}"
            )
        return value

    def strings(self, key: str) -> list[str]:
        """A field that is a list of strings; raises CheckpointError as `field` does."""
        values = self.field(key, list)
        if not all(isinstance(value, str) for value in values):
            raise CheckpointError(f"GGUF field {key!r} is not a list of strings")
        return values

    def tensor(self, name: str, shape: tuple[int, ...]) -> Floats:
        """A whole small tensor."""
        return np.concatenate([*self.rows(name, shape)])

    def rows(
        self, name: str, shape: tuple[int, ...], only: Sequence[int] | None = None
    ) -> Iterator[Floats]:
        """A tensor in slices of rows, or some of its rows.

        Raises:
            CheckpointError: no such tensor, another shape, an unknown quantisation, a short file.
        """
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

        tensor = self.tensors.get(name)
        if tensor is None or tensor.shape != shape:
            got = "none" if tensor is None else tensor.shape
            raise CheckpointError(
                f"tensor {name}: got {got}, expected {shape}; pull the model again"
            )
        try:
            kind = GGMLQuantizationType(tensor.kind)
            block, size = GGML_QUANT_SIZES[kind]
        except (ValueError, KeyError) as error:
            raise CheckpointError(f"tensor {name}: unknown quantisation {tensor.kind}") from error
        width = size * (shape[-1] // block)
        count = math.prod(shape[:-1])
        if shape[-1] % block or self._data + tensor.offset + width * count > self._size:
            raise CheckpointError(f"tensor {name} ends after the file does; pull the model again")
        for start in range(0, count, _SLICE_ROWS):
            stop = min(count, start + _SLICE_ROWS)
            self._file.seek(self._data + tensor.offset + start * width)
            raw = np.frombuffer(self._file.read((stop - start) * width), np.uint8)
            raw = raw.reshape(stop - start, width)
            if only is not None:
                first, last = np.searchsorted(only, (start, stop))
                raw = raw[np.asarray(only[first:last], np.intp) - start]
                if first == last:
                    continue
            try:
                values = dequantize(raw, kind).astype(np.float32)
            except NotImplementedError as error:
                raise CheckpointError(f"tensor {name}: cannot read {kind.name}") from error
            if not np.isfinite(values).all():
                raise CheckpointError(f"tensor {name} holds NaN or infinity; pull the model again")
            yield values.reshape(shape) if len(shape) == 1 else values

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) != size:
            raise CheckpointError("the GGUF file ends in its header; pull the model again")
        return data

    def _scalar(self, code: str) -> Any:
        return struct.unpack("<" + code, self._read(struct.calcsize("<" + code)))[0]

    def _string(self) -> str:
        if (size := self._scalar("Q")) > _MAX_STRING:
            raise CheckpointError(f"a string of {size} bytes in the header: the file is corrupt")
        return self._read(size).decode("utf-8", "replace")

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            inner, count = self._scalar("I"), self._scalar("Q")
            if inner == _ARRAY or count > _MAX_ITEMS:
                raise CheckpointError(f"a list of {count} in the header: the file is corrupt")
            return [self._value(inner) for _ in range(count)]
        if kind not in _SCALARS:
            raise CheckpointError(f"a value of type {kind} in the header: the file is corrupt")
        return self._scalar(_SCALARS[kind])

    def _tensor(self) -> tuple[str, _Tensor]:
        name, dims = self._string(), self._scalar("I")
        if not 1 <= dims <= 4:
            raise CheckpointError(f"tensor {name} has {dims} dimensions: the file is corrupt")
        shape = tuple(reversed([self._scalar("Q") for _ in range(dims)]))
        return name, _Tensor(shape, kind=self._scalar("I"), offset=self._scalar("Q"))


def convert(
    source: Path,
    target: Path,
    *,
    progress: Callable[[float], None] | None = None,
    precision: Precision = "int8",
    prune: bool = True,
) -> None:
    """Write a GGUF model as a CTranslate2 directory with its `tokenizer.json`.

    Args:
        source: A GGUF file of a qwen2 or llama instruct model.
        target: The directory to fill; made if missing. `model.bin` is written last.
        progress: Told the part that is done, 0 to 1.
        precision: `int8` keeps one scale a row; `float32` is exact and four times as large.
        prune: Leave out the tokens that spoken English and Chinese do not need.

    Raises:
        CheckpointError: not such a file, or damaged.
    """
    try:
        with source.open("rb") as raw:
            file = GgufFile(raw)
            network = network_of(file)
            vocabulary = Vocabulary.parse(
                file.strings("tokenizer.ggml.tokens"),
                file.strings("tokenizer.ggml.merges"),
                file.field("tokenizer.ggml.pre", str),
            )
            rows = len(file.strings("tokenizer.ggml.tokens"))
            if prune:
                vocabulary = vocabulary.pruned()
            spec = _spec(file, network, vocabulary, rows, precision, progress or (lambda _: None))
    except OSError as error:
        raise CheckpointError(f"cannot read the GGUF file: {error.strerror}") from error
    target.mkdir(parents=True, exist_ok=True)
    vocabulary.tokenizer().save(str(target / "tokenizer.json"))
    spec.save(str(target))


def network_of(file: GgufFile) -> LanguageModel:
    """The sizes of the language model in a GGUF file.

    Raises:
        CheckpointError: of an architecture that is not known here, or damaged.
    """
    architecture = file.field("general.architecture", str)

    def size(key: str) -> int:
        return file.field(f"{architecture}.{key}", int)

    if architecture not in ("qwen2", "llama"):
        raise CheckpointError(f"a GGUF file of a {architecture} model: expected qwen2 or llama")
    return LanguageModel(
        architecture=architecture,
        layers=size("block_count"),
        width=size("embedding_length"),
        hidden=size("feed_forward_length"),
        heads=size("attention.head_count"),
        kv_heads=size("attention.head_count_kv"),
        rope_base=file.field(f"{architecture}.rope.freq_base", float, 10_000.0),
        epsilon=file.field(f"{architecture}.attention.layer_norm_rms_epsilon", float),
    )


def _spec(
    file: GgufFile,
    network: LanguageModel,
    vocabulary: Vocabulary,
    rows: int,
    precision: Precision,
    progress: Callable[[float], None],
) -> TransformerDecoderModelSpec:
    from ctranslate2.specs.common_spec import Activation
    from ctranslate2.specs.transformer_spec import TransformerDecoderModelSpec

    spec = TransformerDecoderModelSpec.from_config(
        network.layers,
        network.heads,
        activation=Activation.SWISH,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0,
        # GGUF keeps llama's rotated pairs side by side, qwen2's half a head apart.
        rotary_interleave=network.architecture == "llama",
        rotary_base=network.rope_base,
        num_heads_kv=network.kv_heads,
    )
    width, hidden = network.width, network.hidden
    key_width = width // network.heads * network.kv_heads
    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.layer_norm.gamma = file.tensor("output_norm.weight", (width,))
    for i, layer in enumerate(decoder.layer):
        block = f"blk.{i}."
        attention, ffn = layer.self_attention, layer.ffn
        attention.layer_norm.gamma = file.tensor(block + "attn_norm.weight", (width,))
        parts = [("q", width), ("k", key_width), ("v", key_width)]
        slices = (
            piece
            for part, size in parts
            for piece in file.rows(f"{block}attn_{part}.weight", (size, width))
        )
        _fill(attention.linear[0], slices, precision)
        if network.architecture == "qwen2":
            attention.linear[0].bias = np.concatenate(
                [file.tensor(f"{block}attn_{part}.bias", (size,)) for part, size in parts]
            )
        name = block + "attn_output.weight"
        _fill(attention.linear[1], file.rows(name, (width, width)), precision)
        ffn.layer_norm.gamma = file.tensor(block + "ffn_norm.weight", (width,))
        for linear, part, shape in (
            (ffn.linear_0, "gate", (hidden, width)),
            (ffn.linear_0_noact, "up", (hidden, width)),
            (ffn.linear_1, "down", (width, hidden)),
        ):
            _fill(linear, file.rows(f"{block}ffn_{part}.weight", shape), precision)
        progress((i + 1) / (network.layers + 2))
    # Both families tie the two ends; where a file holds both, the output is the finer one.
    tied = "output.weight" if "output.weight" in file.tensors else "token_embd.weight"
    _fill(decoder.embeddings, file.rows(tied, (rows, width), vocabulary.rows), precision)
    decoder.projection.weight = np.zeros((), np.float32)
    spec.register_vocabulary(list(vocabulary.tokens))
    spec.config.bos_token = spec.config.unk_token = TEXT_END
    spec.config.eos_token = TURN_END
    spec.config.layer_norm_epsilon = network.epsilon
    spec.validate()
    decoder.projection.weight = "decoder/embeddings/weight"  # an alias
    progress(1.0)
    return spec


def _fill(
    part: LinearSpec | EmbeddingsSpec, slices: Iterable[Floats], precision: Precision
) -> None:
    """Set a weight from its slices of rows; in int8 each row has its scale (127 / its peak)."""
    if precision == "float32":
        part.weight = np.concatenate([*slices])
        return
    weights, scales = [], []
    for values in slices:
        peak = np.abs(values).max(axis=1)
        scale = np.where(peak > 1e-30, 127 / np.maximum(peak, 1e-30), 1).astype(np.float32)
        weights.append(np.rint(values * scale[:, None]).astype(np.int8))
        scales.append(scale)
    part.weight, part.weight_scale = np.concatenate(weights), np.concatenate(scales)
