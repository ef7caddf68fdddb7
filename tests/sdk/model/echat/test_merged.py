"""The merged language model: a plain Qwen2 that scores and writes as the network with two heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2ForCausalLM

from echat_sdk.errors import CheckpointError, ConfigError
from echat_sdk.model.echat.decoding import Decoding, Phase
from echat_sdk.model.echat.directory import Card, save_network
from echat_sdk.model.echat.engine import Engine
from echat_sdk.model.echat.interleave import Head
from echat_sdk.model.echat.merged import export, load_ears, merged
from echat_sdk.model.echat.runner import Prompt
from echat_sdk.model.echat.sampling import Sampler, Sampling

ROWS, SPEECH = 300, 41


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def network(request: pytest.FixtureRequest, small_config: Any) -> Any:
    from echat_sdk.model.echat.network import EChatForConditionalGeneration

    torch.manual_seed(11)
    small_config.llm.tie_word_embeddings = request.param
    model = EChatForConditionalGeneration(small_config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.4) if parameter.ndim > 1 else parameter.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture
def directory(network: Any, tmp_path: Path) -> Path:
    """The network as `convert` writes it."""
    folder = tmp_path / "checkpoint"
    save_network(network, folder)
    Card(kind="osum-echat").write(folder)
    return folder


def served(directory: Path, out: Path) -> Any:
    """What a server opens: the exported directory, with nothing of ours."""
    export(directory, out, dtype=torch.float32)
    return Qwen2ForCausalLM.from_pretrained(out).eval()


@torch.inference_mode()
def test_one_head_scores_as_the_two_do(network: Any, directory: Path, tmp_path: Path) -> None:
    plain = served(directory, tmp_path / "out")
    embeds = torch.randn(2, 9, network.config.hidden_size)
    hidden = network.backbone(inputs_embeds=embeds).last_hidden_state
    scores = plain(inputs_embeds=embeds).logits

    assert scores.shape[-1] == ROWS + SPEECH + 2
    assert not plain.config.tie_word_embeddings, "a server would take the table for the head"
    torch.testing.assert_close(scores[..., :ROWS], network.text_logits(hidden))
    speech = scores[..., ROWS : ROWS + SPEECH] + network.speech_head.bias
    torch.testing.assert_close(speech, network.speech_logits(hidden))
    assert not scores[..., -2:].any(), "the marks of the user's audio are never predicted"


@torch.inference_mode()
def test_one_table_embeds_as_the_two_do(network: Any, directory: Path, tmp_path: Path) -> None:
    plain = served(directory, tmp_path / "out")
    ids = torch.arange(network.config.vocab.audio_placeholder)

    assert torch.equal(plain.get_input_embeddings()(ids), network.embed(ids))
    torch.testing.assert_close(
        plain(ids[None, 290:320]).logits[..., :ROWS],
        network(input_ids=ids[None, 290:320]).logits[..., :ROWS],
    )


@torch.inference_mode()
def test_a_plain_loop_over_the_merged_model_writes_what_the_engine_writes(
    network: Any, directory: Path, tmp_path: Path
) -> None:
    plain = served(directory, tmp_path / "out")
    prompt, greedy = (5, 9, 200, 17), Sampler(Sampling(temperature=0), 0)
    words = [
        token.id
        for token in Engine(network).start(
            Prompt(prompt), Decoding.of(network.config.vocab, speaks=False, max_tokens=5), greedy
        )
    ]
    first, network.config.llm.eos_token_id = words[0], words[4]
    decoding = Decoding.of(
        network.config.vocab,
        speaks=True,
        thinks=lambda token: "<think></think>" if token == first else "x",
        max_tokens=30,
    )
    tokens = list(Engine(network).start(Prompt(prompt), decoding, greedy))

    ids, bias = list(prompt), torch.zeros(ROWS + SPEECH + 2)
    bias[ROWS:-2] = network.speech_head.bias
    while not decoding.is_done:
        scores = plain(torch.tensor([ids])).logits[0, -1] + bias
        half = slice(0, ROWS) if decoding.head is Head.TEXT else slice(ROWS, ROWS + SPEECH)
        ids.append(half.start + greedy.draw(scores[half], decoding.rule()))
        decoding = decoding.after(ids[-1])

    assert [token.id for token in tokens] == ids[len(prompt) :]
    assert {token.phase for token in tokens} == {Phase.THINK, Phase.TEXT, Phase.SPEECH}


def test_the_ears_hear_and_embed_without_a_layer_of_the_language_model(
    network: Any, directory: Path
) -> None:
    ears = load_ears(directory)
    features = torch.randn(1, 50, 80)
    ids = torch.arange(network.config.vocab.audio_placeholder)

    assert ears.config.vocab == network.config.vocab
    with torch.inference_mode():
        assert torch.equal(ears.hear(features)[0], network.hear(features)[0])
        assert torch.equal(ears.embed(ids), network.embed(ids))
    assert not [name for name, _ in ears.named_parameters() if ".layers." in name and "llm" in name]
    assert torch.equal(ears.speech_head.bias, network.speech_head.bias)


def test_a_bias_that_no_request_carries_is_refused(network: Any) -> None:
    with torch.no_grad():
        network.speech_head.bias[3] = -101.0
    with pytest.raises(CheckpointError, match="reaches 101"):
        merged(network)


def test_a_folder_that_is_there_is_not_written_over(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x", "utf-8")
    with pytest.raises(ConfigError, match="there already"):
        export(directory, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "out"]


def test_damaged_ears_are_refused(directory: Path) -> None:
    (shard,) = directory.glob("model*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-400])
    with pytest.raises(CheckpointError, match="damaged"):
        load_ears(directory)
    shard.unlink()
    with pytest.raises(CheckpointError, match="missing"):
        load_ears(directory)
