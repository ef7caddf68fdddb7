"""The flow's velocity estimator: a one-dimensional U-Net over mel frames.

One halving of the time axis, transformer blocks after every resnet. Time enters through the
resnets only; frames have no positions. Parameter names are those of flow.pt below
`decoder.estimator.`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echat_sdk.model.echat.token2wav.config import FlowConfig
from echat_sdk.model.echat.token2wav.frames import FrameNorm, Frames, masked

GROUPS = 8


class ConvBlock(nn.Module):
    """Convolution, norm, Mish."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            [nn.Conv1d(channels_in, channels_out, 3, padding=1), FrameNorm(GROUPS, channels_out)]
        )

    def forward(self, x: Tensor, frames: Frames | None) -> Tensor:
        """[B, C, T] to [B, C', T]."""
        convolve, norm = self.block
        return masked(F.mish(norm(convolve(masked(x, frames)), frames)), frames)


class Resnet(nn.Module):
    """Two convolution blocks with the time added between them, beside a plain projection."""

    def __init__(self, channels_in: int, channels_out: int, time_size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Mish(), nn.Linear(time_size, channels_out))
        self.block1 = ConvBlock(channels_in, channels_out)
        self.block2 = ConvBlock(channels_out, channels_out)
        self.res_conv = nn.Conv1d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, time: Tensor, frames: Frames | None) -> Tensor:
        """[B, C, T] and [B, time_size] to [B, C', T]."""
        inner = self.block1(x, frames) + self.mlp(time)[..., None]
        out: Tensor = self.block2(inner, frames) + self.res_conv(masked(x, frames))
        return out


class Attention(nn.Module):
    """Self-attention whose heads together may be wider than its input."""

    def __init__(self, size: int, heads: int, head_dim: int) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.to_q = nn.Linear(size, inner, bias=False)
        self.to_k = nn.Linear(size, inner, bias=False)
        self.to_v = nn.Linear(size, inner, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(inner, size)])

    def forward(self, x: Tensor, keys: Tensor | None) -> Tensor:
        """[B, T, C] to the same; `keys` is True where a frame may be looked at, [B, 1, 1, T]."""
        query, key, value = (
            project(x).view(*x.shape[:2], self.heads, -1).transpose(1, 2)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=keys)
        out: Tensor = self.to_out[0](mixed.transpose(1, 2).flatten(2))
        return out


class Gelu(nn.Module):
    """Linear and exact GELU."""

    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(size, inner)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, size] to [B, T, inner]."""
        return F.gelu(self.proj(x))


class FeedForward(nn.Module):
    """Four times as wide inside; entry 1 of `net` is the dropout of training."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.net = nn.Sequential(Gelu(size, 4 * size), nn.Identity(), nn.Linear(4 * size, size))

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, C] to the same."""
        out: Tensor = self.net(x)
        return out


class TransformerBlock(nn.Module):
    """Attention and feed-forward, pre-norm. The released blocks have no second norm."""

    def __init__(self, size: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size)
        self.attn1 = Attention(size, heads, head_dim)
        self.norm3 = nn.LayerNorm(size)
        self.ff = FeedForward(size)

    def forward(self, x: Tensor, keys: Tensor | None) -> Tensor:
        """[B, T, C] to the same."""
        x = x + self.attn1(self.norm1(x), keys)
        out: Tensor = x + self.ff(self.norm3(x))
        return out


class Halve(nn.Module):
    """T frames to ceil(T / 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] to [B, C, ceil(T / 2)]."""
        out: Tensor = self.conv(x)
        return out


class Double(nn.Module):
    """T frames to 2 T."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(channels, channels, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] to [B, C, 2 T]."""
        out: Tensor = self.conv(x)
        return out


class Stage(nn.ModuleList):
    """A resnet (entry 0), its transformer blocks (1) and, outside the middle, a resampler (2)."""

    def __init__(
        self, config: FlowConfig, channels: tuple[int, int], resampler: nn.Module | None = None
    ) -> None:
        blocks = nn.ModuleList(
            TransformerBlock(channels[1], config.num_heads, config.head_dim)
            for _ in range(config.n_blocks)
        )
        parts = [Resnet(*channels, 4 * config.channels[0]), blocks]
        super().__init__(parts if resampler is None else [*parts, resampler])

    def features(self, x: Tensor, time: Tensor, frames: Frames | None) -> Tensor:
        """All but the resampler: [B, C, T] to [B, C', T]."""
        keys = None if frames is None else frames.mask[:, None].bool()
        # Copied into frame order once: else every norm of every block would copy it.
        x = self[0](x, time, frames).transpose(1, 2).contiguous()
        for block in self[1].children():
            x = block(x, keys)
        return x.transpose(1, 2)

    def resample(self, x: Tensor, frames: Frames | None) -> Tensor:
        """[B, C', T] to [B, C', the next stage's length]."""
        out: Tensor = self[2](masked(x, frames))
        return out


