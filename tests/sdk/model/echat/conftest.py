"""Golden cases, and a network small enough for tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
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


@pytest.fixture(scope="module")
def without_gradients() -> Iterator[None]:
    """For a whole module: `pytestmark = pytest.mark.usefixtures("without_gradients")`."""
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def flow() -> Any:
    """A random token2wav flow of the smallest sizes."""
    from echat_sdk.model.echat.token2wav.flow import Flow
    from echat_sdk.model.echat.token2wav.synthetic import tiny_config

    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Flow(tiny_config().flow).eval()


@pytest.fixture(scope="session")
def tiny_echat() -> Callable[..., Any]:
    """Makes the configuration of a network of one encoder layer and a decoder as asked for.

    `tiny_echat(vocab_size=64, layers=3, codes=20)`; what else is given goes to the decoder.
    """
    from echat_sdk.model.echat.configuration import EChatConfig

    def make(
        *,
        vocab_size: int = 300,
        hidden: int = 32,
        layers: int = 2,
        codes: int = 40,
        encoder: Mapping[str, Any] = MappingProxyType({}),
        adapter: Mapping[str, Any] = MappingProxyType({}),
        **llm: Any,
    ) -> EChatConfig:
        ears = {
            "d_model": 32,
            "encoder_layers": 1,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 32,
        }
        decoder = {
            "vocab_size": vocab_size,
            "hidden_size": hidden,
            "intermediate_size": 64,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        }
        return EChatConfig(
            encoder=ears | dict(encoder),
            adapter={"num_hidden_layers": 1, "intermediate_size": 32} | dict(adapter),
            llm=decoder | llm,
            speech_codes=codes,
        )

    return make


@pytest.fixture
def small_config(tiny_echat: Callable[..., Any]) -> Any:
    return tiny_echat(
        hidden=48,
        encoder={"encoder_layers": 2, "encoder_ffn_dim": 48},
        adapter={"num_hidden_layers": 2, "intermediate_size": 40},
        tie_word_embeddings=True,
        eos_token_id=2,
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
