"""Waves and chats to the network's inputs, as transformers' processors do it; the Auto classes.

The engine builds its sequences with `template.Template`; this is the same chat template for whoever
uses the network through transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForMultimodalLM,
    AutoProcessor,
    BatchFeature,
    FeatureExtractionMixin,
    ProcessorMixin,
)

from echat_sdk.errors import AudioFormatError, ModelError
from echat_sdk.model.echat.adapter import embeddings_of
from echat_sdk.model.echat.configuration import EChatConfig
from echat_sdk.model.echat.features import SAMPLE_RATE, LogMel
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.prompt import AUDIO_MARK, CHAT_TEMPLATE
from echat_sdk.model.echat.vocab import REAL_TEXT_ROWS, SPEECH_CODES, Vocab


class EChatFeatureExtractor(FeatureExtractionMixin):
    """Log-mel at the length of the utterance; see `features.LogMel`."""

    model_input_names = ("input_features", "feature_lengths")

    def __init__(self, feature_size: int = 80, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.feature_size = feature_size
        self.sampling_rate = SAMPLE_RATE
        self._log_mel = LogMel(feature_size)

    def __call__(
        self, raw_speech: Any, *, sampling_rate: int = SAMPLE_RATE, **kwargs: Any
    ) -> BatchFeature:
        """Features of one wave or several.

        Args:
            raw_speech: Float waves in -1..1 of any lengths.
            sampling_rate: Theirs.
            kwargs: Ignored: tensors are torch's, and nothing is padded to a fixed length.

        Raises:
            AudioFormatError: not 16 kHz, or shorter than 25 ms.
        """
        if sampling_rate != SAMPLE_RATE:
            raise AudioFormatError(f"audio at {sampling_rate} Hz; resample it to {SAMPLE_RATE} Hz")
        waves = [torch.as_tensor(wave, dtype=torch.float32) for wave in _listed(raw_speech)]
        lengths = torch.tensor([len(wave) for wave in waves])
        padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
        features, frames = self._log_mel(padded, lengths)
        return BatchFeature({"input_features": features, "feature_lengths": frames})

    def to_dict(self) -> dict[str, Any]:
        """The settings alone, without the filter bank."""
        kept: dict[str, Any] = {k: v for k, v in self.__dict__.items() if k != "_log_mel"}
        return kept | {"feature_extractor_type": type(self).__name__}


class EChatProcessor(ProcessorMixin):
    """A chat with audio to combined ids and features.

    Each audio becomes begin, one placeholder for each embedding, end. Rows are padded on the left.
    """

    def __init__(
        self,
        feature_extractor: EChatFeatureExtractor,
        tokenizer: Any,
        chat_template: str = CHAT_TEMPLATE,
        text_rows: int = REAL_TEXT_ROWS,
        speech_codes: int = SPEECH_CODES,
    ) -> None:
        super().__init__(feature_extractor, tokenizer, chat_template=chat_template)
        self.text_rows = text_rows
        self.speech_codes = speech_codes

    def __call__(
        self,
        text: str | Sequence[str] | None = None,
        audio: Any = None,
        *,
        sampling_rate: int = SAMPLE_RATE,
        **kwargs: Any,
    ) -> BatchFeature:
        """The network's inputs for texts in which a mark stands for each audio.

        Args:
            text: Rendered chats; what `apply_chat_template` gives.
            audio: Waves in the order of their marks; nested lists are one after the other.
            sampling_rate: Theirs.
            kwargs: Ignored; tensors are torch's.

        Raises:
            ModelError: other than one mark for each wave.
            AudioFormatError: see `EChatFeatureExtractor`.
        """
        texts = [text] if isinstance(text, str) else list(text or ())
        waves = _flat(audio)
        marks = sum(one.count(AUDIO_MARK) for one in texts)
        if marks != len(waves) or not texts:
            raise ModelError(f"{len(texts)} texts with {marks} marks for {len(waves)} waves")
        data: dict[str, Any] = {}
        if waves:
            data |= self.feature_extractor(waves, sampling_rate=sampling_rate)
        frames = data["feature_lengths"].tolist() if waves else []
        rows = self._ids(texts, [embeddings_of(count) for count in frames])
        longest = max(map(len, rows))
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, longest - len(row) :] = torch.tensor(row)
            mask[i, longest - len(row) :] = 1
        return BatchFeature(data | {"input_ids": ids, "attention_mask": mask})

    @property
    def model_input_names(self) -> list[str]:
        """Names of what the network takes."""
        return ["input_ids", "attention_mask", *EChatFeatureExtractor.model_input_names]

    def decode(self, ids: Any, **kwargs: Any) -> str:
        """The text among combined ids; speech is left out."""
        kept = [int(i) for i in np.asarray(ids).reshape(-1) if int(i) < self.text_rows]
        text: str = self.tokenizer.decode(kept, **kwargs)
        return text

    def batch_decode(self, rows: Any, **kwargs: Any) -> list[str]:
        """The text of each row."""
        return [self.decode(row, **kwargs) for row in rows]

    def _ids(self, texts: Sequence[str], embeddings: Sequence[int]) -> list[list[int]]:
        vocab = Vocab(self.text_rows, self.speech_codes, 0, 0, 0)
        heard = iter(embeddings)
        rows = []
        for text in texts:
            first, *others = (
                self.tokenizer(piece, add_special_tokens=False)["input_ids"]
                for piece in text.split(AUDIO_MARK)
            )
            row = list(first)
            for piece in others:
                row += [vocab.audio_begin, *[vocab.audio_placeholder] * next(heard)]
                row += [vocab.audio_end, *piece]
            rows.append(row)
        return rows


def register() -> None:
    """Make transformers' Auto classes know this network; called when this module is imported."""
    AutoConfig.register("echat", EChatConfig, exist_ok=True)
    AutoModel.register(EChatConfig, EChatForConditionalGeneration, exist_ok=True)
    AutoModelForMultimodalLM.register(EChatConfig, EChatForConditionalGeneration, exist_ok=True)
    AutoFeatureExtractor.register(EChatConfig, EChatFeatureExtractor, exist_ok=True)
    AutoProcessor.register(EChatConfig, EChatProcessor, exist_ok=True)


def _listed(waves: Any) -> list[Any]:
    if isinstance(waves, (np.ndarray, torch.Tensor)) and waves.ndim == 1:
        return [waves]
    if isinstance(waves, list) and waves and isinstance(waves[0], (int, float)):
        return [np.asarray(waves)]
    return list(waves)


def _flat(audio: Any) -> list[Any]:
    if audio is None:
        return []
    waves = []
    for one in _listed(audio):
        nested = isinstance(one, (list, tuple)) and one and not isinstance(one[0], (int, float))
        waves += _flat(one) if nested else [one]
    return waves


register()
