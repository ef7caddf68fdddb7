"""The sizes of the two networks and the rates that tie codes, frames and samples together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from echat_sdk.errors import CheckpointError

SAMPLE_RATE = 22_050
HOP = 256
CODE_RATE = 25


def mel_frames(codes: int) -> int:
    """How many mel frames `codes` speech codes make: 3.4453 a code, rounded down.

    In integers, because the same product in floating point comes out one short at some lengths
    (4480, 7296, ...).
    """
    return codes * SAMPLE_RATE // (CODE_RATE * HOP)


class FlowConfig(BaseModel):
    """Sizes of the codes-to-mel network; the defaults are those of the released flow.pt.

    The names are those of the released training configuration.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocab_size: int = Field(default=4096, ge=1)
    input_size: int = Field(default=512, ge=1)
    encoder_size: int = Field(default=512, ge=2, multiple_of=2)
    encoder_heads: int = Field(default=8, ge=1)
    encoder_ff: int = Field(default=2048, ge=1)
    encoder_blocks: int = Field(default=6, ge=1)
    mel_bands: int = Field(default=80, ge=1)
    spk_embed_dim: int = Field(default=192, ge=1)
    channels: tuple[int, ...] = Field(default=(256, 256), min_length=1)
    n_blocks: int = Field(default=4, ge=0)
    num_mid_blocks: int = Field(default=12, ge=0)
    num_heads: int = Field(default=8, ge=1)
    head_dim: int = Field(default=64, ge=1)


class VocoderConfig(BaseModel):
    """Sizes of the mel-to-wave network; the defaults are those of the released hift.pt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mel_bands: int = Field(default=80, ge=1)
    base_channels: int = Field(default=512, ge=4, multiple_of=4)
    f0_channels: int = Field(default=512, ge=1)
    harmonics: int = Field(default=8, ge=0)
    resblock_kernels: tuple[int, ...] = (3, 7, 11)
    resblock_dilations: tuple[int, ...] = (1, 3, 5)
    source_kernels: tuple[int, int] = (7, 11)


class Token2WavConfig(BaseModel):
    """Both networks; what `config.json` of a token2wav directory holds.

    Steps and guidance are of the flow's solver, see `FlowMatching.forward`: the ones that are taken
    where a caller asks for no others. Fewer are faster and rougher; a distilled flow needs few.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flow: FlowConfig = FlowConfig()
    vocoder: VocoderConfig = VocoderConfig()
    steps: int = Field(default=10, ge=1, le=100)
    guidance: float = Field(default=0.7, ge=0, le=10)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Token2WavConfig:
        """Read the contents of `config.json`.

        Raises:
            CheckpointError: a key is unknown or a value out of its bounds.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors()
            )
            raise CheckpointError(f"token2wav configuration does not fit: {wrong}") from error

    @classmethod
    def read(cls, path: Path) -> Token2WavConfig:
        """Read a `config.json`.

        Raises:
            CheckpointError: the file is missing, not JSON, or does not fit.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path.name} of token2wav cannot be read: {error}") from error
        if not isinstance(values, dict):
            raise CheckpointError(f"{path.name} holds a {type(values).__name__}, not an object")
        return cls.from_dict(values)

    def write(self, path: Path) -> None:
        """Write `config.json`."""
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
