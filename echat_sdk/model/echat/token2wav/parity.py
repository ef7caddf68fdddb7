"""What the released code does and we do not: chunks as it joins them, for comparison only.

Its cache of the flow's noise keeps 34 frames where the overlap is 68, so that the noise lies 34
frames off; its Hamming windows add up to 1.08; its chunks emit more frames than their codes have.
Beside this file, `Estimator(parity=True)` counts padding in its norms.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from echat_sdk.model.echat.token2wav.config import HOP
from echat_sdk.model.echat.token2wav.flow import GUIDANCE, STEPS, Condition, Flow, Prompt
from echat_sdk.model.echat.token2wav.source import Pitch
from echat_sdk.model.echat.token2wav.vocoder import Vocoder

CACHED_NOISE = 34
MEL_OVERLAP = 68
MEL_CACHE = 20
WAVE_CACHE = MEL_CACHE * HOP


def hamming_join(new: Tensor, old: Tensor) -> Tensor:
    """Fade from the end of `old` into the start of `new`, along the last axis, over all of `old`.

    Returns:
        As long as `new`. The parts add up to 1.08 of what they are.
    """
    count = old.shape[-1]
    window = torch.from_numpy(np.hamming(2 * count)).to(new)
    joined = new[..., :count] * window[:count] + old * window[count:]
    return torch.cat([joined, new[..., count:]], dim=-1)


class CachedSolver:
    """The flow with the released cache of noise and mu.

    Attributes:
        cache: of the prompt's frames and the last 34, [1, 80, Fp + 34, 2]; None before a call.
    """

    def __init__(self, flow: Flow, prompt_frames: int, *, steps: int = STEPS) -> None:
        self._solver = flow.decoder
        self._prompt_frames = prompt_frames
        self._steps = steps
        self.cache: Tensor | None = None

    def __call__(self, noise: Tensor, given: Condition) -> Tensor:
        """Solve from [1, 80, T]; the cache overwrites the start of noise and mu."""
        noise, mu = noise.clone(), given.mu.clone()
        if self.cache is not None:
            count = self.cache.shape[2]
            noise[:, :, :count], mu[:, :, :count] = self.cache.unbind(-1)
        both = torch.stack([noise, mu], dim=-1)
        told = both[:, :, : self._prompt_frames]
        self.cache = torch.cat([told, both[:, :, -CACHED_NOISE:]], dim=2)
        given = Condition(mu, given.spks, given.cond)
        mel: Tensor = self._solver(noise, given, steps=self._steps, guidance=GUIDANCE)
        return mel


class ReleasedStream:
    """Chunks as the released streaming code makes them; all random numbers are given."""

    def __init__(self, flow: Flow, vocoder: Vocoder, prompt: Prompt) -> None:
        self._flow = flow
        self._vocoder = vocoder
        self._prompt = prompt
        self._solve = CachedSolver(flow, prompt.mel.shape[2])
        self._held: Tensor | None = None
        self._past: tuple[Tensor, Tensor, Tensor] | None = None

    def chunk(
        self, codes: Tensor, noise: Tensor, phases: Tensor, source_noise: Tensor, *, last: bool
    ) -> Tensor:
        """Speak one chunk.

        Args:
            codes: [1, N], of which 20 come again in the next chunk.
            noise: for the flow, [1, 80, Fp + F].
            phases: of the harmonics, [1, 9].
            source_noise: [1, 9, samples], or what broadcasts to that.
            last: whether no chunk follows.

        Returns:
            Samples, [1, S].
        """
        given = self._flow.condition(codes, self._prompt)
        mel = self._solve(noise, given)[:, :, self._prompt.mel.shape[2] :]
        if self._held is not None:
            mel = hamming_join(mel, self._held)
        if self._past is not None:
            mel = torch.cat([self._past[0], mel], dim=2)
        if not last:
            mel, self._held = mel[:, :, :-MEL_OVERLAP], mel[:, :, -MEL_OVERLAP:]
        pitch = Pitch.follow(self._vocoder.f0_predictor(mel))
        source = self._vocoder.m_source(pitch, phases, source_noise)
        if self._past is not None:
            source = torch.cat([self._past[1], source[:, :, WAVE_CACHE:]], dim=2)
        wave = self._vocoder.decode(mel, source)
        if self._past is not None:
            wave = hamming_join(wave, self._past[2])
        if last:
            return wave
        self._past = mel[:, :, -MEL_CACHE:], source[:, :, -WAVE_CACHE:], wave[:, -WAVE_CACHE:]
        return wave[:, :-WAVE_CACHE]
