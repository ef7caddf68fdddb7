"""The length regulator: states at 25 a second to states at 86.13 a second.

Both halves of the input, the voice's prompt and the answer, are stretched on their own and then
smoothed together.
"""

from __future__ import annotations

from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echat_sdk.model.echat.token2wav.config import CODE_RATE, HOP, SAMPLE_RATE, mel_frames

EDGE = 20
"""Codes at either end of a long answer that the released model stretches on their own."""


def stretch(x: Tensor, frames: int) -> Tensor:
    """Linear interpolation to an exact length: [1, N, 80] to [1, frames, 80]."""
    if frames == 0:
        return x.new_zeros(x.shape[0], 0, x.shape[2])
    return F.interpolate(x.transpose(1, 2), size=frames, mode="linear").transpose(1, 2)


def stretch_whole(x: Tensor, frames: int) -> Tensor:
    """Stretch a whole answer as the released model does: more than 40 codes in three pieces."""
    if x.shape[1] <= 2 * EDGE:
        return stretch(x, frames)
    edge = mel_frames(EDGE)
    return torch.cat(
        [
            stretch(x[:, :EDGE], edge),
            stretch(x[:, EDGE:-EDGE], frames - 2 * edge),
            stretch(x[:, -EDGE:], edge),
        ],
        dim=1,
    )


def stretch_window(x: Tensor, first: int) -> Tensor:
    """Stretch a window of a longer answer onto the frames that are its own.

    A frame takes the same mix of the same two codes in whichever window it lies, so windows that
    overlap line up without fixed pieces.

    Args:
        x: states of the codes first, first + 1, ..., [1, N, 80].
        first: how many codes of the answer lie before the window.

    Returns:
        [1, F, 80], F = mel_frames(first + N) - mel_frames(first).
    """
    count = x.shape[1]
    frame = torch.arange(mel_frames(first), mel_frames(first + count), dtype=torch.float64)
    place = (frame + 0.5) * (CODE_RATE * HOP / SAMPLE_RATE) - 0.5 - first
    place = place.clamp(0, count - 1)
    left = place.floor().long()
    share = (place - left).to(x)[None, :, None]
    right = (left + 1).clamp(max=count - 1)
    return torch.lerp(x[:, left.to(x.device)], x[:, right.to(x.device)], share)


class LengthRegulator(nn.Module):
    """Four smoothing convolutions after the stretch.

    The norm averages over all frames, so that every frame depends on the whole sequence.
    """

    def __init__(self, bands: int) -> None:
        super().__init__()
        layers = (
            (nn.Conv1d(bands, bands, 3, padding=1), nn.GroupNorm(1, bands), nn.Mish())
            for _ in range(4)
        )
        self.model = nn.Sequential(*chain.from_iterable(layers), nn.Conv1d(bands, bands, 1))

    def forward(self, stretched: Tensor) -> Tensor:
        """Smooth, [B, F, 80] to the same."""
        out: Tensor = self.model(stretched.transpose(1, 2)).transpose(1, 2)
        return out

    def training_path(self, x: Tensor, frames: Tensor) -> Tensor:
        """Stretch a padded batch to its longest row in one piece and zero what is past each row.

        Args:
            x: [B, N, 80].
            frames: mel frames of each row, [B].

        Returns:
            [B, F, 80], F = max(frames).
        """
        most = int(frames.max())
        valid = torch.arange(most, device=x.device) < frames[:, None]
        smoothed: Tensor = self(stretch(x, most))
        return smoothed * valid[..., None]
