from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from transformers import Qwen2Config, Qwen2ForCausalLM, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from echat_sdk.cues import Cues
from echat_sdk.errors import CheckpointError, ConfigError, ModelMissingError
from echat_sdk.model.cascade import encoder as cascade
from echat_sdk.model.echat.assemble import assemble, encoder_of_ct2, llm_of_gguf
from echat_sdk.model.echat.directory import Card, load
from echat_sdk.model.echat.encoder import Encoder, sinusoids
from echat_sdk.model.echat.features import LogMel
from echat_sdk.model.echat.loading import open_model
from echat_sdk.model.echat.processing import EChatProcessor
from echat_sdk.model.echat.prompt import SYSTEM_PROMPTS, System
from echat_sdk.model.echat.tokenizer import qwen_gguf, read_tokenizer
from echat_sdk.model.echat.vocab import IM_END, IM_START
from echat_sdk.model.zoo import locate
from echat_sdk.turn import Recollection, TextDelta, Turn

AUDIO = Path(__file__).parents[4] / "examples" / "audio" / "sad.wav"


def _encoder(state: Any, config: Any) -> Encoder:
    encoder = Encoder(config).eval()
    encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in state.items()})
    return encoder


@torch.no_grad()
def test_a_ctranslate2_encoder_is_the_same_here(whisper_dir: Callable[..., Path]) -> None:
    folder = whisper_dir()
    state, config = encoder_of_ct2(folder)
    with pytest.raises(RuntimeError, match="layer_norm"):  # which the tiny file does not have
        _encoder(state, config)
    norm = {"encoder.layer_norm.weight": torch.ones(16), "encoder.layer_norm.bias": torch.zeros(16)}
    encoder = _encoder(state | norm, config)
    encoder.layer_norm = torch.nn.Identity()
    theirs = cascade.WhisperEncoder.load(folder, n_layers=2)
    theirs._positions = sinusoids(100, 16, torch.device("cpu")).numpy()  # random in the tiny file
    mel = np.random.default_rng(1).standard_normal((80, 151)).astype(np.float32)
    states, _ = encoder(torch.from_numpy(mel.T)[None])
    torch.testing.assert_close(states[0].numpy(), theirs(mel)[-1], atol=1e-3, rtol=1e-3)


@pytest.fixture
def tiny_qwen(tmp_path: Path) -> tuple[Path, Qwen2ForCausalLM]:
    """A random Qwen2 and the GGUF file of it."""
    torch.manual_seed(4)
    config = Qwen2Config(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )
    model = Qwen2ForCausalLM(config).eval()
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.3
    writer = gguf.GGUFWriter(tmp_path / "tiny.gguf", "qwen2")
    writer.add_block_count(2)
    writer.add_embedding_length(16)
    writer.add_feed_forward_length(24)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_token_list([f"t{i}" for i in range(64)])
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "model.layers.": "blk.",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.o_proj": "attn_output",
        "self_attn.": "attn_",
        "mlp.": "ffn_",
        "_proj": "",
    }
    for key, tensor in model.state_dict().items():
        if key != "lm_head.weight":
            for theirs, ours in names.items():
                key = key.replace(theirs, ours)
            writer.add_tensor(key, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "tiny.gguf", model


@torch.no_grad()
def test_a_gguf_qwen_is_the_same_here(tiny_qwen: tuple[Path, Qwen2ForCausalLM]) -> None:
    path, theirs = tiny_qwen
    state, config = llm_of_gguf(path, torch.float32)
    ours = Qwen2ForCausalLM(config).eval()
    plain = {key.removeprefix("llm."): tensor for key, tensor in state.items()}
    ours.load_state_dict(plain | {"lm_head.weight": plain["model.embed_tokens.weight"]})
    ids = torch.randint(0, 64, (2, 11))
    torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, atol=1e-5, rtol=1e-5)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match="ends after the file does"):
        llm_of_gguf(path, torch.float32)


def test_what_cannot_be_assembled_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is nano-init"):
        assemble("giga", tmp_path / "out", home=tmp_path)
    with pytest.raises(ModelMissingError, match="echat models pull"):
        assemble("nano-init", tmp_path / "out", home=tmp_path)
    assert not (tmp_path / "out").exists()
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(CheckpointError, match="holds no tokenizer"):
        read_tokenizer(tmp_path / "other.json")


