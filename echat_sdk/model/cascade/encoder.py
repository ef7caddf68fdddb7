"""The first layers of Whisper's encoder in numpy, at the utterance's own length.

Emotion is best read in the early layers, so the rest is never loaded; and without the padding to
30 s a short utterance costs milliseconds. The network is Whisper's (Radford et al. 2022): two
convolutions, sinusoidal positions, pre-norm transformer layers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from echat_sdk.errors import CheckpointError
from echat_sdk.model.cascade.ct2_weights import Tensors, read_tensors
from echat_sdk.model.cascade.features import Mel

States = npt.NDArray[np.float32]

_EPSILON = np.float32(1e-5)


class WhisperEncoder:
    """The convolutions and the first `n_layers` transformer layers of a Whisper encoder.

    Attributes:
        n_layers: How many transformer layers there are.
        dim: Width D of the states.
        max_states: The longest sequence that the positions reach, in states of 20 ms.
    """

    def __init__(self, tensors: Tensors, *, n_layers: int) -> None:
        try:
            self._heads = int(tensors["encoder/num_heads"])
            self._conv1 = _Conv(tensors, "encoder/conv1", stride=1)
            self._conv2 = _Conv(tensors, "encoder/conv2", stride=2)
            self._positions = tensors["encoder/position_encodings/encodings"]
            self._layers = [_Layer(tensors, i, self._heads) for i in range(n_layers)]
        except KeyError as error:
            raise CheckpointError(f"the Whisper weights lack the tensor {error}") from error
        self.n_layers = n_layers
        self.max_states, self.dim = self._positions.shape

    @classmethod
    def load(cls, whisper_dir: Path, *, n_layers: int) -> Self:
        """Read the layers from a CTranslate2 Whisper directory.

        Raises:
            ModelMissingError: no `model.bin` there.
            CheckpointError: it is damaged or has fewer layers.
        """
        layers = "|".join(map(str, range(n_layers)))
        wanted = re.compile(rf"encoder/(num_heads|conv|position|layer_({layers})/)")
        path = whisper_dir / "model.bin"
        return cls(read_tensors(path, lambda name: bool(wanted.match(name))), n_layers=n_layers)

    def __call__(self, mel: Mel) -> list[States]:
        """States after the convolutions and after each layer.

        Args:
            mel: Log-mel. Shape [M, T]; what is longer than the positions reach (30 s) is cut off.

        Returns:
            `n_layers + 1` arrays. Shape [T / 2 rounded up, D].
        """
        mel = mel[:, : 2 * self.max_states]
        x = _gelu(self._conv2(_gelu(self._conv1(mel.T))))
        x = x + self._positions[: len(x)]
        states = [x]
        for layer in self._layers:
            x = layer(x)
            states.append(x)
        return states


def encoder_width(whisper_dir: Path) -> int:
    """Width D of a CTranslate2 Whisper's encoder, without reading its layers."""
    name = "encoder/conv1/bias"
    tensors = read_tensors(whisper_dir / "model.bin", lambda tensor: tensor == name)
    if name not in tensors:
        raise CheckpointError(f"the Whisper weights lack the tensor {name!r}")
    return len(tensors[name])


class _Conv:
    """Convolution over time, kernel 3, padding 1."""

    def __init__(self, tensors: Tensors, name: str, *, stride: int) -> None:
        weight = tensors[f"{name}/weight"]  # [out, in, 3]
        self._weight = np.ascontiguousarray(weight.transpose(2, 1, 0).reshape(-1, len(weight)))
        self._bias = tensors[f"{name}/bias"]
        self._stride = stride

    def __call__(self, x: States) -> States:
        padded = np.pad(x, ((1, 1), (0, 0)))
        n_out = (len(x) - 1) // self._stride + 1
        last = n_out * self._stride
        taps = [padded[k : k + last : self._stride][:n_out] for k in range(3)]
        out: States = np.concatenate(taps, axis=1) @ self._weight + self._bias
        return out


class _Layer:
    def __init__(self, tensors: Tensors, index: int, heads: int) -> None:
        name = f"encoder/layer_{index}"
        self._attention_norm = _Norm(tensors, f"{name}/self_attention/layer_norm")
        self._qkv = _Linear(tensors, f"{name}/self_attention/linear_0")
        self._out = _Linear(tensors, f"{name}/self_attention/linear_1")
        self._ffn_norm = _Norm(tensors, f"{name}/ffn/layer_norm")
        self._up = _Linear(tensors, f"{name}/ffn/linear_0")
        self._down = _Linear(tensors, f"{name}/ffn/linear_1")
        self._heads = heads

    def __call__(self, x: States) -> States:
        x = x + self._attend(self._attention_norm(x))
        return x + self._down(_gelu(self._up(self._ffn_norm(x))))

    def _attend(self, x: States) -> States:
        length, dim = x.shape
        qkv = self._qkv(x).reshape(length, 3, self._heads, -1).transpose(1, 2, 0, 3)
        query, key, value = qkv
        scores = query @ key.transpose(0, 2, 1)
        scores *= np.float32((dim // self._heads) ** -0.5)
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = (scores @ value).transpose(1, 0, 2).reshape(length, dim)
        return self._out(np.asarray(mixed, dtype=np.float32))


class _Linear:
    def __init__(self, tensors: Tensors, name: str) -> None:
        self._weight = np.ascontiguousarray(tensors[f"{name}/weight"].T)
        self._bias = tensors[f"{name}/bias"]

    def __call__(self, x: States) -> States:
        out: States = x @ self._weight
        out += self._bias
        return out


class _Norm:
    def __init__(self, tensors: Tensors, name: str) -> None:
        self._gamma = tensors[f"{name}/gamma"]
        self._beta = tensors[f"{name}/beta"]

    def __call__(self, x: States) -> States:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        out: States = centred / np.sqrt(variance + _EPSILON) * self._gamma + self._beta
        return out


def _gelu(x: States) -> States:
    """Overwrites x with x times the normal distribution function (error below 3e-5).

    The odd polynomial was fitted so that its tanh is erf; NumPy has a fast tanh and no erf. The
    square is bounded where the tanh has long been 1, for there the polynomial turns round.
    """
    square = np.minimum(np.square(x), np.float32(30.0))
    z = square * np.float32(-0.00035151969)
    z += np.float32(0.037005665)
    z *= square
    z += np.float32(0.79750788)
    z *= x
    np.tanh(z, out=z)
    z += np.float32(1.0)
    z *= np.float32(0.5)
    x *= z
    return x
