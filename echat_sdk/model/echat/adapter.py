"""From the encoder's states (50 a second) to the language model's embeddings (12.5 a second)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echat_sdk.model.echat.configuration import EChatAdapterConfig
from echat_sdk.model.echat.encoder import TransformerLayer, known_lengths, valid

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
        x = states.transpose(1, 2)
        for conv in self.convs:
            x = F.gelu(conv(F.pad(x, (2, 0))))  # on the left alone: no state sees a later one
        x = x.transpose(1, 2)
        lengths = (lengths + 3) // 4
        mask = valid(lengths, x.shape[1])[:, None, None] if padded else None
        x = self.dropout(self.input_layer_norm(self.input(x)))
        positions = interleaved_sinusoids(x.shape[1], x.shape[2], x.device).to(x.dtype)
        x = self.dropout(x * math.sqrt(x.shape[2]) + positions)
        for layer in self.layers:
            x = layer(x, mask)
        return self.projection(self.layer_norm(x)), lengths


def embeddings_of(frames: int) -> int:
    """How many audio embeddings the encoder and the adapter make of so many mel frames."""
    return -(-frames // 8)


def interleaved_sinusoids(length: int, width: int, device: torch.device) -> Tensor:
    """The transformer's first positions: sine and cosine by turns. Shape [length, width]."""
    rates = torch.exp(torch.arange(0, width, 2, device=device) * -(math.log(10_000) / width))
    angles = torch.arange(length, device=device)[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)
