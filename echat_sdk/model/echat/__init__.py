"""OSUM-EChat, end to end: one network hears, thinks, writes and speaks. Needs the extra `[echat]`.

Shape letters: B rows, T mel frames (10 ms), N audio embeddings (80 ms), L positions of a sequence,
D width of the encoder, H width of the language model, V rows of the text head, S rows of the
speech head (4097), C speech codes (4096), F mel frames of the vocoder.

Importing this package is cheap. Its names load torch and transformers when they are first used;
from then on transformers' Auto classes know the network.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from echat_sdk.model.echat.configuration import EChatConfig
    from echat_sdk.model.echat.network import EChatForConditionalGeneration
    from echat_sdk.model.echat.processing import EChatFeatureExtractor, EChatProcessor, register

__all__ = [
    "EChatConfig",
    "EChatFeatureExtractor",
    "EChatForConditionalGeneration",
    "EChatProcessor",
    "register",
]

_HOMES = {
    "EChatConfig": "configuration",
    "EChatFeatureExtractor": "processing",
    "EChatForConditionalGeneration": "network",
    "EChatProcessor": "processing",
    "register": "processing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_module(f"{__name__}.processing")  # registers all of them
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
