"""The flow's conformer encoder: speech codes, prompt and answer together, seen in both directions.

Without convolution modules and without macaron halves, so a block is attention with relative
positions and a feed-forward layer, both pre-norm. Parameter names are those of flow.pt.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echat_sdk.model.echat.token2wav.config import FlowConfig


def relative_positions(length: int, size: int, like: Tensor) -> Tensor:
    """Sinusoids of the distances length-1 ... -(length-1): even columns sine, odd ones cosine.

    Returns:
        [2 * length - 1, size], in the type and on the device of `like`.
    """
    distance = torch.arange(length - 1, -length, -1, dtype=torch.float32, device=like.device)
    steps = torch.arange(0, size, 2, dtype=torch.float32, device=like.device)
    angle = distance[:, None] * torch.exp(steps * -(math.log(10_000.0) / size))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).to(like.dtype)


class RelativeAttention(nn.Module):
    """Self-attention whose scores also depend on the distance between query and key."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q = nn.Linear(size, size)
        self.linear_k = nn.Linear(size, size)
        self.linear_v = nn.Linear(size, size)
        self.linear_out = nn.Linear(size, size)
        self.linear_pos = nn.Linear(size, size, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(heads, size // heads))
        self.pos_bias_v = nn.Parameter(torch.zeros(heads, size // heads))

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.heads, -1).transpose(-3, -2)

    def forward(self, x: Tensor, positions: Tensor, blocked: Tensor | None) -> Tensor:
        """Attend.

        Args:
            x: [B, N, size].
            positions: [2N-1, size], from `relative_positions`.
            blocked: True for keys that are padding, [B, 1, 1, N]; None when there are none.

        Returns:
            [B, N, size].
        """
        query, key, value = (
            self._split(self.linear_q(x)),
            self._split(self.linear_k(x)),
            self._split(self.linear_v(x)),
        )
        place = self._split(self.linear_pos(positions))
        by_distance = (query + self.pos_bias_v[:, None]) @ place.transpose(-2, -1)
        bias = _shift(by_distance) / math.sqrt(query.shape[-1])
        if blocked is not None:
            bias = bias.masked_fill(blocked, -math.inf)
        mixed = F.scaled_dot_product_attention(
            query + self.pos_bias_u[:, None], key, value, attn_mask=bias
        )
        out: Tensor = self.linear_out(mixed.transpose(1, 2).flatten(2))
        return out


def _shift(scores: Tensor) -> Tensor:
    """Columns by distance, [B, heads, N, 2N-1], to columns by key, [B, heads, N, N]."""
    batch, heads, length, columns = scores.shape
    padded = F.pad(scores, (1, 0)).view(batch, heads, columns + 1, length)
    return padded[:, :, 1:].reshape(batch, heads, length, columns)[..., :length]


class FeedForward(nn.Module):
    """Linear, SiLU, Linear."""

    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(size, inner)
        self.w_2 = nn.Linear(inner, size)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, size] to the same."""
        out: Tensor = self.w_2(F.silu(self.w_1(x)))
        return out


class EncoderBlock(nn.Module):
    """Attention, then feed-forward, each on the normed input and added to it."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        size = config.encoder_size
        self.self_attn = RelativeAttention(size, config.encoder_heads)
        self.feed_forward = FeedForward(size, config.encoder_ff)
        self.norm_mha = nn.LayerNorm(size, eps=1e-12)
        self.norm_ff = nn.LayerNorm(size, eps=1e-12)

    def forward(self, x: Tensor, positions: Tensor, blocked: Tensor | None) -> Tensor:
        """[B, N, size] to the same; see `RelativeAttention.forward`."""
        x = x + self.self_attn(self.norm_mha(x), positions, blocked)
        out: Tensor = x + self.feed_forward(self.norm_ff(x))
        return out


class InputLayer(nn.Module):
    """Linear and norm; the blocks' input is this times the root of its size."""

    def __init__(self, input_size: int, size: int) -> None:
        super().__init__()
        self.out = nn.Sequential(nn.Linear(input_size, size), nn.LayerNorm(size, eps=1e-5))

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, input_size] to [B, N, size]."""
        out: Tensor = self.out(x)
        return out


class FlowEncoder(nn.Module):
    """Embedded codes to states of the same length."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.size = config.encoder_size
        self.embed = InputLayer(config.input_size, config.encoder_size)
        self.encoders = nn.ModuleList(EncoderBlock(config) for _ in range(config.encoder_blocks))
        self.after_norm = nn.LayerNorm(config.encoder_size, eps=1e-5)

    def forward(self, embedded: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode.

        Args:
            embedded: [B, N, input_size].
            lengths: valid codes of each row, [B]; None when all rows are full.

        Returns:
            [B, N, encoder_size]; what lies past a row's length means nothing.
        """
        count = embedded.shape[1]
        blocked = None
        if lengths is not None:
            blocked = torch.arange(count, device=embedded.device) >= lengths[:, None]
            blocked = blocked[:, None, None]
        x = self.embed(embedded) * math.sqrt(self.size)
        positions = relative_positions(count, self.size, x)
        for block in self.encoders:
            x = block(x, positions, blocked)
        out: Tensor = self.after_norm(x)
        return out
