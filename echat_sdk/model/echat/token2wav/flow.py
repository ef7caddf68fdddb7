"""Codes to mel: encoder, length regulator and conditional flow matching.

The solver starts at noise and follows the estimator's velocity from time 0 to 1 in Euler steps,
more of them near 0. Guidance runs the estimator on the same point once with and once without the
condition, as two rows of one batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echat_sdk.model.echat.token2wav.config import FlowConfig, mel_frames
from echat_sdk.model.echat.token2wav.encoder import FlowEncoder
from echat_sdk.model.echat.token2wav.estimator import Estimator
from echat_sdk.model.echat.token2wav.regulator import (
    LengthRegulator,
    stretch,
    stretch_whole,
    stretch_window,
)

STEPS = 10
GUIDANCE = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What of a voice does not depend on the answer, made once for all its chunks.

    Attributes:
        embedded: its codes, [1, P, input_size].
        mel: [1, 80, Fp].
        spks: projected x-vector, [1, 80].
    """

    embedded: Tensor
    mel: Tensor
    spks: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """What the estimator is told beside point and time; T counts prompt and answer.

    Attributes:
        mu: [B, 80, T].
        spks: [B, 80].
        cond: the prompt's mel, zero after it, [B, 80, T].
    """

    mu: Tensor
    spks: Tensor
    cond: Tensor


Solve = Callable[[Tensor, Condition], Tensor]
"""Noise [1, 80, T] and its condition to mel, float32 [1, 80, T]."""


class FlowMatching(nn.Module):
    """The solver; it only owns the estimator."""

    def __init__(self, config: FlowConfig, *, parity: bool = False) -> None:
        super().__init__()
        self.estimator = Estimator(config, parity=parity)

    def forward(
        self,
        noise: Tensor,
        given: Condition,
        *,
        steps: int = STEPS,
        guidance: float = GUIDANCE,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Solve.

        Args:
            noise: where to start, [B, 80, T].
            given: the condition.
            steps: Euler steps; the cost is proportional, the released default 10.
            guidance: how far to go beyond the conditional velocity, away from the unconditional
                one; 0 leaves the second row out and halves the cost.
            mask: 1 for valid frames, [B, 1, T]; None when all rows are full.

        Returns:
            Mel, float32 [B, 80, T].
        """
        rows = noise.shape[0]
        mu, spks, cond = given.mu, given.spks, given.cond
        if guidance:
            mu, spks, cond = (torch.cat([x, torch.zeros_like(x)]) for x in (mu, spks, cond))
            mask = None if mask is None else torch.cat([mask, mask])
        times = time_grid(steps).tolist()
        # The point stays in float32: in a shorter type, small steps would be lost in it.
        x = noise.float()
        for now, then in pairwise(times):
            point = x.to(mu.dtype)
            both = torch.cat([point, point]) if guidance else point
            at = torch.full((1,), now, device=x.device)
            velocity = self.estimator(both, mask, mu, at, spks, cond).float()
            if guidance:
                velocity = (1 + guidance) * velocity[:rows] - guidance * velocity[rows:]
            x = x + (then - now) * velocity
        return x


def time_grid(steps: int) -> Tensor:
    """The times of the solver, 0 ... 1, [steps + 1]: dense near 0."""
    return 1 - torch.cos(torch.linspace(0, 1, steps + 1) * (0.5 * math.pi))


class Flow(nn.Module):
    """Speech codes and a voice to mel.

    Args:
        config: sizes.
        parity: see `Estimator`; only padded batches notice.
    """

    def __init__(self, config: FlowConfig, *, parity: bool = False) -> None:
        super().__init__()
        self.config = config
        self.input_embedding = nn.Embedding(config.vocab_size, config.input_size)
        self.spk_embed_affine_layer = nn.Linear(config.spk_embed_dim, config.mel_bands)
        self.encoder = FlowEncoder(config)
        self.encoder_proj = nn.Linear(config.encoder_size, config.mel_bands)
        self.length_regulator = LengthRegulator(config.mel_bands)
        self.decoder = FlowMatching(config, parity=parity)

    def embed(self, codes: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Codes [B, N] to [B, N, input_size]; zero past a row's length."""
        embedded: Tensor = self.input_embedding(codes.clamp(min=0))
        if lengths is None:
            return embedded
        valid = torch.arange(codes.shape[1], device=codes.device) < lengths[:, None]
        return embedded * valid[..., None]

    def encode(self, embedded: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Embedded codes [B, N, input_size] to projected states [B, N, 80]."""
        out: Tensor = self.encoder_proj(self.encoder(embedded, lengths))
        return out

    def speaker(self, xvector: Tensor) -> Tensor:
        """x-vectors of any length [B, 192] to [B, 80]."""
        out: Tensor = self.spk_embed_affine_layer(F.normalize(xvector, dim=1))
        return out

    def prompt(self, codes: Tensor, mel: Tensor, xvector: Tensor) -> Prompt:
        """Prepare a voice: its codes [P], mel [Fp, 80] and x-vector [192]."""
        kind = self.encoder_proj.weight
        return Prompt(
            self.embed(codes.to(kind.device)[None]),
            mel.to(kind).T[None],
            self.speaker(xvector.to(kind)[None]),
        )

    def condition(self, codes: Tensor, prompt: Prompt, *, window: int | None = None) -> Condition:
        """Everything before the solver.

        Args:
            codes: [1, N].
            prompt: the voice.
            window: None when the codes are a whole answer; when they are a window of a longer
                one, how many codes lie before it.

        Returns:
            Frames of the prompt, then of the codes.
        """
        count = prompt.embedded.shape[1]
        states = self.encode(torch.cat([prompt.embedded, self.embed(codes)], dim=1))
        told = stretch(states[:, :count], prompt.mel.shape[2])
        asked = states[:, count:]
        if window is None:
            asked = stretch_whole(asked, mel_frames(asked.shape[1]))
        else:
            asked = stretch_window(asked, window)
        mu = self.length_regulator(torch.cat([told, asked], dim=1)).transpose(1, 2)
        return Condition(mu, prompt.spks, F.pad(prompt.mel, (0, asked.shape[1])))

    def forward(
        self,
        codes: Tensor,
        prompt: Prompt,
        noise: Tensor,
        *,
        window: int | None = None,
        steps: int = STEPS,
        guidance: float = GUIDANCE,
        solve: Solve | None = None,
    ) -> Tensor:
        """Make the mel of one answer, or of a window of it.

        Args:
            codes: [1, N].
            prompt: the voice.
            noise: of the prompt's frames and the codes' frames, [1, 80, Fp + F].
            window: see `condition`.
            steps: see `FlowMatching.forward`.
            guidance: see `FlowMatching.forward`.
            solve: solves in place of this flow's own solver, in its own steps and guidance.

        Returns:
            The codes' frames only, float32 [1, 80, F].
        """
        given = self.condition(codes, prompt, window=window)
        noise = noise.to(given.mu.device)
        mel: Tensor = (
            solve(noise, given)
            if solve
            else self.decoder(noise, given, steps=steps, guidance=guidance)
        )
        return mel[:, :, prompt.mel.shape[2] :]
