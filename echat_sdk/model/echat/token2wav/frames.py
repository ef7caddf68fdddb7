"""Which frames of a padded batch are valid, and a norm that counts no others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Frames:
    """Which frames of a padded batch are valid.

    Attributes:
        mask: 1 for valid frames, [B, 1, T].
        in_norm: whether the norms leave padding out. Then a row gives the same alone and in a
            batch; the released code counts padding in.
    """

    mask: Tensor
    in_norm: bool = True

    def halved(self) -> Frames:
        """The same for every second frame."""
        return Frames(self.mask[:, :, ::2], self.in_norm)


def masked(x: Tensor, frames: Frames | None) -> Tensor:
    """The frames that are valid, zero elsewhere; None: all are."""
    return x if frames is None else x * frames.mask


class FrameNorm(nn.GroupNorm):
    """Group norm over the valid frames of each row."""

    def forward(self, x: Tensor, frames: Frames | None = None) -> Tensor:
        """[B, C, T] to the same."""
        if frames is None or not frames.in_norm:
            return super().forward(x)
        grouped = x.reshape(x.shape[0], self.num_groups, -1, x.shape[2])
        mask = frames.mask[:, :, None]
        count = mask.sum(dim=(2, 3), keepdim=True) * grouped.shape[2]
        mean = (grouped * mask).sum(dim=(2, 3), keepdim=True) / count
        spread = ((grouped - mean).square() * mask).sum(dim=(2, 3), keepdim=True) / count
        normed = ((grouped - mean) * torch.rsqrt(spread + self.eps)).flatten(1, 2)
        return normed * self.weight[:, None] + self.bias[:, None]
