"""Our checkpoint directory: what is in it, writing one whole or not at all, opening one.

```
config.json  generation_config.json  model*.safetensors   as transformers writes them
tokenizer.json  tokenizer_config.json  processor_config.json  chat_template.jinja
echat.json                                                what it is and where it came from
token2wav/                                                the voice, if it has one
```
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import GenerationConfig
from transformers.utils import logging

from echat_sdk.errors import CheckpointError, ConfigError, ModelError, ModelMissingError
from echat_sdk.model.echat.checkpoint import build, expected_shapes
from echat_sdk.model.echat.configuration import EChatConfig
from echat_sdk.model.echat.names import Kind
from echat_sdk.model.echat.network import EChatForConditionalGeneration

CARD = "echat.json"
_SHARD = "4GB"
Think = Literal["none", "tag", "language"]
Order = Literal["serial", "interleaved"]


class Card(BaseModel):
    """What a checkpoint can do and where it came from: `echat.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = Field(description="understands only, or also answers in speech")
    think: Think = Field(default="none", description="how it thinks before it answers")
    order: Order = Field(default="serial", description="whether it speaks while it writes")
    source: str = Field(default="", description="name of the file that it was made from")
    sha256: str = Field(default="", description="of that file")
    untrained: tuple[str, ...] = Field(
        default=(), description="modules that hold random numbers: what they do means nothing"
    )

    @classmethod
    def read(cls, directory: Path) -> Card:
        """The card of a directory.

        Raises:
            ModelMissingError: there is no such directory, or it is none of ours.
            CheckpointError: the card is damaged.
        """
        try:
            return cls.model_validate_json((directory / CARD).read_bytes())
        except FileNotFoundError as error:
            raise ModelMissingError(
                f"{directory} has no {CARD}; make a directory with `echat models convert`"
            ) from error
        except (ValidationError, OSError) as error:
            raise CheckpointError(f"{directory / CARD} is damaged: {_first_line(error)}") from error

    def write(self, directory: Path) -> None:
        """Write the card into a directory."""
        (directory / CARD).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load(
    directory: Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> EChatForConditionalGeneration:
    """Open a checkpoint directory for inference.

    Each tensor goes to the device in its type as it is read: there is never a second copy.

    Args:
        directory: As `convert` and `assemble` write it.
        dtype: Of all weights.
        device: Where the network is to run.

    Raises:
        ModelMissingError: no such directory.
        CheckpointError: damaged, of another model, or not exactly the network's tensors.
        ModelError: it does not fit into the free memory.
    """
    config = read_config(directory)
    require_memory(config, dtype, device)
    shards = sorted(directory.glob("model*.safetensors"))
    state: dict[str, Tensor] = {}
    for shard in shards:
        try:
            with safe_open(shard, framework="pt", device=str(device)) as opened:
                for name in opened.keys():  # noqa: SIM118 - no mapping
                    state[name] = opened.get_tensor(name).to(dtype)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{shard.name} is damaged: {error}; convert again") from error
    model = build(state, config, what=str(directory))
    nn.Module.to(model, device)
    if (directory / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(directory)
    return model


def save_network(model: EChatForConditionalGeneration, folder: Path) -> None:
    """Write a network's sizes and weights, sharded, without transformers' progress bar."""
    told = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.save_pretrained(folder, max_shard_size=_SHARD)
    finally:
        if told:
            logging.enable_progress_bar()


def read_config(directory: Path) -> EChatConfig:
    """The sizes in a directory's `config.json`.

    Raises:
        ModelMissingError: there is none.
        CheckpointError: it is damaged, or another model's.
    """
    path = directory / "config.json"
    try:
        values = json.loads(path.read_bytes())
        kind = values.get("model_type") if isinstance(values, dict) else None
        if kind != EChatConfig.model_type:
            raise CheckpointError(
                f"{path} is of a model of type {kind!r}, expected {EChatConfig.model_type!r}"
            )
        return EChatConfig.from_dict(values)
    except FileNotFoundError as error:
        raise ModelMissingError(
            f"there is no {path}; make a directory with `echat models convert`"
        ) from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {_first_line(error)}") from error


def memory_estimate(config: EChatConfig, dtype: torch.dtype) -> int:
    """Bytes of the weights in a type; caches come on top. Loads nothing."""
    return dtype.itemsize * sum(shape.numel() for shape in expected_shapes(config).values())


def require_memory(config: EChatConfig, dtype: torch.dtype, device: torch.device | str) -> None:
    """Refuse a network that does not fit into what is free.

    Raises:
        ModelError: says how much is needed and how much there is.
    """
    need, free = memory_estimate(config, dtype), free_memory(device)
    if free is not None and need > free:
        raise ModelError(
            f"the weights need {need / 1e9:.1f} GB as {str(dtype).removeprefix('torch.')}, and "
            f"{free / 1e9:.1f} GB are free on {device}; take a smaller type or another device"
        )


def free_memory(device: torch.device | str) -> int | None:
    """Bytes that can be taken on a device; None where the system does not tell."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None


@contextmanager
def written_whole(out: Path) -> Iterator[Path]:
    """A folder to write into; it becomes `out` when the block ends well, else it is removed.

    Raises:
        ConfigError: `out` is there already and not an empty folder, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already; give a new folder, or remove it first")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}") from error
    try:
        yield scratch
        scratch.chmod(0o755)
        os.replace(scratch, out)
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
