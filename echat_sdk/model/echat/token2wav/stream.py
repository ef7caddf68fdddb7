"""Codes to sound while the codes still come.

The flow looks both ways and norms over all frames, so no prefix of its output is ever fixed. A
stream therefore works in windows: each has the voice's prompt, some codes that were spoken before
(look-back), the codes that are held from the last window (overlap) and new ones. In the overlap
the mels of two windows, made from the same noise on the same frames, are faded into each other.

The vocoder is local. It is given enough frames and source from before a chunk to be exact there,
goes on with the pitch's phase where the last chunk left it, and hears the held frames as a
provisional future; from there a few frames are faded as well. So chunks join without a wait of
their own, and their samples add up to exactly those of the whole.

How rough a join can be is bounded: see `fade`. No two neighbouring samples at a join are further
apart than in one of its two chunks by more than pi / (2 * FADE * HOP) of what the chunks disagree
by, which is 0.003 of full scale where they disagree wholly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from echat_sdk.audio import FloatWaveform
from echat_sdk.errors import GenerationError
from echat_sdk.model.echat.token2wav.config import HOP, mel_frames
from echat_sdk.model.echat.token2wav.flow import Flow, Prompt, Solve
from echat_sdk.model.echat.token2wav.noise import NoiseTape, harmonic_phases
from echat_sdk.model.echat.token2wav.plan import ChunkPlan, Solving
from echat_sdk.model.echat.token2wav.source import Pitch
from echat_sdk.model.echat.token2wav.vocoder import REACH, Vocoder

FADE = 4
"""Frames over which the waves of two chunks are faded into each other: 46 ms."""

_PROMPT_NOISE, _FLOW_NOISE, _SOURCE_NOISE, _PHASES = range(4)
_BLOCK = 64


def fade(old: Tensor, new: Tensor, most: int) -> Tensor:
    """Go from the old to the new along the last axis by raised cosines that add up to 1.

    Into, within and out of a fade over n numbers, no step from one number to the next is larger
    than the larger one of the old and the new there by more than pi / (2 n) of how far these two
    are apart.

    Args:
        old: what was expected to follow; its first numbers lie where those of `new` do.
        new: what follows.
        most: over how many numbers to fade, if old and new are that long.

    Returns:
        As long as `new`.
    """
    count = min(old.shape[-1], new.shape[-1], most)
    if count == 0:
        return new
    place = (torch.arange(count, device=new.device, dtype=new.dtype) + 0.5) / count
    share = 0.5 - 0.5 * torch.cos(math.pi * place)
    joined = torch.lerp(old[..., :count], new[..., :count], share)
    return torch.cat([joined, new[..., count:]], dim=-1)


class WaveStream:
    """Mel to wave in chunks: the vocoder, and what it must remember of the chunk before."""

    def __init__(self, vocoder: Vocoder, *, seed: int) -> None:
        device = vocoder.window.device
        harmonics = vocoder.config.harmonics + 1
        self._vocoder = vocoder
        self._noise = NoiseTape(seed, _SOURCE_NOISE, harmonics, _BLOCK * HOP)
        self._phases = harmonic_phases(seed, _PHASES, harmonics).to(device)
        self._frame = 0
        self._cycle: Tensor | float = 0.0
        self._mel = torch.zeros(1, vocoder.config.mel_bands, 0, device=device)
        self._source = torch.zeros(1, 1, 0, device=device)
        self.tail = torch.zeros(0, device=device)
        """What the last chunk makes of its provisional frames, [samples]."""

    def push(self, mel: Tensor, final: int) -> Tensor:
        """Make the next samples.

        Args:
            mel: frames from the first one on that was not final yet, [1, 80, F].
            final: how many of them are; the others only tell the vocoder what may follow, and
                come again.

        Returns:
            [final * HOP].
        """
        network, past = self._vocoder, self._mel.shape[2]
        seen = torch.cat([self._mel, mel], dim=2)
        pitch = Pitch.follow(network.f0_predictor(seen)[:, past:], self._cycle)
        span = self._frame * HOP, (self._frame + mel.shape[2]) * HOP
        noise = self._noise.read(*span).to(mel.device)
        fresh = network.m_source(pitch, self._phases, noise)
        source = torch.cat([self._source, fresh], dim=2)
        wave = network.decode(seen, source)[0, past * HOP :]
        wave = fade(self.tail, wave, FADE * HOP)

        end = past + final
        start = max(0, end - REACH)
        self._frame += final
        self._cycle = pitch.cycles[:, final]
        self._mel = seen[:, :, start:end]
        self._source = source[:, :, start * HOP : end * HOP]
        self.tail = wave[final * HOP :]
        return wave[: final * HOP]


class Token2WavStream:
    """One answer on its way from codes to sound; see `Token2Wav.stream`.

    Args:
        flow: shared with other streams; holds no state.
        vocoder: likewise.
        prompt: the voice.
        seed: of everything random; the same codes, seed and plan make the same samples.
        plan: when to speak; None waits for `finish`.
        solving: how the flow is solved.
        solve: solves in its place, together with the windows of other streams.
    """

    def __init__(
        self,
        flow: Flow,
        vocoder: Vocoder,
        prompt: Prompt,
        *,
        seed: int,
        plan: ChunkPlan | None,
        solving: Solving,
        solve: Solve | None = None,
    ) -> None:
        bands = flow.config.mel_bands
        self._flow = flow
        self._prompt = prompt
        self._plan = plan
        self._solving = solving
        self._solve = solve
        self._noise = NoiseTape(seed, _FLOW_NOISE, bands, _BLOCK)
        self._prompt_noise = NoiseTape(seed, _PROMPT_NOISE, bands, _BLOCK).read(
            0, prompt.mel.shape[2]
        )
        self._wave = WaveStream(vocoder, seed=seed)
        self._codes: list[int] = []
        self._dropped = 0
        """How many codes lie before those that are kept."""
        self._spoken = 0
        """How many codes the last window ended at."""
        self._wait = plan.first if plan else 0
        """How many new codes the next window waits for."""
        self._frame = 0
        """The first mel frame that is not final."""
        self._held = torch.zeros(1, bands, 0, device=prompt.mel.device)
        """The last window's frames from there on."""
        self._finished = False

    @torch.inference_mode()
    def push(self, codes: Iterable[int]) -> FloatWaveform:
        """Take codes; the chunks that they complete.

        What is returned in all does not depend on how the codes are grouped into calls.

        Args:
            codes: 0 ... 4095, in the order in which they were decoded.

        Returns:
            The next samples at 22,050 Hz in [-0.99, 0.99]; none while a chunk is incomplete.

        Raises:
            GenerationError: a code that is not one, such as the end-of-speech row, or a stream
                that was finished. Nothing of the call was taken.
        """
        self._check_open()
        self._codes += checked_codes(codes, self._flow.config.vocab_size)
        parts: list[Tensor] = []
        while self._plan is not None and self._count - self._spoken >= self._wait:
            size = self._wait
            parts.append(self._window(self._spoken + size, last=False))
            self._wait = self._plan.after(size)
        return _samples(parts)

    @torch.inference_mode()
    def finish(self) -> FloatWaveform:
        """The rest of the samples; in all, mel_frames(codes) * HOP were given.

        Raises:
            GenerationError: the stream was finished before.
        """
        self._check_open()
        self._finished = True
        if self._count == self._spoken:
            return _samples([self._wave.tail])
        return _samples([self._window(self._count, last=True)])

    @property
    def _count(self) -> int:
        return self._dropped + len(self._codes)

    def _check_open(self) -> None:
        if self._finished:
            raise GenerationError("this stream was finished; an answer has a stream of its own")

    def _window(self, end: int, *, last: bool) -> Tensor:
        """Make the window that ends at a code; gives the samples that are final by it."""
        start, overlap = self._dropped, self._plan.overlap if self._plan else 0
        first, stop = mel_frames(start), mel_frames(end)
        codes = torch.tensor([self._codes[: end - start]], device=self._prompt.mel.device)
        noise = torch.cat([self._prompt_noise, self._noise.read(first, stop)], dim=2)
        whole = last and self._spoken == 0
        mel = self._flow(
            codes,
            self._prompt,
            noise,
            window=None if whole else start,
            steps=self._solving.steps,
            guidance=self._solving.guidance,
            solve=self._solve,
        )
        mel = fade(self._held, mel[:, :, self._frame - first :], mel.shape[2])
        final = mel.shape[2] if last else mel_frames(end - overlap) - self._frame
        self._held = mel[:, :, final:]
        self._frame += final
        self._spoken = end
        self._forget()
        return self._wave.push(mel, final)

    def _forget(self) -> None:
        """Drop the codes that no later window looks back to."""
        if self._plan is None:
            return
        keep = self._plan.overlap + self._plan.look_back
        drop = max(0, self._spoken - keep) - self._dropped
        del self._codes[:drop]
        self._dropped += drop


def checked_codes(codes: Iterable[int], rows: int) -> list[int]:
    """The codes as a list.

    Raises:
        GenerationError: one of them is outside 0 ... rows - 1.
    """
    taken = [int(code) for code in codes]
    wrong = next((code for code in taken if not 0 <= code < rows), None)
    if wrong is not None:
        raise GenerationError(
            f"{wrong} is not a speech code (0..{rows - 1}); end-of-speech ends a stream and is "
            "never spoken"
        )
    return taken


def _samples(parts: list[Tensor]) -> FloatWaveform:
    wave = torch.cat(parts) if parts else torch.zeros(0)
    samples: FloatWaveform = wave.cpu().numpy().astype(np.float32, copy=False)
    return samples
