"""Voices: what the flow must know to speak as somebody, made once and kept in a small file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from echat_sdk.audio import Hertz, Seconds
from echat_sdk.errors import CheckpointError, ConfigError
from echat_sdk.model.echat.token2wav.checkpoint import read_tensors
from echat_sdk.model.echat.token2wav.config import SAMPLE_RATE, FlowConfig
from echat_sdk.model.echat.token2wav.prompt_audio import (
    HEARD_RATE,
    MIN_SECONDS,
    SpeakerEncoder,
    SpeechTokenizer,
    check_recording,
    prompt_mel,
    resample,
)

MAX_PROMPT_CODES = 1000
_NAME = re.compile(r"[\w][\w.-]{0,63}")


@dataclass(frozen=True, slots=True, eq=False)
class VoicePrompt:
    """A voice.

    Attributes:
        tokens: speech codes of its recording, int64 [P]; none in a voice that is only a vector.
        mel: of the recording, log, float32 [Fp, 80].
        xvector: who speaks, float32 [192], of any length.
    """

    tokens: Tensor
    mel: Tensor
    xvector: Tensor

    def check(self, config: FlowConfig) -> None:
        """Refuse a voice that this flow cannot speak with.

        Raises:
            CheckpointError: a shape, a code or a number that cannot be.
        """
        bands, size = config.mel_bands, config.spk_embed_dim
        faults = (
            (self.tokens.ndim != 1 or self.tokens.dtype != torch.int64, "tokens are not int64 [P]"),
            (self.mel.ndim != 2 or self.mel.shape[-1] != bands, f"mel is not [Fp, {bands}]"),
            (self.xvector.shape != (size,), f"the x-vector is not [{size}]"),
            ((len(self.tokens) > 0) != (len(self.mel) > 0), "codes and mel go together"),
            (len(self.tokens) > MAX_PROMPT_CODES, f"more than {MAX_PROMPT_CODES} codes"),
            (
                bool(((self.tokens < 0) | (self.tokens >= config.vocab_size)).any()),
                f"codes outside 0..{config.vocab_size - 1}",
            ),
            (
                not (self.mel.isfinite().all() and self.xvector.isfinite().all()),
                "numbers that are not finite",
            ),
        )
        found = [fault for wrong, fault in faults if wrong]
        if found:
            raise CheckpointError(f"this voice does not fit the flow: {'; '.join(found)}")

    def save(self, directory: Path, name: str) -> Path:
        """Write `name`.safetensors; see `voice_file` for names. Gives its path."""
        path = voice_file(directory, name)
        directory.mkdir(parents=True, exist_ok=True)
        tensors = {"tokens": self.tokens, "mel": self.mel, "xvector": self.xvector}
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
        return path

    @classmethod
    def read(cls, directory: Path, name: str) -> VoicePrompt:
        """Read what `save` wrote.

        Raises:
            ConfigError: not a voice's name.
            CheckpointError: there is no such voice, or its file is damaged.
        """
        path = voice_file(directory, name)
        if not path.is_file():
            known = ", ".join(voice_names(directory)) or "none"
            raise CheckpointError(f"there is no voice {name!r} here; there are: {known}")
        tensors = read_tensors(path)
        if tensors.keys() != {"tokens", "mel", "xvector"}:
            raise CheckpointError(f"{path.name} is not a voice: it holds {sorted(tensors)}")
        return cls(tensors["tokens"].long(), tensors["mel"].float(), tensors["xvector"].float())


def voice_file(directory: Path, name: str) -> Path:
    """Where a voice lies.

    Raises:
        ConfigError: the name is not 1 to 64 letters, digits, _, - and inner dots.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"a voice cannot be named {name!r}: 1 to 64 letters, digits, '_', '-' or '.', "
            "no dot or dash first"
        )
    return directory / f"{name}.safetensors"


def voice_names(directory: Path) -> list[str]:
    """The voices in a directory, sorted."""
    return sorted(path.stem for path in directory.glob("*.safetensors") if _NAME.match(path.stem))


def make_voice(
    wave: Tensor,
    rate: Hertz,
    tokenizer: SpeechTokenizer,
    speaker: SpeakerEncoder,
    *,
    prompt: Seconds = 10.0,
) -> VoicePrompt:
    """Make a voice from a recording.

    Args:
        wave: mono in [-1, 1], [S], half a second to 30 s.
        rate: of the wave.
        tokenizer: hears the codes.
        speaker: hears who speaks, in the whole recording.
        prompt: how much of its start every chunk of speech is given again as codes and mel. The
            work of a chunk is about proportional to prompt and chunk together.

    Raises:
        AudioFormatError: the recording cannot be used.
        ConfigError: the prompt is shorter than half a second.
        CheckpointError: one of the two networks is not the released one.
    """
    check_recording(wave, rate)
    spoken = resample(wave.float(), rate, SAMPLE_RATE)
    heard = resample(spoken, SAMPLE_RATE, HEARD_RATE)
    if prompt < MIN_SECONDS:
        raise ConfigError(f"a prompt of {prompt} s; at least {MIN_SECONDS} s are needed")
    told = spoken[: round(prompt * SAMPLE_RATE)], heard[: round(prompt * HEARD_RATE)]
    return VoicePrompt(tokenizer(told[1]), prompt_mel(told[0]), speaker(heard))


def vector_voice(xvector: Tensor) -> VoicePrompt:
    """A voice without a recording: who speaks is told by the vector alone."""
    return VoicePrompt(
        torch.zeros(0, dtype=torch.int64), torch.zeros(0, 80), xvector.float().flatten()
    )


def spk2info_voices(table: Mapping[str, Mapping[str, Tensor]]) -> dict[str, VoicePrompt]:
    """The voices of a released `spk2info.pt`.

    Args:
        table: its contents: name to {"embedding": [1, 192], ...}.

    Raises:
        CheckpointError: an entry has no embedding.
    """
    without = sorted(name for name, entry in table.items() if "embedding" not in entry)
    if without:
        raise CheckpointError(f"speakers without an embedding: {', '.join(without[:8])}")
    return {name: vector_voice(entry["embedding"]) for name, entry in table.items()}
