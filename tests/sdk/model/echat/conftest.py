"""Golden cases, and a network small enough for tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

GOLDEN = Path(__file__).parents[3] / "golden" / "osum"


@dataclass(frozen=True)
class Golden:
    """One golden case: what its json says, and its tensors."""

    facts: Mapping[str, Any]
    tensors: Mapping[str, Any]
    folder: Path

    def under(self, prefix: str) -> dict[str, Any]:
        return {k[len(prefix) :]: v for k, v in self.tensors.items() if k.startswith(prefix)}


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Networks this small are slower on two."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Golden]:
    """Opens a case by its file's name without ending: `golden("case02_encoder")`."""
    from safetensors.torch import load_file

    def read(name: str) -> Golden:
        facts = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
        arrays = GOLDEN / f"{name}.safetensors"
        return Golden(facts, load_file(arrays) if arrays.exists() else {}, GOLDEN)

    return read


@pytest.fixture
def small_config() -> Any:
    from echat_sdk.model.echat.configuration import EChatConfig

    return EChatConfig(
        encoder={
            "d_model": 32,
            "encoder_layers": 2,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
        },
        adapter={"num_hidden_layers": 2, "intermediate_size": 40},
        llm={
            "vocab_size": 300,
            "hidden_size": 48,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
            "eos_token_id": 2,
        },
        speech_codes=40,
    )


@pytest.fixture
def small_model(small_config: Any) -> Any:
    """Random weights, the same every time, of a size at which attention is far from uniform."""
    from echat_sdk.model.echat.network import EChatForConditionalGeneration

    torch.manual_seed(11)
    model = EChatForConditionalGeneration(small_config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2) if parameter.ndim > 1 else parameter.uniform_(0.5, 1.5)
    return model.eval()
