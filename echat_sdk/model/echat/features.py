"""Log-mel features as Whisper's, at the length of the utterance: 80 bins, 100 frames a second."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

from echat_sdk.errors import AudioFormatError

SAMPLE_RATE = 16_000
N_FFT = 400
HOP = 160


class LogMel(nn.Module):
    """16 kHz waves to log-mel; a row gets the same numbers alone and in a batch.

    Its two tensors are made once and follow `.to(device)`; they are in no checkpoint.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, n_mels: int = 80) -> None:
        super().__init__()
        filters = mel_filter_bank(
            num_frequency_bins=N_FFT // 2 + 1,
            num_mel_filters=n_mels,
            min_frequency=0.0,
            max_frequency=SAMPLE_RATE / 2,
            sampling_rate=SAMPLE_RATE,
            norm="slaney",
            mel_scale="slaney",
        )
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)
        self.register_buffer("filters", torch.from_numpy(filters).float(), persistent=False)

    @torch.no_grad()
    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features and their lengths.

        Args:
            waves: Float in -1..1, rows padded at the end with anything. Shape [B, samples].
            lengths: Samples of each row; None if none is padded. Shape [B].

        Returns:
            Features, zero behind a row's end, shape [B, T, n_mels]; frames of each row, shape [B]:
            the samples divided by 160, rounded down.

        Raises:
            AudioFormatError: a row is shorter than one window (400 samples, 25 ms).
        """
        waves = waves.to(self.window)
        if lengths is None:
            lengths = torch.full((len(waves),), waves.shape[1])
        lengths = lengths.to(waves.device)
        if waves.shape[1] < N_FFT or int(lengths.min()) < N_FFT:
            raise AudioFormatError(
                f"{int(lengths.min())} samples of audio; one window of {N_FFT} (25 ms) is the least"
            )
        frames = lengths // HOP
        spectrum = torch.stft(
            _mirrored(waves, lengths),
            N_FFT,
            HOP,
            window=self.window,
            center=False,
            return_complex=True,
        )[..., : int(frames.max())]
        power = spectrum.abs().square()
        log = (power.transpose(1, 2) @ self.filters).clamp(min=1e-10).log10()
        valid = torch.arange(log.shape[1], device=log.device) < frames[:, None]
        # The floor is set by the loudest of the row's own frames, never by its padding.
        peak = log.amax(2).masked_fill(~valid, -torch.inf).amax(1)
        log = torch.maximum(log, peak[:, None, None] - 8)
        return ((log + 4) / 4).masked_fill(~valid[..., None], 0.0), frames


def _mirrored(waves: Tensor, lengths: Tensor) -> Tensor:
    """Each row with half a window of its own mirror image before it and behind its end."""
    margin = N_FFT // 2
    at = torch.arange(-margin, waves.shape[1] + margin, device=waves.device).abs()
    last = lengths[:, None] - 1
    mirrored = torch.where(at > last, 2 * last - at, at).clamp(min=0)
    return waves.gather(1, mirrored)
