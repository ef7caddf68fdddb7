"""Whisper's encoder at any length: no padding to 30 s, positions computed and so never used up.

Parameter names are those of transformers' `WhisperEncoder`, without its stored positions.
"""

from __future__ import annotations

import math
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
        x = features.to(self.conv1.weight.dtype).transpose(1, 2)
        lengths, padded = known_lengths(lengths, features)
        inside = valid(lengths, x.shape[2])[:, None]
        if padded and not self.upstream_padding:
            # What is behind a row's end must be the zeros that it would see alone.
            x = F.gelu(self.conv1(x.masked_fill(~inside, 0.0))).masked_fill(~inside, 0.0)
            lengths = (lengths + 1) // 2
        else:
            x = F.gelu(self.conv1(x))
            lengths = (lengths + (x.shape[2] % 2)) // 2 if padded else (lengths + 1) // 2
        x = F.gelu(self.conv2(x)).transpose(1, 2)
        mask = valid(lengths, x.shape[1])[:, None, None] if padded else None
        x = self.dropout(x + sinusoids(x.shape[1], x.shape[2], x.device).to(x.dtype))
        for layer in self.layers:
            x = layer(x, mask)
        return self.layer_norm(x), lengths


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

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The next states.

        Args:
            x: States. Shape [B, T, D].
            mask: True where a key may be seen. Shape [B, 1, 1, T].
        """
        x = x + self.dropout(self.self_attn(self.self_attn_layer_norm(x), mask))
        inner = self.dropout(self.activation(self.fc1(self.final_layer_norm(x))))
        out: Tensor = x + self.dropout(self.fc2(inner))
        return out


class Attention(nn.Module):
    """Every state looks at every state of its row."""

    def __init__(self, width: int, heads: int, *, key_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=key_bias)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """What each state gathers. Shape [B, T, D]."""
        query, key, value = (
            projection(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


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


def sinusoids(length: int, width: int, device: torch.device) -> Tensor:
    """Whisper's positions: all sines, then all cosines. Shape [length, width]."""
    half = width // 2
    step = math.log(10_000) / (half - 1)
    rates = torch.exp(-step * torch.arange(half, device=device))
    angles = torch.arange(length, device=device)[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=1)
