"""Whisper's encoder at any length: no padding to 30 s, positions computed and so never used up.

Parameter names are those of transformers' `WhisperEncoder`, without its stored positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from echat_sdk.model.echat.configuration import EChatEncoderConfig


class Encoder(nn.Module):
    """Mel frames to states of 20 ms; attention is bidirectional over the whole utterance."""

    def __init__(self, config: EChatEncoderConfig) -> None:
        super().__init__()
        width = config.d_model
        self.conv1 = nn.Conv1d(config.num_mel_bins, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(
            TransformerLayer(
                width,
                config.encoder_attention_heads,
                config.encoder_ffn_dim,
                activation=nn.GELU(),
                key_bias=False,
                dropout=config.dropout,
            )
            for _ in range(config.encoder_layers)
        )
        self.layer_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.upstream_padding = config.upstream_padding

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """States and their lengths; a row gets the same states alone and in a batch.

        Args:
            features: Log-mel, rows padded at the end with anything. Shape [B, T, bins].
            lengths: Frames of each row; None if none is padded. Shape [B].

        Returns:
            States, without meaning behind a row's end, shape [B, T / 2 rounded up, D]; lengths,
            shape [B].
        """
        lengths, padded = known_lengths(lengths, features)
        if not padded:
            return self.follow(features), (lengths + 1) // 2
        x = features.to(self.conv1.weight.dtype).transpose(1, 2)
        inside = valid(lengths, x.shape[2])[:, None]
        if self.upstream_padding:
            x = F.gelu(self.conv1(x))
            lengths = (lengths + (x.shape[2] % 2)) // 2
        else:
            # What is behind a row's end must be the zeros that it would see alone.
            x = F.gelu(self.conv1(x.masked_fill(~inside, 0.0))).masked_fill(~inside, 0.0)
            lengths = (lengths + 1) // 2
        x = F.gelu(self.conv2(x)).transpose(1, 2)
        return self._attend(x, valid(lengths, x.shape[1])[:, None, None]), lengths

    def follow(self, features: Tensor, pasts: Sequence[Past] = (), start: int = 0) -> Tensor:
        """States of features that follow others, which are looked back to and not made again.

        Args:
            features: From two frames before the first state's on, which stand for the past in the
                convolutions; from the first frame on where nothing is past. Shape [B, T, bins].
            pasts: One for each layer; none where nothing is past or to come.
            start: The first state's place in the utterance.

        Returns:
            Shape [B, states, D].
        """
        x = features.to(self.conv1.weight.dtype).transpose(1, 2)
        x = F.gelu(self.conv2(F.gelu(self.conv1(x)))).transpose(1, 2)
        return self._attend(x[:, 1:] if start else x, None, pasts, start)

    def _attend(
        self, x: Tensor, mask: Tensor | None, pasts: Sequence[Past] = (), start: int = 0
    ) -> Tensor:
        places = sinusoids(start + x.shape[1], x.shape[2], x.device, start)
        x = self.dropout(x + places.to(x.dtype))
        for layer, past in zip_longest(self.layers, pasts):
            x = layer(x, mask, past)
        states: Tensor = self.layer_norm(x)
        return states


class TransformerLayer(GradientCheckpointingLayer):
    """Attention and a two-layer network, each behind its norm."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        activation: nn.Module,
        key_bias: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads, key_bias=key_bias)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.activation = activation
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None, past: Past | None = None) -> Tensor:
        """The next states.

        Args:
            x: States. Shape [B, T, D].
            mask: True where a key may be seen. Shape [B, 1, 1, T].
            past: What these states may look back to; is offered their own keys and values.
        """
        x = x + self.dropout(self.self_attn(self.self_attn_layer_norm(x), mask, past))
        inner = self.dropout(self.activation(self.fc1(self.final_layer_norm(x))))
        out: Tensor = x + self.dropout(self.fc2(inner))
        return out


class Attention(nn.Module):
    """Every state looks at every state of its row, and at what is past if that is given."""

    def __init__(self, width: int, heads: int, *, key_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=key_bias)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None, past: Past | None = None) -> Tensor:
        """What each state gathers. Shape [B, T, D]."""
        query, key, value = (
            projection(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        if past is not None:
            key, value = past.joined(key, value)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


class Past:
    """Keys and values of one attention that states to come may look at.

    Args:
        most: How many are kept; the oldest are forgotten first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._joined: tuple[Tensor, Tensor] | None = None
        self._begin = self._end = 0  # of what is kept, in `_joined`

    def joined(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """What is past and what is new. Shape [B, heads, T, D] each."""
        if self._joined is not None:
            old_key, old_value = (each[:, :, self._begin : self._end] for each in self._joined)
            key, value = torch.cat((old_key, key), 2), torch.cat((old_value, value), 2)
        self._joined = key, value
        self._begin, self._end = 0, self._end - self._begin
        return key, value

    def keep(self, count: int) -> None:
        """Of what was new in the last call, the first so many are past from now on."""
        self._end += count
        self._begin = max(0, self._end - self._most)


class _Sized(Protocol):
    @property
    def shape(self) -> torch.Size: ...
    @property
    def device(self) -> torch.device: ...


def known_lengths(lengths: Tensor | None, rows: _Sized) -> tuple[Tensor, bool]:
    """The lengths of all rows of shape [B, T, ...], and whether any row is padded."""
    count, longest = rows.shape[:2]
    if lengths is None:
        return torch.full((count,), longest, device=rows.device), False
    return lengths.to(rows.device), bool((lengths < longest).any())


def valid(lengths: Tensor, longest: int) -> Tensor:
    """True up to each row's end. Shape [B, longest]."""
    return torch.arange(longest, device=lengths.device) < lengths[:, None]


def sinusoids(length: int, width: int, device: torch.device, start: int = 0) -> Tensor:
    """Whisper's positions from `start` on: sines, then cosines. Shape [length - start, width]."""
    half = width // 2
    step = math.log(10_000) / (half - 1)
    rates = torch.exp(-step * torch.arange(half, device=device))
    angles = torch.arange(start, length, device=device)[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=1)
