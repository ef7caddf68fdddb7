"""Voices: made from a recording, kept in files, refused when they cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.errors import AudioFormatError, CheckpointError, ConfigError
from echat_sdk.model.cascade.onnx_wire import field
from echat_sdk.model.echat.token2wav import (
    SpeakerEncoder,
    SpeechTokenizer,
    VoicePrompt,
    make_voice,
    spk2info_voices,
)
from echat_sdk.model.echat.token2wav.prompt_audio import resample
from echat_sdk.model.echat.token2wav.synthetic import synthetic_voice, tiny_config
from echat_sdk.model.echat.token2wav.voices import voice_file, voice_names

_FLOAT, _INT32 = 1, 6


def number(key: int, value: int) -> bytes:
    """A protobuf integer field, of a value below 128 or 7 more bits."""
    low = bytes([value]) if value < 128 else bytes([value & 127 | 128, value >> 7])
    return bytes([key << 3]) + low


def ints(name: str, *values: int) -> bytes:
    """An attribute that is a list of integers."""
    return field(1, name.encode()) + b"".join(number(8, v) for v in values) + _kind(7)


def integer(name: str, value: int) -> bytes:
    """An attribute that is an integer."""
    return field(1, name.encode()) + number(3, value) + _kind(2)


def _kind(value: int) -> bytes:
    return b"\xa0\x01" + bytes([value])


def node(op: str, takes: Sequence[str], makes: str, *attributes: bytes) -> bytes:
    """A NodeProto."""
    body = b"".join(field(1, name.encode()) for name in takes) + field(2, makes.encode())
    return body + field(4, op.encode()) + b"".join(field(5, a) for a in attributes)


def value(name: str, kind: int, rank: int) -> bytes:
    """A ValueInfoProto with free sizes."""
    shape = b"".join(field(1, field(2, f"{name}{axis}".encode())) for axis in range(rank))
    return field(1, name.encode()) + field(2, field(1, number(1, kind) + field(2, shape)))


def onnx(nodes: list[bytes], inputs: list[bytes], output: bytes) -> bytes:
    """A ModelProto of operator set 10."""
    graph = b"".join(field(1, body) for body in nodes) + field(2, b"g")
    graph += b"".join(field(11, body) for body in inputs) + field(12, output)
    return number(1, 7) + field(7, graph) + field(8, number(2, 10))


def write_tokenizer(path: Path, hop: int) -> Path:
    """A code for every `hop` mel frames, from their loudness; inputs have names of no meaning."""
    nodes = [
        node("AveragePool", ["q"], "p", ints("kernel_shape", hop), ints("strides", hop)),
        node("ReduceMean", ["p"], "m", ints("axes", 1), integer("keepdims", 0)),
        node("Abs", ["m"], "a"),
        node("Cast", ["a"], "i", integer("to", _INT32)),
        node("Cast", ["b"], "j", integer("to", _INT32)),
        node("Add", ["i", "j"], "k"),
        node("Sub", ["k", "j"], "codes"),
    ]
    inputs = [value("q", _FLOAT, 3), value("b", _INT32, 1)]
    path.write_bytes(onnx(nodes, inputs, value("codes", _INT32, 2)))
    return path


def write_speaker(path: Path, missing: int) -> Path:
    """The mean filterbank, filled up to a vector with zeros."""
    nodes = [
        node("ReduceMean", ["z"], "m", ints("axes", 1), integer("keepdims", 0)),
        node("Pad", ["m"], "vector", ints("pads", 0, 0, 0, missing)),
    ]
    path.write_bytes(onnx(nodes, [value("z", _FLOAT, 3)], value("vector", _FLOAT, 2)))
    return path


@pytest.fixture
def tokenizer(tmp_path: Path) -> SpeechTokenizer:
    return SpeechTokenizer(write_tokenizer(tmp_path / "speech_tokenizer_v1.onnx", 4))


@pytest.fixture
def speaker(tmp_path: Path) -> SpeakerEncoder:
    return SpeakerEncoder(write_speaker(tmp_path / "campplus.onnx", 112))


def tone(seconds: float, rate: int) -> torch.Tensor:
    return 0.3 * torch.sin(torch.arange(int(seconds * rate)) * (2 * torch.pi * 200 / rate))


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100])
def test_a_voice_is_made_from_a_recording(
    tokenizer: SpeechTokenizer, speaker: SpeakerEncoder, rate: int
) -> None:
    voice = make_voice(tone(2.0, rate), rate, tokenizer, speaker)
    assert voice.tokens.shape == (50,)
    assert voice.mel.shape == (44_100 // 256, 80)
    assert voice.xvector.shape == (192,)
    voice.check(tiny_config().flow)


def test_a_voice_is_prompted_with_the_recordings_start(
    tokenizer: SpeechTokenizer, speaker: SpeakerEncoder
) -> None:
    chance = torch.Generator().manual_seed(0)
    recording = torch.cat([tone(1.0, 16_000), 0.1 * torch.randn(16_000, generator=chance)])
    whole = make_voice(recording, 16_000, tokenizer, speaker)
    short = make_voice(recording, 16_000, tokenizer, speaker, prompt=1.0)
    assert (len(whole.tokens), len(short.tokens)) == (50, 25)
    assert len(short.mel) == 22_050 // 256
    assert torch.equal(whole.xvector, short.xvector)
    with pytest.raises(ConfigError, match=r"a prompt of 0\.1 s"):
        make_voice(recording, 16_000, tokenizer, speaker, prompt=0.1)


def test_the_tokenizer_of_the_50_hertz_model_is_refused(
    tmp_path: Path, speaker: SpeakerEncoder
) -> None:
    fast = SpeechTokenizer(write_tokenizer(tmp_path / "speech_tokenizer_v1.onnx", 2))
    with pytest.raises(CheckpointError, match=r"50\.0 codes a second, expected 25"):
        make_voice(tone(2.0, 16_000), 16_000, fast, speaker)


def test_a_speaker_network_of_another_size_is_refused(
    tmp_path: Path, tokenizer: SpeechTokenizer
) -> None:
    small = SpeakerEncoder(write_speaker(tmp_path / "campplus.onnx", 100))
    with pytest.raises(CheckpointError, match="gives 180 numbers, expected 192"):
        make_voice(tone(1.0, 16_000), 16_000, tokenizer, small)


@pytest.mark.parametrize(
    ("wave", "told"),
    [
        (tone(30.1, 16_000), r"30\.1 s"),
        (tone(0.2, 16_000), r"0\.2 s"),
        (torch.zeros(16_000), "silent"),
        (torch.full((16_000,), float("inf")), "not finite"),
        (torch.zeros(2, 16_000), "not mono"),
    ],
)
def test_what_is_no_recording_of_a_voice_is_refused(
    tokenizer: SpeechTokenizer, speaker: SpeakerEncoder, wave: torch.Tensor, told: str
) -> None:
    with pytest.raises(AudioFormatError, match=told):
        make_voice(wave, 16_000, tokenizer, speaker)


def test_a_file_that_is_not_the_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a network")
    with pytest.raises(CheckpointError, match=r"broken\.onnx cannot be read"):
        SpeakerEncoder(tmp_path / "broken.onnx")
    with pytest.raises(CheckpointError, match=r"gone\.onnx cannot be read"):
        SpeakerEncoder(tmp_path / "gone.onnx")
    with pytest.raises(CheckpointError, match="takes 1 inputs, expected 2"):
        SpeechTokenizer(write_speaker(tmp_path / "swapped.onnx", 112))


def test_a_voice_survives_its_file(tmp_path: Path) -> None:
    voice = synthetic_voice(tiny_config())
    voice.save(tmp_path / "voices", "warm-1")
    again = VoicePrompt.read(tmp_path / "voices", "warm-1")
    assert voice_names(tmp_path / "voices") == ["warm-1"]
    for name in ("tokens", "mel", "xvector"):
        assert torch.equal(getattr(voice, name), getattr(again, name))


@given(st.text() | st.sampled_from(["../x", "a/b", "a\\b", ".hidden", "", "a\x00", "x\n", "-o"]))
def test_no_name_escapes_its_directory(name: str) -> None:
    directory = Path("/voices")
    try:
        path = voice_file(directory, name)
    except ConfigError:
        return
    assert path.parent == directory
    assert path.name == f"{name}.safetensors"
    assert not set(name) & set("/\\\x00\n")


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", ".hidden", "", "a\x00", "x\n", "a" * 65])
def test_a_name_that_is_a_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be named"):
        VoicePrompt.read(tmp_path, name)


def test_a_file_that_is_no_voice_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weights": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="is not a voice"):
        VoicePrompt.read(tmp_path, "other")


def test_released_speakers_become_voices_without_a_recording() -> None:
    voices = spk2info_voices({"warm": {"embedding": torch.ones(1, 192)}})
    voices["warm"].check(tiny_config().flow)
    assert len(voices["warm"].tokens) == 0
    with pytest.raises(CheckpointError, match="without an embedding: cold"):
        spk2info_voices({"cold": {}})


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_a_tone_and_its_length(rate: int) -> None:
    ours = resample(tone(0.5, rate), rate, 16_000)
    assert len(ours) == 8_000
    torch.testing.assert_close(ours[200:-200], tone(0.5, 16_000)[200:-200], atol=2e-3, rtol=0)