class TimeMlp(nn.Module):
    """The time in [0, 1] to what the resnets take."""

    def __init__(self, size_in: int, size: int) -> None:
        super().__init__()
        self.size_in = size_in
        self.linear_1 = nn.Linear(size_in, size)
        self.linear_2 = nn.Linear(size, size)

    def sinusoids(self, time: Tensor) -> Tensor:
        """[B] to [B, size_in]: sines, then cosines."""
        half = self.size_in // 2
        index = torch.arange(half, dtype=torch.float32, device=time.device)
        angle = 1000 * time[:, None] * torch.exp(index * -(math.log(10_000.0) / (half - 1)))
        return torch.cat([angle.sin(), angle.cos()], dim=-1)

    def forward(self, time: Tensor) -> Tensor:
        """[B] to [B, size]."""
        sinusoids = self.sinusoids(time).to(self.linear_1.weight.dtype)
        out: Tensor = self.linear_2(F.silu(self.linear_1(sinusoids)))
        return out


class Estimator(nn.Module):
    """The velocity of the flow at a point and a time.

    Args:
        config: sizes.
        parity: count padded frames in the norms, as the released code does. Without it, each row
            of a padded batch gives what it gives alone.
    """

    def __init__(self, config: FlowConfig, *, parity: bool = False) -> None:
        super().__init__()
        self.parity = parity
        widths, bands = config.channels, config.mel_bands
        last = len(widths) - 1
        self.time_mlp = TimeMlp(4 * bands, 4 * widths[0])
        self.down_blocks = nn.ModuleList(
            Stage(
                config,
                (4 * bands if index == 0 else widths[index - 1], width),
                Halve(width) if index < last else nn.Conv1d(width, width, 3, padding=1),
            )
            for index, width in enumerate(widths)
        )
        self.mid_blocks = nn.ModuleList(
            Stage(config, (widths[-1], widths[-1])) for _ in range(config.num_mid_blocks)
        )
        upwards = [*reversed(widths), widths[0]]
        self.up_blocks = nn.ModuleList(
            Stage(
                config,
                (2 * upwards[index], width),
                Double(width) if index < last else nn.Conv1d(width, width, 3, padding=1),
            )
            for index, width in enumerate(upwards[1:])
        )
        self.final_block = ConvBlock(widths[0], widths[0])
        self.final_proj = nn.Conv1d(widths[0], bands, 1)

    def forward(
        self, x: Tensor, mask: Tensor | None, mu: Tensor, time: Tensor, spks: Tensor, cond: Tensor
    ) -> Tensor:
        """Estimate.

        Args:
            x: the point, [B, 80, T].
            mask: 1 for valid frames, [B, 1, T]; None when all are, which is faster.
            mu: what the codes ask for, [B, 80, T].
            time: in [0, 1], [B] or [1].
            spks: projected x-vectors, [B, 80].
            cond: the prompt's mel, zero where there is none, [B, 80, T].

        Returns:
            [B, 80, T].
        """
        frames = None if mask is None else Frames(mask, in_norm=not self.parity)
        at = self.time_mlp(time)
        x = torch.cat([x, mu, spks[..., None].expand(-1, -1, x.shape[-1]), cond], dim=1)
        skips: list[tuple[Tensor, Frames | None]] = []
        last = len(self.down_blocks) - 1
        for index, stage in enumerate(self.down_blocks):
            assert isinstance(stage, Stage)
            x = stage.features(x, at, frames)
            skips.append((x, frames))
            x = stage.resample(x, frames)
            if frames is not None and index < last:
                frames = frames.halved()
        for stage in self.mid_blocks:
            assert isinstance(stage, Stage)
            x = stage.features(x, at, frames)
        for stage in self.up_blocks:
            assert isinstance(stage, Stage)
            skip, frames = skips.pop()
            x = stage.features(torch.cat([x[..., : skip.shape[-1]], skip], dim=1), at, frames)
            x = stage.resample(x, frames)
        x = self.final_block(x, frames)
        return masked(self.final_proj(masked(x, frames)), frames)
