"""The vocoder's excitation: harmonics of the pitch where a frame is voiced, noise elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echat_sdk.model.echat.token2wav.config import HOP, SAMPLE_RATE

SINE = 0.1
VOICED_NOISE = 0.003
UNVOICED_NOISE = SINE / 3
VOICED_HERTZ = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Pitch:
    """The pitch of some frames and where in its cycle the voice is at each frame's start.

    Attributes:
        hertz: [B, F].
        cycles: of the fundamental, in [0, 1), float64 [B, F + 1]; the last is where the next
            frame starts, with which a following chunk goes on without a jump.
    """

    hertz: Tensor
    cycles: Tensor

    @classmethod
    def follow(cls, hertz: Tensor, start: Tensor | float = 0.0) -> Pitch:
        """Add up the pitch from `start` cycles on.

        In float64 and per frame: the harmonics multiply whatever rounding the sum has gathered.
        """
        steps = hertz.double() * (HOP / SAMPLE_RATE)
        begin = torch.as_tensor(start, dtype=torch.float64, device=hertz.device)
        cycles = F.pad(steps.cumsum(dim=1), (1, 0)) + begin.reshape(-1, 1)
        return cls(hertz, cycles % 1.0)


class HarmonicSource(nn.Module):
    """Sines at the harmonics of the pitch, merged into one wave."""

    def __init__(self, harmonics: int) -> None:
        super().__init__()
        self.l_linear = nn.Linear(harmonics + 1, 1)

    def sines(self, pitch: Pitch, phases: Tensor, noise: Tensor) -> Tensor:
        """All harmonics, not yet merged.

        Args:
            pitch: of F frames.
            phases: where each harmonic starts, radians, [B, H]; the fundamental's is not used.
            noise: standard normal, [B, H, F * HOP].

        Returns:
            [B, H, F * HOP].
        """
        order = torch.arange(1, phases.shape[1] + 1, device=phases.device, dtype=phases.dtype)
        within = torch.arange(1, HOP + 1, device=phases.device, dtype=phases.dtype) / SAMPLE_RATE
        starts = pitch.cycles[:, :-1].to(phases.dtype)
        cycles = (starts[..., None] + pitch.hertz[..., None] * within).flatten(1)
        begin = F.pad(phases[:, 1:], (1, 0))
        # Whole cycles are dropped before the sine: its argument stays small and so its rounding.
        turns = (cycles[:, None] * order[:, None]).frac_()
        waves = torch.sin(turns.mul_(2 * math.pi).add_(begin[..., None])).mul_(SINE)
        voiced = (pitch.hertz > VOICED_HERTZ).repeat_interleave(HOP, dim=1)[:, None]
        return torch.where(voiced, waves + VOICED_NOISE * noise, UNVOICED_NOISE * noise)

    def forward(self, pitch: Pitch, phases: Tensor, noise: Tensor) -> Tensor:
        """The merged wave, [B, 1, F * HOP]; arguments as for `sines`."""
        merged = self.l_linear(self.sines(pitch, phases, noise).transpose(1, 2))
        return torch.tanh(merged).transpose(1, 2)
