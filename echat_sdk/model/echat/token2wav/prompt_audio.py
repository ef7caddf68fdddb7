"""From a voice's recording to what the networks want of it: mel, codes and x-vector.

The two networks that hear the recording, the speech tokenizer and CAM++, are ONNX files; their
inputs are known by position, because the released files do not promise names.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from echat_sdk.audio import Hertz, Seconds
from echat_sdk.errors import AudioFormatError, CheckpointError, ModelMissingError
from echat_sdk.model.echat.token2wav.config import CODE_RATE, HOP, SAMPLE_RATE

HEARD_RATE: Hertz = 16_000
"""What the tokenizer and CAM++ hear."""
MAX_SECONDS: Seconds = 30.0
MIN_SECONDS: Seconds = 0.5
CODE_RATE_TOLERANCE = 0.1


def resample(wave: Tensor, rate: Hertz, to: Hertz) -> Tensor:
    """Windowed-sinc resampling with the filter that the released model's prompts went through.

    Hann window over 6 zero crossings, cut-off at 0.99 of the lower Nyquist frequency. It leaks more
    than soxr; the x-vector and the codes were trained on what it gives.

    Args:
        wave: [S].
        rate: of the wave.
        to: wanted.

    Returns:
        [ceil(S * to / rate)].
    """
    if rate == to:
        return wave
    common = math.gcd(rate, to)
    old, new = rate // common, to // common
    cutoff = min(old, new) * 0.99
    reach = math.ceil(6 * old / cutoff)
    tap = torch.arange(-reach, reach + old, dtype=torch.float64)[None] / old
    shift = torch.arange(0, -new, -1, dtype=torch.float64)[:, None] / new
    place = ((tap + shift) * cutoff).clamp(-6, 6)
    window = torch.cos(place * (math.pi / 12)).square()
    kernels = torch.sinc(place) * window * (cutoff / old)
    padded = F.pad(wave[None, None], (reach, reach + old))
    pieces = F.conv1d(padded, kernels[:, None].to(wave), stride=old)
    return pieces[0].T.flatten()[: math.ceil(new * len(wave) / old)]


def _mel_filters(rate: Hertz, n_fft: int, bands: int, highest: float) -> Tensor:
    """Slaney's triangles from 0 Hz on, each of area 1: [bands, n_fft // 2 + 1]."""
    filters = mel_filter_bank(
        num_frequency_bins=n_fft // 2 + 1,
        num_mel_filters=bands,
        min_frequency=0.0,
        max_frequency=highest,
        sampling_rate=rate,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters.T.astype(np.float32))


def prompt_mel(wave: Tensor) -> Tensor:
    """The mel that the flow is conditioned on: a 22,050 Hz wave [S] to [S // 256, 80], log."""
    n_fft = 1024
    edge = (n_fft - HOP) // 2
    padded = F.pad(wave[None, None], (edge, edge), mode="reflect")[0]
    bins = torch.stft(
        padded, n_fft, HOP, window=torch.hann_window(n_fft), center=False, return_complex=True
    )
    magnitude = (bins.real.square() + bins.imag.square() + 1e-9).sqrt()
    mel = _mel_filters(SAMPLE_RATE, n_fft, 80, 8000.0) @ magnitude
    return mel.clamp(min=1e-5).log()[0].T


def tokenizer_mel(wave: Tensor) -> Tensor:
    """Whisper's log-mel with 128 bands, not padded to 30 s: 16 kHz [S] to [1, 128, S // 160]."""
    n_fft = 400
    bins = torch.stft(wave[None], n_fft, 160, window=torch.hann_window(n_fft), return_complex=True)
    power = bins[..., :-1].abs().square()
    mel = _mel_filters(HEARD_RATE, n_fft, 128, HEARD_RATE / 2) @ power
    log = mel.clamp(min=1e-10).log10()
    return (torch.maximum(log, log.amax() - 8.0) + 4.0) / 4.0


def speaker_fbank(wave: Tensor) -> Tensor:
    """Kaldi's log filterbank without its mean: a 16 kHz wave [S] in [-1, 1] to [frames, 80].

    The wave is not scaled to 16 bit first; silence lies at log(1.19e-7).
    """
    fbank = kaldi_fbank(wave)
    return fbank - fbank.mean(dim=0)


