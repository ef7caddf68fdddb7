"""From the encoder's states (50 a second) to the language model's embeddings (12.5 a second)."""

from __future__ import annotations

import math
from itertools import zip_longest

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echat_sdk.model.echat.configuration import EChatAdapterConfig
from echat_sdk.model.echat.encoder import Past, TransformerLayer, known_lengths, valid

STRIDES = (1, 2, 2)


class Adapter(nn.Module):
    """Causal convolutions that keep one state of four, a transformer, a projection."""

    def __init__(self, config: EChatAdapterConfig, width: int, hidden: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(width, width, 3, stride=s) for s in STRIDES)
        self.input = nn.Linear(width, width)
        self.input_layer_norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            TransformerLayer(
                width,
                config.num_attention_heads,
                config.intermediate_size,
                activation=nn.ReLU(),
                key_bias=True,
                dropout=config.dropout,
            )
            for _ in range(config.num_hidden_layers)
        )
        self.layer_norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, hidden)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, states: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Audio embeddings and their lengths; what is behind a row's end does not change them.

        Args:
            states: The encoder's. Shape [B, T2, D].
            lengths: States of each row; None if none is padded. Shape [B].

        Returns:
            Embeddings, without meaning behind a row's end, shape [B, T2 / 4 rounded up, H];
            lengths, shape [B].
        """
        lengths, padded = known_lengths(lengths, states)
        lengths = (lengths + 3) // 4
        longest = -(-states.shape[1] // 4)
        mask = valid(lengths, longest)[:, None, None] if padded else None
        return self._adapted(states, mask), lengths

    def follow(self, states: Tensor, past: AdapterPast, start: int) -> Tensor:
        """Embeddings of states that follow others, from the `start`-th embedding on. [B, N, H]."""
        return self._adapted(states, None, past, start)

    def _adapted(
        self, states: Tensor, mask: Tensor | None, past: AdapterPast | None = None, start: int = 0
    ) -> Tensor:
        x = states.transpose(1, 2)
        for conv, tail in zip_longest(self.convs, past.tails if past else ()):
            # Padded on the left alone: no state sees a later one.
            x = F.gelu(conv(tail.joined(x) if tail else F.pad(x, (2, 0))))
        x = x.transpose(1, 2)
        x = self.dropout(self.input_layer_norm(self.input(x)))
        places = interleaved_sinusoids(start + x.shape[1], x.shape[2], x.device, start)
        x = self.dropout(x * math.sqrt(x.shape[2]) + places.to(x.dtype))
        for layer, each in zip_longest(self.layers, past.layers if past else ()):
            x = layer(x, mask, each)
        embeds: Tensor = self.projection(self.layer_norm(x))
        return embeds


class AdapterPast:
    """What embeddings to come may look back to.

    Args:
        layers: Layers of the adapter.
        most: Embeddings that are kept.
    """

    def __init__(self, layers: int, most: int) -> None:
        self.tails = [Tail() for _ in STRIDES]
        self.layers = [Past(most) for _ in range(layers)]

    def keep(self, count: int) -> None:
        """Of the last call's embeddings, the first so many are past from now on."""
        left = 4
        for tail, stride in zip(self.tails, STRIDES, strict=True):
            tail.keep(count * left)
            left //= stride
        for past in self.layers:
            past.keep(count)


class Tail:
    """The last two inputs of a causal convolution, which its next ones follow."""

    def __init__(self) -> None:
        self._joined: Tensor | None = None
        self._end = 0  # of the two, in `_joined`

    def joined(self, x: Tensor) -> Tensor:
        """The two and the new ones, [B, D, T]; before anything, there are zeros."""
        if self._joined is None:
            x = F.pad(x, (2, 0))
        else:
            x = torch.cat((self._joined[:, :, self._end - 2 : self._end], x), 2)
        self._joined, self._end = x, 2
        return x

    def keep(self, count: int) -> None:
        """Of the last call's new ones, the first so many are past from now on."""
        self._end += count


def embeddings_of(frames: int) -> int:
    """How many audio embeddings the encoder and the adapter make of so many mel frames."""
    return -(-frames // 8)


def interleaved_sinusoids(length: int, width: int, device: torch.device, start: int = 0) -> Tensor:
    """The first transformer's positions from `start` on: sine and cosine by turns.

    Shape [length - start, width].
    """
    rates = torch.exp(torch.arange(0, width, 2, device=device) * -(math.log(10_000) / width))
    angles = torch.arange(start, length, device=device)[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)
