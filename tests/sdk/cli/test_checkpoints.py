"""`echat models convert` and `echat voices`, on small checkpoints with every released name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from echat_sdk import cli
from echat_sdk.io.wav import write_audio
from echat_sdk.model import checkpoint_folder
from echat_sdk.model.echat.synthetic import small_config, write_checkpoint
from echat_sdk.model.echat.token2wav.synthetic import synthetic_voice, tiny_config, write_synthetic


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECHAT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A converted checkpoint named `tiny`, with a voice named `ada`."""
    released = write_checkpoint(tmp_path / "tag_think_final.safetensors", config=small_config())
    assert cli.run(["models", "convert", str(released), "tiny"]) == 0
    capsys.readouterr()
    folder = checkpoint_folder("tiny")
    assert folder is not None
    config = tiny_config()
    write_synthetic(folder / "token2wav", config)
    synthetic_voice(config).save(folder / "token2wav" / "voices", "ada")
    return folder


def test_a_released_file_becomes_a_checkpoint_of_its_name(converted: Path, home: Path) -> None:
    assert converted == home / "checkpoints" / "tiny"
    assert json.loads((converted / "echat.json").read_text())["think"] == "tag"
    assert (converted / "model.safetensors").is_file()


def test_a_checkpoint_made_here_is_listed(
    converted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["models", "list"]) == 0
    assert "tiny" in capsys.readouterr().out


def test_json_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    released = write_checkpoint(tmp_path / "infer.safetensors", "osum", small_config("osum"))
    assert cli.run(["models", "convert", str(released), "osum", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kind"] == "osum"
    assert told["tensors"] > 100


def test_a_pickle_is_opened_only_on_consent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    released = write_checkpoint(tmp_path / "infer.pt", config=small_config())
    assert cli.run(["models", "convert", str(released), "x"]) == 3
    assert "--allow-pickle" in capsys.readouterr().err
    assert cli.run(["models", "convert", str(released), "x", "--allow-pickle"]) == 0


@pytest.mark.parametrize(
    ("content", "told"), [(b"", "is empty"), (b"hello", "not a checkpoint"), (b"PK", "open")]
)
def test_what_is_no_checkpoint_is_told_in_a_line(
    content: bytes, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    assert cli.run(["models", "convert", str(tmp_path / "x.pt"), "x", "--allow-pickle"]) == 3
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_checkpoint_is_not_written_over_another(
    converted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    released = tmp_path / "tag_think_final.safetensors"
    assert cli.run(["models", "convert", str(released), "tiny"]) == 2
    assert "there already" in capsys.readouterr().err


def test_the_voices_of_a_checkpoint_are_listed(
    converted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["voices", "list", "--model", "tiny"]) == 0
    assert capsys.readouterr().out.split() == ["ada", "test"]
    assert cli.run(["voices", "list", "--model", "echat-lite"]) == 2


def test_a_voice_needs_the_networks_of_the_release(
    converted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = tmp_path / "clip.wav"
    write_audio(clip, np.ones(64_000, np.int16), 16_000)
    assert cli.run(["voices", "add", "eve", str(clip), "--model", "tiny"]) == 3
    assert "speech_tokenizer_v1.onnx" in capsys.readouterr().err
    assert cli.run(["voices", "add", "../eve", str(clip), "--model", "tiny"]) == 2


def test_a_checkpoint_without_a_tokenizer_says_what_to_do(
    converted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["say", "hello", "--out", "x.wav", "--model", "tiny"]) == 3
    assert "tokenizer.json" in capsys.readouterr().err


def test_the_language_model_is_written_for_another_server(
    converted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served = tmp_path / "served"
    assert cli.run(["models", "export", str(converted), str(served), "--for", "vllm"]) == 0
    assert "vllm serve" in capsys.readouterr().out
    config = json.loads((served / "config.json").read_text())
    assert config["architectures"] == ["Qwen2ForCausalLM"]


@pytest.mark.parametrize(
    ("arguments", "complaint", "code"),
    [
        (["nowhere", "out", "--for", "vllm"], "no checkpoint nowhere", 3),
        (["tiny", "out", "--for", "onnx"], "export is for vllm", 2),
    ],
)
@pytest.mark.usefixtures("converted")
def test_an_export_that_cannot_be_is_told(
    arguments: list[str], complaint: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["models", "export", *arguments]) == code
    assert complaint in " ".join(capsys.readouterr().err.split())
