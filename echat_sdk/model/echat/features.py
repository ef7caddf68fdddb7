"""Log-mel features as Whisper's, at the length of the utterance: 80 bins, 100 frames a second."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

from echat_sdk.errors import AudioFormatError

SAMPLE_RATE = 16_000
N_FFT = 400
HOP = 160
MARGIN = N_FFT // 2
"""Samples that a window reaches to either side of its frame."""


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
            raise _too_short(int(lengths.min()))
        frames = lengths // HOP
        log = self.log(_mirrored(waves, lengths))[:, : int(frames.max())]
        valid = torch.arange(log.shape[1], device=log.device) < frames[:, None]
        # The floor is set by the loudest of the row's own frames, never by its padding.
        peak = log.amax(2).masked_fill(~valid, -torch.inf).amax(1)
        return _scaled(log, peak[:, None, None]).masked_fill(~valid[..., None], 0.0), frames

    @torch.no_grad()
    def log(self, waves: Tensor) -> Tensor:
        """Log-mel of all windows that lie in the waves, before any floor. Shape [B, T, n_mels]."""
        spectrum = torch.stft(
            waves, N_FFT, HOP, window=self.window, center=False, return_complex=True
        )
        power = spectrum.abs().square()
        return (power.transpose(1, 2) @ self.filters).clamp(min=1e-10).log10()


class LogMelStream:
    """The features of one utterance, made while it comes; no window is ever made twice.

    The floor hangs on the loudest frame, so it is applied when features are asked for.

    Args:
        log_mel: Makes the frames.
    """

    def __init__(self, log_mel: LogMel) -> None:
        self._log_mel = log_mel
        self._coming: list[Tensor] = []
        self._samples = 0
        self._wave = torch.zeros(0, device=log_mel.window.device)  # from the next window on
        self._made: list[Tensor] = []

    def push(self, wave: Tensor) -> None:
        """Take the next samples: float in -1..1, shape [samples]. Nothing is computed."""
        self._coming.append(wave)
        self._samples += len(wave)

    @property
    def frames(self) -> int:
        """Frames that what has come makes, as `LogMel` counts them."""
        return self._samples // HOP if self._samples >= N_FFT else 0

    @property
    def whole_frames(self) -> int:
        """Frames that no sample to come changes: all, but often the last."""
        return (self._samples - MARGIN) // HOP + 1 if self._samples >= N_FFT else 0

    def advance(self) -> None:
        """Make the frames that have become whole."""
        begun = sum(map(len, self._made))
        count = self.whole_frames - begun
        if count <= 0:
            return
        wave = torch.cat((self._wave, *(piece.to(self._wave) for piece in self._coming)))
        if not begun:  # half a window of its mirror image lies before the first sample
            wave = torch.cat((wave[1 : MARGIN + 1].flip(0), wave))
        windows = wave[: (count - 1) * HOP + N_FFT]
        self._made.append(self._log_mel.log(windows[None])[0])
        self._wave, self._coming = wave[count * HOP :], []

    def features(self, start: int = 0, end: int | None = None) -> Tensor:
        """Features of frames, with the floor that the utterance has up to `end`.

        Args:
            start: The first frame.
            end: The frame behind the last; None for all that has come, as if it ended here.

        Raises:
            AudioFormatError: less than one window has come.
        """
        if not self.frames:
            raise _too_short(self._samples)
        self.advance()
        log = torch.cat(self._made)
        if end is None and len(log) < self.frames:
            wave = torch.cat((self._wave, *(piece.to(self._wave) for piece in self._coming)))
            behind = wave[-(N_FFT - len(wave)) - 1 : -1].flip(0)
            log = torch.cat((log, self._log_mel.log(torch.cat((wave, behind))[None])[0]))
        log = log[:end]
        return _scaled(log[start:], log.amax())


def _mirrored(waves: Tensor, lengths: Tensor) -> Tensor:
    """Each row with half a window of its own mirror image before it and behind its end."""
    at = torch.arange(-MARGIN, waves.shape[1] + MARGIN, device=waves.device).abs()
    last = lengths[:, None] - 1
    mirrored = torch.where(at > last, 2 * last - at, at).clamp(min=0)
    return waves.gather(1, mirrored)


def _scaled(log: Tensor, peak: Tensor) -> Tensor:
    """Nothing lies more than 8 below the peak; the rest is Whisper's scale."""
    return (torch.maximum(log, peak - 8) + 4) / 4


def _too_short(samples: int) -> AudioFormatError:
    return AudioFormatError(
        f"{samples} samples of audio; one window of {N_FFT} (25 ms) is the least"
    )