def kaldi_fbank(wave: Tensor) -> Tensor:
    """`speaker_fbank` with its mean.

    Raises:
        ModelMissingError: kaldi-native-fbank is not installed.
    """
    try:
        import kaldi_native_fbank
    except ImportError as error:
        raise ModelMissingError(
            "making a voice needs kaldi-native-fbank: pip install kaldi-native-fbank"
        ) from error
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = HEARD_RATE
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = 80
    options.use_energy = False
    bank = kaldi_native_fbank.OnlineFbank(options)
    bank.accept_waveform(HEARD_RATE, wave.tolist())
    bank.input_finished()
    frames = [bank.get_frame(index) for index in range(bank.num_frames_ready)]
    return torch.from_numpy(np.stack(frames))


def check_recording(wave: Tensor, rate: Hertz) -> None:
    """Refuse what cannot be a voice's recording.

    Raises:
        AudioFormatError: not one channel, not finite, silent, or shorter or longer than allowed.
    """
    if wave.ndim != 1 or rate <= 0:
        raise AudioFormatError(f"a recording of shape {tuple(wave.shape)} at {rate} Hz, not mono")
    seconds = len(wave) / rate
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise AudioFormatError(
            f"a recording of {seconds:.1f} s; a voice is made from "
            f"{MIN_SECONDS} to {MAX_SECONDS:.0f} s"
        )
    if not wave.isfinite().all() or not wave.any():
        raise AudioFormatError("the recording is silent or holds numbers that are not finite")


class OnnxNetwork:
    """An ONNX file whose inputs and first output are addressed by position.

    Raises:
        ModelMissingError: onnxruntime is not installed.
        CheckpointError: the file cannot be read or takes another number of inputs.
    """

    def __init__(self, path: Path, inputs: int, *, threads: int = 1) -> None:
        try:
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as status
        except ImportError as error:
            raise ModelMissingError(
                "making a voice needs onnxruntime: pip install onnxruntime"
            ) from error
        # Its errors share no parent below Exception.
        self._failures: tuple[type[Exception], ...] = (
            status.Fail,
            status.InvalidArgument,
            status.InvalidGraph,
            status.InvalidProtobuf,
            status.NotImplemented,
            status.RuntimeException,
        )
        self.name = path.name
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except (OSError, *self._failures) as error:
            raise CheckpointError(f"{path.name} cannot be read as ONNX: {error}") from error
        self._inputs = [node.name for node in self._session.get_inputs()]
        if len(self._inputs) != inputs:
            raise CheckpointError(
                f"{path.name} takes {len(self._inputs)} inputs, expected {inputs}: another network?"
            )

    def __call__(self, *values: np.ndarray[Any, Any]) -> Tensor:
        """Run; gives the first output, flattened.

        Raises:
            CheckpointError: the network does not take such inputs.
        """
        try:
            outputs = self._session.run(None, dict(zip(self._inputs, values, strict=True)))
        except self._failures as error:
            raise CheckpointError(f"{self.name} does not take this input: {error}") from error
        return torch.from_numpy(np.asarray(outputs[0])).flatten()


class SpeechTokenizer:
    """`speech_tokenizer_v1.onnx`: 25 codes a second."""

    def __init__(self, path: Path) -> None:
        self._network = OnnxNetwork(path, inputs=2)

    def __call__(self, wave: Tensor) -> Tensor:
        """Codes of a 16 kHz wave [S], int64 [P].

        Raises:
            CheckpointError: the codes do not come at 25 a second, as of the 50 Hz model's
                tokenizer, whose file has the same name.
        """
        mel = tokenizer_mel(wave)
        length = np.array([mel.shape[2]], dtype=np.int32)
        codes = self._network(mel.numpy(), length).long()
        rate = len(codes) / (len(wave) / HEARD_RATE)
        if abs(rate / CODE_RATE - 1) > CODE_RATE_TOLERANCE:
            raise CheckpointError(
                f"{self._network.name} gives {rate:.1f} codes a second, expected {CODE_RATE}: "
                "take the tokenizer of the 25 Hz model"
            )
        return codes


class SpeakerEncoder:
    """`campplus.onnx`: one vector for a voice."""

    def __init__(self, path: Path) -> None:
        self._network = OnnxNetwork(path, inputs=1)

    def __call__(self, wave: Tensor) -> Tensor:
        """The x-vector of a 16 kHz wave [S], float32 [192], not normalised.

        Raises:
            CheckpointError: the file gives another size.
        """
        vector = self._network(speaker_fbank(wave)[None].numpy()).float()
        if len(vector) != 192:
            raise CheckpointError(f"{self._network.name} gives {len(vector)} numbers, expected 192")
        return vector