@pytest.mark.real
@pytest.mark.timeout(300)
@torch.no_grad()
def test_the_true_whisper_encoder_is_the_same_here_as_in_transformers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state, config = encoder_of_ct2(locate("whisper-base"))
    ours = _encoder(state, config)
    theirs = WhisperEncoder(
        WhisperConfig(
            d_model=config.d_model,
            encoder_layers=config.encoder_layers,
            encoder_attention_heads=config.encoder_attention_heads,
            encoder_ffn_dim=config.encoder_ffn_dim,
        )
    ).eval()
    plain = {key.removeprefix("encoder."): tensor for key, tensor in state.items()}
    missing, unexpected = theirs.load_state_dict(plain, strict=False)
    assert (missing, unexpected) == (["embed_positions.weight"], [])
    wave, rate = soundfile.read(AUDIO, dtype="float32")
    assert rate == 16_000
    short, _ = LogMel()(torch.from_numpy(wave)[None])
    whole = torch.full((1, 3000, 80), float(short.min()))
    whole[:, : short.shape[1]] = short
    expected = theirs(whole.transpose(1, 2)).last_hidden_state
    error = (ours(whole)[0] - expected).abs().max() / expected.abs().max()
    assert error < 1e-5
    # And as in the cascade, but for its quick gelu and its file's rounded positions.
    monkeypatch.setattr(cascade, "_gelu", lambda x: F.gelu(torch.from_numpy(x)).numpy())
    early = cascade.WhisperEncoder.load(locate("whisper-base"), n_layers=6)
    early._positions = sinusoids(1500, 512, torch.device("cpu")).numpy()
    expected = ours.layer_norm(torch.from_numpy(early(short[0].T.numpy())[-1]))
    error = (ours(short)[0][0] - expected).abs().max() / expected.abs().max()
    assert error < 1e-5


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nano_init_answers_a_question_in_text(tmp_path: Path) -> None:
    report = assemble("nano-init", tmp_path / "nano")
    assert report.parameters > 500e6
    assert Card.read(tmp_path / "nano").untrained == ("adapter", "speech_embedding", "speech_head")
    model = load(tmp_path / "nano")
    processor = EChatProcessor.from_pretrained(tmp_path / "nano")
    assert processor.tokenizer("<think end>")["input_ids"] == [13708, 766, 835, 29]
    chat = [
        {"role": "system", "content": SYSTEM_PROMPTS[System.T2T]},
        {"role": "user", "content": "What is the capital of France?"},
    ]
    inputs = processor.apply_chat_template(
        chat, tokenize=True, return_dict=True, add_generation_prompt=True
    )
    assert inputs["input_ids"][0, 0] == IM_START
    # The speech rows are untrained: text is drawn from the text head alone.
    answer = model.llm.generate(**inputs, max_new_tokens=12, do_sample=False)
    text = processor.decode(answer[0, inputs["input_ids"].shape[1] :])
    assert text == "The capital of France is Paris.<|im_end|>"
    with torch.no_grad():
        wave, _ = soundfile.read(AUDIO, dtype="float32")
        heard, lengths = model.hear(*LogMel()(torch.from_numpy(wave)[None]))
    assert heard.shape == (1, int(lengths[0]), 896)
    assert heard.isfinite().all()


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nano_init_holds_a_typed_conversation_in_eight_bits(tmp_path: Path) -> None:
    assemble("nano-init", tmp_path / "nano")
    model = open_model(tmp_path / "nano", name="nano", seed=0)
    past: tuple[Turn, ...] = ()
    for words, expected in (
        ("What is the capital of France?", "Paris"),
        ("And of Italy?", "Rome"),
    ):
        deltas = model.read(words, Cues()).reply(Recollection(turns=past, key="k"))
        reply = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
        assert expected in reply
        past = (*past, Turn(words, reply=reply))
    assert model.conversations.nbytes > 0


@pytest.mark.real
@pytest.mark.timeout(120)
def test_the_zoos_vocabulary_is_qwens_id_by_id() -> None:
    tokenizer = read_tokenizer(qwen_gguf())
    assert len(tokenizer) == 151_665
    assert tokenizer("<|im_start|>user\nHello, 你好<|im_end|>")["input_ids"] == (
        [IM_START, 872, 198, 9707, 11, 220, 108386, IM_END]
    )
    assert tokenizer("<think end>")["input_ids"] == [13708, 766, 835, 29]
    assert tokenizer("<&&>")["input_ids"] == [27, 7672, 29]
    assert tokenizer.convert_tokens_to_ids("<|file_sep|>") == 151_664
