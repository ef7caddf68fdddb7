"""Dictionaries and directories: what fits is loaded whole, what does not is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from echat_sdk.errors import CheckpointError
from echat_sdk.model.echat.token2wav import Token2Wav, Token2WavConfig, convert_cosyvoice
from echat_sdk.model.echat.token2wav.checkpoint import fold_weight_norms
from echat_sdk.model.echat.token2wav.synthetic import (
    Spelling,
    synthetic_states,
    tiny_config,
    write_synthetic,
)

CONFIG = tiny_config()


@pytest.mark.parametrize("spelling", ["parametrizations", "weight_g"])
def test_weight_norms_fold_to_what_torch_computes(spelling: Spelling) -> None:
    _, spelt = synthetic_states(CONFIG, spelling=spelling)
    stem = "ups.0.parametrizations.weight.original" if spelling != "weight_g" else "ups.0.weight_"
    length, direction = (spelt[stem + half] for half in ("01" if spelling != "weight_g" else "gv"))
    spelt[stem + ("0" if spelling != "weight_g" else "g")] = 2 * length
    folded = fold_weight_norms(spelt)["ups.0.weight"]
    wanted = torch._weight_norm(direction, 2 * length, 0)
    torch.testing.assert_close(folded, wanted)
    torch.testing.assert_close(folded, 2 * direction)


def test_released_dictionaries_convert_without_a_rest() -> None:
    flow, hift = synthetic_states(CONFIG)
    ours = convert_cosyvoice(flow, {f"generator.{k}": v for k, v in hift.items()}, CONFIG)
    assert ours[0].keys() == flow.keys()
    assert not [name for name in ours[1] if "original" in name or "generator" in name]


def test_every_key_that_does_not_fit_is_named() -> None:
    flow, hift = synthetic_states(CONFIG)
    del flow["encoder_proj.bias"]
    flow["encoder.extra"] = torch.zeros(1)
    flow["input_embedding.weight"] = torch.zeros(3, 16)
    flow["spk_embed_affine_layer.bias"] = torch.full((80,), float("nan"))
    with pytest.raises(CheckpointError) as refused:
        convert_cosyvoice(flow, hift, CONFIG)
    for told in (
        "1 missing: encoder_proj.bias",
        "1 unexpected: encoder.extra",
        "input_embedding.weight (3, 16) for (4096, 16)",
        "1 not finite: spk_embed_affine_layer.bias",
    ):
        assert told in str(refused.value)


def test_a_weight_norm_with_one_half_is_refused() -> None:
    flow, hift = synthetic_states(CONFIG, spelling="weight_g")
    del hift["conv_pre.weight_v"]
    with pytest.raises(CheckpointError, match="only one of their two halves: conv_pre"):
        convert_cosyvoice(flow, hift, CONFIG)


def test_a_vocoder_of_other_sizes_is_refused() -> None:
    flow, hift = synthetic_states(CONFIG)
    with pytest.raises(CheckpointError, match=r"vocoder.*of another shape"):
        convert_cosyvoice(flow, hift, Token2WavConfig(flow=CONFIG.flow))


def test_the_config_survives_its_file(tmp_path: Path) -> None:
    CONFIG.write(tmp_path / "config.json")
    assert Token2WavConfig.read(tmp_path / "config.json") == CONFIG
    assert Token2WavConfig.from_dict({}) == Token2WavConfig()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "cannot be read"),
        ("[]", "holds a list"),
        ('{"flow": {"layers": 3}}', "flow.layers"),
        ('{"vocoder": {"base_channels": 6}}', "vocoder.base_channels"),
    ],
)
def test_a_wrong_config_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=told):
        Token2Wav.load(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "flow.safetensors", "vocoder.safetensors"])
def test_a_directory_without_one_of_its_files_is_refused(tmp_path: Path, name: str) -> None:
    (write_synthetic(tmp_path) / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        Token2Wav.load(tmp_path)


def test_a_truncated_file_is_refused_by_name(tmp_path: Path) -> None:
    path = write_synthetic(tmp_path) / "flow.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"flow\.safetensors cannot be read"):
        Token2Wav.load(tmp_path)


def test_another_models_config_is_refused(tmp_path: Path) -> None:
    path = write_synthetic(tmp_path) / "config.json"
    values = json.loads(path.read_text())
    values["flow"]["encoder_blocks"] = 2
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"missing: encoder\.encoders\.1"):
        Token2Wav.load(tmp_path)


def test_a_directory_lists_and_reads_its_voices(tmp_path: Path) -> None:
    speaker = Token2Wav.load(write_synthetic(tmp_path))
    assert speaker.voice_names() == ["test"]
    assert len(speaker.voice("test").tokens) == 12
    with pytest.raises(CheckpointError, match="there are: test"):
        speaker.voice("nobody")
