from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForMultimodalLM,
    AutoProcessor,
    PreTrainedTokenizerFast,
)

from echat_sdk.errors import AudioFormatError, ModelError
from echat_sdk.model.echat import EChatConfig, EChatFeatureExtractor, EChatProcessor
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.prompt import AUDIO_MARK

MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


@pytest.fixture
def processor() -> EChatProcessor:
    """One id a byte, and the chat marks."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=MARKS[2])
    return EChatProcessor(EChatFeatureExtractor(), fast, text_rows=300, speech_codes=40)


def _chat(wave: Any, text: str = "Hi ") -> list[dict[str, Any]]:
    parts = [{"type": "text", "text": text}, {"type": "audio", "audio": wave}]
    return [{"role": "user", "content": parts}]


def _waves(*lengths: int) -> list[Any]:
    rng = np.random.default_rng(1)
    return [0.1 * rng.standard_normal(n).astype(np.float32) for n in lengths]


def test_a_chat_becomes_ids_with_a_place_for_each_embedding(
    processor: EChatProcessor, small_model: EChatForConditionalGeneration
) -> None:
    long, short = _waves(16_000, 5000)
    inputs = processor.apply_chat_template(
        [_chat(long), _chat(short)], tokenize=True, return_dict=True, add_generation_prompt=True
    )
    vocab = small_model.config.vocab
    held = (inputs["input_ids"] == vocab.audio_placeholder).sum(1)
    _, counts = small_model.hear(inputs["input_features"], inputs["feature_lengths"])
    assert held.tolist() == counts.tolist() == [13, 4]
    row = inputs["input_ids"][0].tolist()
    first = row.index(vocab.audio_placeholder)
    assert (row[first - 1], row[first + 13]) == (vocab.audio_begin, vocab.audio_end)
    assert inputs["attention_mask"].sum(1).tolist() == [len(row), len(row) - 9]
    text = processor.batch_decode(inputs["input_ids"], skip_special_tokens=True)
    assert text[0] == "user\nHi \nassistant\n"
    with torch.no_grad():
        generated = small_model.generate(
            **inputs, max_new_tokens=3, do_sample=False, eos_token_id=None, pad_token_id=0
        )
        alone = small_model.generate(
            **processor.apply_chat_template(
                [_chat(short)], tokenize=True, return_dict=True, add_generation_prompt=True
            ),
            max_new_tokens=3,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    assert torch.equal(generated[1, -3:], alone[0, -3:])


def test_marks_must_be_as_many_as_waves(processor: EChatProcessor) -> None:
    with pytest.raises(ModelError, match="1 marks for 0 waves"):
        processor(f"a{AUDIO_MARK}b")
    with pytest.raises(ModelError, match="2 marks for 1 waves"):
        processor.apply_chat_template(
            _chat(_waves(4000)[0], f"I say {AUDIO_MARK}"), tokenize=True, return_dict=True
        )


def test_another_sampling_rate_is_refused() -> None:
    with pytest.raises(AudioFormatError, match="44100 Hz"):
        EChatFeatureExtractor()(np.zeros(44_100), sampling_rate=44_100)


def test_the_auto_classes_know_network_and_processor(
    processor: EChatProcessor, small_model: EChatForConditionalGeneration, tmp_path: Path
) -> None:
    small_model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is EChatConfig
    assert type(AutoModel.from_pretrained(tmp_path)) is EChatForConditionalGeneration
    network = AutoModelForMultimodalLM.from_pretrained(tmp_path)
    assert type(network) is EChatForConditionalGeneration
    assert type(AutoFeatureExtractor.from_pretrained(tmp_path)) is EChatFeatureExtractor
    again = AutoProcessor.from_pretrained(tmp_path)
    assert type(again) is EChatProcessor
    assert again.chat_template == processor.chat_template
    (wave,) = _waves(7000)
    before, after = (
        one.apply_chat_template(_chat(wave), tokenize=True, return_dict=True)
        for one in (processor, again)
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
