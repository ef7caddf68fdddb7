"""Small random checkpoints with every released name, for tests and demonstrations."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from echat_sdk.model.echat.token2wav.checkpoint import convert_cosyvoice
from echat_sdk.model.echat.token2wav.config import FlowConfig, Token2WavConfig, VocoderConfig
from echat_sdk.model.echat.token2wav.flow import Flow
from echat_sdk.model.echat.token2wav.token2wav import (
    CONFIG_FILE,
    FLOW_FILE,
    VOCODER_FILE,
    VOICES,
)
from echat_sdk.model.echat.token2wav.vocoder import Vocoder
from echat_sdk.model.echat.token2wav.voices import VoicePrompt

Spelling = Literal["parametrizations", "weight_g"]

_NORMED = re.compile(
    r"(conv_pre|conv_post|ups\.\d|(source_)?resblocks\.\d\.convs[12]\.\d|f0_predictor\.condnet\.\d)"
    r"\.weight"
)
_HALVES = {
    "parametrizations": ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    "weight_g": ("weight_g", "weight_v"),
}


def tiny_config(codes: int = 4096) -> Token2WavConfig:
    """Sizes at which everything runs in milliseconds; all parts that the real sizes have."""
    return Token2WavConfig(
        flow=FlowConfig(
            vocab_size=codes,
            input_size=16,
            encoder_size=16,
            encoder_heads=2,
            encoder_ff=32,
            encoder_blocks=1,
            channels=(16, 16),
            n_blocks=1,
            num_mid_blocks=1,
            num_heads=2,
            head_dim=8,
        ),
        vocoder=VocoderConfig(base_channels=16, f0_channels=8),
    )


def released_spelling(
    vocoder: dict[str, Tensor], spelling: Spelling = "parametrizations"
) -> dict[str, Tensor]:
    """A vocoder's dictionary with weight norms, as hift.pt has them."""
    spelt: dict[str, Tensor] = {}
    for name, tensor in vocoder.items():
        if not _NORMED.fullmatch(name):
            spelt[name] = tensor
            continue
        length, direction = _HALVES[spelling]
        stem = name.removesuffix("weight")
        spelt[stem + length] = torch.linalg.vector_norm(tensor, dim=(1, 2), keepdim=True)
        spelt[stem + direction] = tensor
    return spelt


def synthetic_states(
    config: Token2WavConfig, *, seed: int = 0, spelling: Spelling = "parametrizations"
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random flow.pt and hift.pt dictionaries with the released names; a seed repeats."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        flow, vocoder = Flow(config.flow).state_dict(), Vocoder(config.vocoder).state_dict()
    # A voice whose pitch can be heard: the predictor's own start is at a few hertz, unvoiced.
    vocoder["f0_predictor.classifier.bias"] = torch.tensor([180.0])
    return flow, released_spelling(vocoder, spelling)


def synthetic_voice(config: Token2WavConfig, *, codes: int = 12, seed: int = 0) -> VoicePrompt:
    """A random voice with a prompt of so many codes."""
    chance = torch.Generator().manual_seed(seed)
    frames = round(codes * 3.4)
    return VoicePrompt(
        torch.randint(0, config.flow.vocab_size, (codes,), generator=chance),
        torch.randn(frames, config.flow.mel_bands, generator=chance) - 5.0,
        torch.randn(config.flow.spk_embed_dim, generator=chance),
    )


def write_synthetic(
    directory: Path, config: Token2WavConfig | None = None, *, seed: int = 0
) -> Path:
    """Write a random token2wav directory with one voice, "test"; gives the directory."""
    config = config or tiny_config()
    flow, vocoder = convert_cosyvoice(*synthetic_states(config, seed=seed), config)
    directory.mkdir(parents=True, exist_ok=True)
    config.write(directory / CONFIG_FILE)
    save_file(flow, directory / FLOW_FILE)
    save_file(vocoder, directory / VOCODER_FILE)
    synthetic_voice(config, seed=seed).save(directory / VOICES, "test")
    return directory
