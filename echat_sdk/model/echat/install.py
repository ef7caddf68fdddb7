"""The files of a release into one checkpoint: its network, its tokenizer and its voice."""

from __future__ import annotations

import wave
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from echat_sdk.audio import Hertz
from echat_sdk.errors import AudioFormatError, EChatError
from echat_sdk.model.echat.convert import TOKEN2WAV, Progress, convert
from echat_sdk.model.echat.token2wav.config import Token2WavConfig
from echat_sdk.model.echat.token2wav.prompt_audio import (
    MAX_SECONDS,
    SpeakerEncoder,
    SpeechTokenizer,
)
from echat_sdk.model.echat.token2wav.token2wav import VOICES
from echat_sdk.model.echat.token2wav.voices import make_voice, voice_names
from echat_sdk.model.fetch import File

TOKEN2WAV_CONFIG = Token2WavConfig()
"""Sizes of the released voice, which its own settings name in a form that could run programs."""

_WEIGHTS, _VOICE, _TOKENIZER, _RECORDING = ".pt", ".tar", ".json", ".wav"
_FIRST_VOICE = "osum-echat"
# Of the time that a conversion takes, the network's.
_NETWORK_SHARE = 0.8


def space(files: Iterable[File]) -> int:
    """Bytes of disk that `install` takes at once beside the files themselves.

    Args:
        files: The released files. The weights are written twice: as the child process leaves them,
            and in the checkpoint. What is needed of a tar is less than the tar.
    """
    times = {_WEIGHTS: 2, _VOICE: 1}
    return sum(times.get(Path(file.name).suffix, 0) * file.size for file in files)


def install(
    kind: str,
    files: Sequence[Path],
    out: Path,
    *,
    progress: Progress = lambda stage, share: None,
) -> tuple[str, ...]:
    """Convert a release that was verified and whose pickles may be opened.

    Args:
        kind: What it must be: `osum` or `osum-echat`.
        files: A `.pt`, a `tokenizer.json`, and for a model that speaks CosyVoice's tar, perhaps
            with a `.wav` of the voice that its makers gave it.
        out: A directory to write; its parent holds what is temporary, and may be cleared after a
            process that was killed.
        progress: Told what is being done and how far it is, 0 to 1.

    Returns:
        What whoever uses the checkpoint should know.

    Raises:
        CheckpointError: the files are not what the network needs; names what does not fit.
    """
    by_kind = {file.suffix: file for file in files}
    share = _NETWORK_SHARE if _VOICE in by_kind else 1.0
    network = convert(
        by_kind[_WEIGHTS],
        out,
        kind=kind,
        allow_pickle=True,
        tokenizer=by_kind[_TOKENIZER],
        work=out.parent,
        progress=lambda stage, done: progress(stage, share * done),
    )
    if _VOICE not in by_kind:
        return network.notes
    voice = convert(
        by_kind[_VOICE],
        out / TOKEN2WAV,
        kind="cosyvoice",
        allow_pickle=True,
        config=TOKEN2WAV_CONFIG,
        work=out.parent,
        progress=lambda stage, done: progress(f"voice: {stage}", share + (1 - share) * done),
    )
    notes = network.notes + voice.notes
    return notes + _add_voice(by_kind.get(_RECORDING), out / TOKEN2WAV)


def _add_voice(recording: Path | None, spoken: Path) -> tuple[str, ...]:
    """Make a voice of the recording; why not, where it cannot be: the model is whole without."""
    if recording is None:
        has = voice_names(spoken / VOICES)
        return () if has else ("it has no voice yet; add one: echat voices add NAME clip.wav",)
    networks = [spoken / name for name in ("speech_tokenizer_v1.onnx", "campplus.onnx")]
    try:
        samples, rate = _read_wave(recording)
        tokenizer, speaker = SpeechTokenizer(networks[0]), SpeakerEncoder(networks[1])
        make_voice(samples, rate, tokenizer, speaker).save(spoken / VOICES, _FIRST_VOICE)
    except EChatError as error:
        return (
            f"no voice from {recording.name}: {error}; add one: echat voices add NAME clip.wav",
        )
    return ()


def _read_wave(file: Path) -> tuple[Tensor, Hertz]:
    """A released recording, which is plain PCM: mono in [-1, 1], [S], and its rate."""
    try:
        with wave.open(str(file)) as opened:
            channels, width, rate, count = opened.getparams()[:4]
            if width != 2 or count > MAX_SECONDS * rate:
                raise AudioFormatError(f"{8 * width} bits, {count / rate:.0f} s; expected 16, 30")
            samples = np.frombuffer(opened.readframes(count), "<i2").reshape(-1, channels)
    except (wave.Error, EOFError, ValueError) as error:
        raise AudioFormatError(f"no plain WAV file: {error}") from error
    return torch.from_numpy(samples.mean(axis=1, dtype=np.float32) / 32768), rate
