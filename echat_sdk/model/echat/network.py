"""The whole network as one transformers model: hear, embed, run the language model, two heads.

Ids are combined: a text id is below V, a speech id is V + its code (V + C begins and ends speech,
V + C + 1 and V + C + 2 enclose the user's audio), and V + C + 3 stands for one audio embedding.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import Cache, GenerationMixin, PreTrainedModel, Qwen2ForCausalLM, Qwen2Model
from transformers.modeling_outputs import CausalLMOutputWithPast

from echat_sdk.errors import ModelError
from echat_sdk.model.echat.adapter import Adapter
from echat_sdk.model.echat.configuration import EChatConfig
from echat_sdk.model.echat.encoder import Encoder, valid


class EChatForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """OSUM and OSUM-EChat: Whisper encoder, adapter, an unpatched Qwen2, speech table and head."""

    config_class = EChatConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ["audio", "text"]  # noqa: RUF012 - lists, as transformers declares them
    supports_gradient_checkpointing = True
    _no_split_modules = ["TransformerLayer", "Qwen2DecoderLayer"]  # noqa: RUF012
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_flash_attn = True
    _can_compile_fullgraph = True

    config: EChatConfig

    def __init__(self, config: EChatConfig) -> None:
        super().__init__(config)
        hidden = config.hidden_size
        self.encoder = Encoder(config.encoder)
        self.adapter = Adapter(config.adapter, config.encoder.d_model, hidden)
        self.llm = Qwen2ForCausalLM(config.llm)
        self.speech_embedding = nn.Embedding(config.speech_codes + 3, hidden)
        self.speech_head = nn.Linear(hidden, config.vocab.speech_rows)
        self.post_init()

    @property
    def backbone(self) -> Qwen2Model:
        """The language model without its head."""
        backbone: Qwen2Model = self.llm.model
        return backbone

    def get_input_embeddings(self) -> nn.Module:
        """The table of the text ids alone; `embed` looks combined ids up."""
        table: nn.Module = self.llm.get_input_embeddings()
        return table

    def hear(self, features: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Audio embeddings of log-mel features, and how many each row has.

        Args:
            features: Shape [B, T, 80].
            lengths: Frames of each row; None if none is padded. Shape [B].

        Returns:
            Embeddings, shape [B, N, H], and lengths, shape [B].
        """
        embeds: tuple[Tensor, Tensor] = self.adapter(*self.encoder(features, lengths))
        return embeds

    def embed(self, ids: Tensor) -> Tensor:
        """Each combined id from its table; a placeholder's row has no meaning. Shape [B, L, H]."""
        rows = self.config.vocab_size
        spoken = ids >= rows
        text = self.backbone.embed_tokens(ids.masked_fill(spoken, 0))
        codes = (ids - rows).clamp(0, self.speech_embedding.num_embeddings - 1)
        return torch.where(spoken[..., None], self.speech_embedding(codes), text)

    def text_logits(self, hidden: Tensor) -> Tensor:
        """Scores of the text ids. Shape [..., V]."""
        scores: Tensor = self.llm.lm_head(hidden)
        return scores

    def speech_logits(self, hidden: Tensor) -> Tensor:
        """Scores of the codes and of the end of speech. Shape [..., S]."""
        scores: Tensor = self.speech_head(hidden)
        return scores

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of all ids that can be predicted. Shape [..., V + S]."""
        return torch.cat((self.text_logits(hidden), self.speech_logits(hidden)), dim=-1)

    def forward(
        self,
        input_ids: Tensor | None = None,
        input_features: Tensor | None = None,
        feature_lengths: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        loss_over: Literal["all", "text"] = "all",
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Scores of the next id at each position, and the loss.

        Args:
            input_ids: Combined ids, one placeholder for each audio embedding. Shape [B, L].
            input_features: Log-mel of the utterances, in the order of their placeholders, row by
                row; one row of `input_ids` may hold several or none. Shape [utterances, T, 80].
            feature_lengths: Frames of each utterance; None if none is padded.
            attention_mask: False where a position is padding, which may lie inside a row.
            position_ids: Shape [B, L].
            past_key_values: The cache to go on from.
            inputs_embeds: Instead of `input_ids`. Shape [B, L, H].
            labels: Combined ids to predict, at their own positions; -100 for none. Shape [B, L].
            use_cache: Whether to return the cache.
            logits_to_keep: How many of the last positions to score; 0 for all.
            loss_over: The rows that a label competes with. Upstream trains tasks whose answer is
                text alone over the text rows.
            kwargs: Passed on to the language model.

        Raises:
            ModelError: the placeholders are not as many as the audio embeddings.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ModelError("neither input_ids nor inputs_embeds; give one of them")
            inputs_embeds = self._embed_heard(input_ids, input_features, feature_lengths)
        outputs = self.backbone(
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **{key: value for key, value in kwargs.items() if key != "num_items_in_batch"},
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        hidden = outputs.last_hidden_state[:, kept]
        logits = self.logits(hidden)
        loss = None
        if labels is not None:
            rows = self.config.vocab_size if loss_over == "text" else logits.shape[-1]
            loss = self.loss_function(
                logits=logits[..., :rows],
                labels=labels,
                vocab_size=rows,
                num_items_in_batch=kwargs.get("num_items_in_batch"),
            )
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _embed_heard(self, ids: Tensor, features: Tensor | None, lengths: Tensor | None) -> Tensor:
        embeds = self.embed(ids)
        if features is None:
            return embeds
        heard, counts = self.hear(features, lengths)
        spans = ids == self.config.vocab.audio_placeholder
        if int(spans.sum()) != int(counts.sum()):
            raise ModelError(
                f"{int(spans.sum())} placeholders for {int(counts.sum())} audio embeddings; "
                "build the sequence from the lengths that `hear` gives"
            )
        flat = heard[valid(counts, heard.shape[1])]
        return embeds.masked_scatter(spans[..., None], flat.to(embeds.dtype))
