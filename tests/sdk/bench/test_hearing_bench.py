"""What the bench of hearing tells, on a random network and on Whisper's own encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.utils import logging

from echat_sdk.bench.hearing import fidelity
from echat_sdk.io.wav import read_audio
from echat_sdk.model.echat.assemble import encoder_of_ct2
from echat_sdk.model.echat.configuration import EChatConfig
from echat_sdk.model.echat.encoder import Encoder
from echat_sdk.model.echat.listening import BlockPlan
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.zoo import locate

AUDIO = Path(__file__).parents[3] / "examples" / "audio"
logging.disable_progress_bar()


def network(**encoder: int) -> EChatForConditionalGeneration:
    torch.manual_seed(2)
    config = EChatConfig(
        encoder=encoder,
        adapter={"num_hidden_layers": 1, "intermediate_size": 16},
        llm={
            "vocab_size": 300,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "eos_token_id": 2,
        },
        speech_codes=40,
    )
    return EChatForConditionalGeneration(config).eval()


def test_one_block_is_exact_and_many_are_not() -> None:
    tiny = network(d_model=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=16)
    wave = np.random.default_rng(0).normal(0, 2000, 40_000).astype(np.int16)
    one = fidelity(tiny, [wave], plan=BlockPlan(block=100))
    assert one.difference < 1e-4
    assert min(one.embeds, one.states) > 0.9999
    many = fidelity(tiny, [wave], plan=BlockPlan(block=2, right=1, left=2))
    assert many.difference > 1e-3
    assert many.states < one.states
    assert many.errors is None


@pytest.mark.real
@pytest.mark.timeout(300)
def test_whispers_decoder_writes_the_same_from_blocks_of_a_second_as_from_the_whole() -> None:
    folder = locate("whisper-base")
    state, config = encoder_of_ct2(folder)
    whole = network(d_model=512, encoder_layers=6, encoder_attention_heads=8, encoder_ffn_dim=2048)
    whole.encoder = Encoder(config).eval()
    whole.encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in state.items()})
    utterances = [
        np.concatenate((read_audio(AUDIO / name), np.zeros(8000, np.int16)))
        for name in ("sad.wav", "happy.wav")
    ]
    far = fidelity(whole, utterances, plan=BlockPlan(block=12, right=6), whisper=folder)
    assert far.states > 0.95
    assert far.words >= 20
    assert far.errors == 0
