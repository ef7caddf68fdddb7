"""HiFT: mel to a wave of 22,050 Hz by way of pitch, a harmonic source and a short inverse STFT.

Parameter names are those of hift.pt with its weight norms folded in.
"""

from __future__ import annotations

from itertools import chain, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echat_sdk.model.echat.token2wav.config import HOP, VocoderConfig
from echat_sdk.model.echat.token2wav.source import HarmonicSource

N_FFT = 16
STFT_HOP = 4
RATE, KERNEL = 8, 16
"""Of both upsampling stages: 8 * 8 * STFT_HOP = HOP."""
MAX_MAGNITUDE = 100.0
MAX_SAMPLE = 0.99
F0_LAYERS = 5

REACH = 14
"""Frames of mel and source to either side that a sample of `Vocoder.decode` depends on."""


class F0Predictor(nn.Module):
    """The pitch of each mel frame."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        sizes = [config.mel_bands] + F0_LAYERS * [config.f0_channels]
        layers = (
            (nn.Conv1d(size_in, size, 3, padding=1), nn.ELU()) for size_in, size in pairwise(sizes)
        )
        self.condnet = nn.Sequential(*chain.from_iterable(layers))
        self.classifier = nn.Linear(config.f0_channels, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """[B, 80, F] to Hz, [B, F]; it depends on 5 frames to either side."""
        hertz: Tensor = self.classifier(self.condnet(mel).transpose(1, 2))
        return hertz[..., 0].abs()


class Snake(nn.Module):
    """x + sin^2(alpha x) / alpha, with an alpha of its own for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] to the same."""
        alpha = self.alpha[:, None]
        return torch.addcmul(x, (alpha * x).sin().square(), 1.0 / (alpha + 1e-9))


class ResBlock(nn.Module):
    """Pairs of a dilated and a plain convolution, each pair added to what came in."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()

        def same(dilation: int) -> nn.Conv1d:
            reach = dilation * (kernel - 1) // 2
            return nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=reach)

        self.convs1 = nn.ModuleList(same(dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(same(1) for _ in dilations)
        self.activations1 = nn.ModuleList(Snake(channels) for _ in dilations)
        self.activations2 = nn.ModuleList(Snake(channels) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] to the same."""
        pairs = zip(self.activations1, self.convs1, self.activations2, self.convs2, strict=True)
        for snake1, dilated, snake2, plain in pairs:
            x = x + plain(snake2(dilated(snake1(x))))
        return x


class Vocoder(nn.Module):
    """Pitch, source and decoder; the caller keeps what passes from chunk to chunk."""

    window: Tensor

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.config = config
        base, spectrum = config.base_channels, N_FFT + 2
        widths = (base // 2, base // 4)
        self.m_source = HarmonicSource(config.harmonics)
        self.f0_predictor = F0Predictor(config)
        self.conv_pre = nn.Conv1d(config.mel_bands, base, 7, padding=3)
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(2 * width, width, KERNEL, RATE, padding=(KERNEL - RATE) // 2)
            for width in widths
        )
        self.source_downs = nn.ModuleList(
            [
                nn.Conv1d(spectrum, widths[0], 2 * RATE, RATE, padding=RATE // 2),
                nn.Conv1d(spectrum, widths[1], 1),
            ]
        )
        dilations = config.resblock_dilations
        self.source_resblocks = nn.ModuleList(
            ResBlock(width, kernel, dilations)
            for width, kernel in zip(widths, config.source_kernels, strict=True)
        )
        self.resblocks = nn.ModuleList(
            ResBlock(width, kernel, dilations)
            for width in widths
            for kernel in config.resblock_kernels
        )
        self.conv_post = nn.Conv1d(widths[-1], spectrum, 7, padding=3)
        # Not in the released dictionaries, so not in ours.
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    def spectrum(self, source: Tensor) -> Tensor:
        """The source [B, 1, F * HOP] as real rows over imaginary rows, [B, 18, 64 F + 1]."""
        bins = torch.stft(source[:, 0], N_FFT, STFT_HOP, window=self.window, return_complex=True)
        return torch.cat([bins.real, bins.imag], dim=1)

    def decode(self, mel: Tensor, source: Tensor) -> Tensor:
        """Mel [B, 80, F] and source [B, 1, F * HOP] to samples in [-0.99, 0.99], [B, F * HOP]."""
        spectrum = self.spectrum(source)
        x = self.conv_pre(mel)
        kernels = len(self.config.resblock_kernels)
        last = len(self.ups) - 1
        for stage, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, 0.1))
            if stage == last:
                x = F.pad(x, (1, 0), mode="reflect")
            x = x + self.source_resblocks[stage](self.source_downs[stage](spectrum))
            blocks = list(self.resblocks)[stage * kernels : (stage + 1) * kernels]
            x = torch.stack([block(x) for block in blocks]).mean(dim=0)
        x = self.conv_post(F.leaky_relu(x, 0.01))
        size, angle = x.split(N_FFT // 2 + 1, dim=1)
        magnitude = size.exp().clamp(max=MAX_MAGNITUDE)
        wave = torch.istft(
            torch.polar(magnitude, angle.sin()),
            N_FFT,
            STFT_HOP,
            window=self.window,
            length=mel.shape[2] * HOP,
        )
        return wave.clamp(-MAX_SAMPLE, MAX_SAMPLE)
