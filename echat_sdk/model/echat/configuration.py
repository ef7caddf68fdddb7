"""The sizes of a network: one configuration for OSUM, OSUM-EChat and any size between."""

from __future__ import annotations

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig, Qwen2Config

from echat_sdk.model.echat.vocab import (
    END_OF_TEXT,
    IM_END,
    IM_START,
    REAL_TEXT_ROWS,
    SPEECH_CODES,
    Vocab,
)

_QWEN_3B = {
    "vocab_size": REAL_TEXT_ROWS,
    "hidden_size": 2048,
    "intermediate_size": 11_008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
    "tie_word_embeddings": True,
    "bos_token_id": END_OF_TEXT,
    "eos_token_id": IM_END,
}


@strict
class EChatEncoderConfig(PreTrainedConfig):
    """A Whisper encoder; the defaults are Whisper medium's. Width D is `d_model`.

    `upstream_padding` repeats upstream's numbers for rows that are padded in a batch, where one of
    odd length loses its last state or hears the padding. Off, it is the same alone and in a batch.
    """

    model_type = "echat_encoder"
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "d_model",
        "num_hidden_layers": "encoder_layers",
        "num_attention_heads": "encoder_attention_heads",
        "intermediate_size": "encoder_ffn_dim",
    }

    num_mel_bins: int = 80
    d_model: int = 1024
    encoder_layers: int = 24
    encoder_attention_heads: int = 16
    encoder_ffn_dim: int = 4096
    dropout: float | int = 0.1
    upstream_padding: bool = False


@strict
class EChatAdapterConfig(PreTrainedConfig):
    """Three causal convolutions, a small transformer and a projection from D to H."""

    model_type = "echat_adapter"

    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    intermediate_size: int = 2560
    dropout: float | int = 0.1


@strict
class EChatConfig(PreTrainedConfig):
    """Encoder, adapter, language model and the number of speech codes C.

    `encoder` and `adapter` are of the classes above; `llm` is a plain `Qwen2Config`: 3584 wide and
    untied for OSUM (Qwen2 7B), 2048 wide and tied for OSUM-EChat (Qwen2.5 3B). The speech table has
    C + 3 rows, the speech head C + 1.
    """

    model_type = "echat"
    sub_configs: ClassVar[dict[str, type[PreTrainedConfig]]] = {
        "encoder": EChatEncoderConfig,
        "adapter": EChatAdapterConfig,
        "llm": Qwen2Config,
    }

    encoder: Any = None
    adapter: Any = None
    llm: Any = None
    speech_codes: int = SPEECH_CODES

    def __post_init__(self, **kwargs: Any) -> None:
        """Sub-configurations from dicts; left out, they are OSUM-EChat's (3B)."""
        for name, kind in self.sub_configs.items():
            given = getattr(self, name)
            if given is None:
                given = _QWEN_3B if name == "llm" else {}
            if not isinstance(given, PreTrainedConfig):
                setattr(self, name, kind(**given))
        super().__post_init__(**kwargs)

    @property
    def vocab_size(self) -> int:
        """Rows V of the text head; speech ids follow them."""
        return int(self.llm.vocab_size)

    @property
    def hidden_size(self) -> int:
        """Width H of the language model."""
        return int(self.llm.hidden_size)

    @property
    def vocab(self) -> Vocab:
        """The space of combined ids; a text row that a small model lacks is its id 0."""
        rows = self.vocab_size
        ends = self.llm.eos_token_id
        end = int((ends[0] if isinstance(ends, list) else ends) or 0)
        start, stop = (mark if mark < rows else 0 for mark in (IM_START, IM_END))
        return Vocab(rows, self.speech_codes, start, stop, end if end < rows else 0)

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> Any:
        """The language model's sizes: what transformers makes its caches from."""
        return self.llm
