"""`echat models pull` of what others released, from a hub on loopback to a model that answers.

The releases are random and tiny, with every released name, the released formats and Qwen's ids.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from echat_sdk import cli
from echat_sdk.cues import Cues, ReplyEmotion
from echat_sdk.errors import CheckpointError, ConfigError, ModelMissingError
from echat_sdk.io.wav import write_audio
from echat_sdk.model import checkpoint_folder, echat, load_model, web, zoo
from echat_sdk.model.echat import convert, install
from echat_sdk.model.echat.configuration import EChatConfig
from echat_sdk.model.echat.synthetic import small_config, write_checkpoint, write_cosyvoice
from echat_sdk.model.echat.token2wav.synthetic import synthetic_voice, tiny_config
from echat_sdk.model.echat.token2wav.token2wav import Token2Wav
from echat_sdk.model.manifest import read_manifest
from echat_sdk.turn import Delta, Heard, Recollection, TextDelta, ThinkDelta, Thought

MANIFEST = """
[parts.weights]
licence = "Apache-2.0"
hub = "ASLP-lab/OSUM-EChat@main"
[[parts.weights.files]]
name = "tag_think_final.pt"
size = 7_000

[parts.voice]
licence = "Apache-2.0"
hub = "ASLP-lab/OSUM-EChat@main"
[[parts.voice.files]]
name = "CosyVoice-300M-25Hz.tar"
size = 3_000
[[parts.voice.files]]
name = "prompt.wav"
optional = true

[parts.vocabulary]
licence = "Apache-2.0"
hub = "Qwen/Qwen2.5@main"
[[parts.vocabulary.files]]
name = "tokenizer.json"

[models.osum-echat-tag]
summary = "OSUM-EChat."
languages = ["zh", "en"]
tasks = ["asr"]
converts = "osum-echat"
release = ["weights", "voice", "vocabulary"]
"""
PULL = ["models", "pull", "osum-echat-tag", "--allow-pickle"]
MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


@dataclass(frozen=True)
class Release:
    """The released files' bytes; only `weights` has a row for each of Qwen's ids."""

    weights: bytes
    small: bytes
    voice: bytes
    vocabulary: bytes
    osum: bytes


def _network() -> EChatConfig:
    """As narrow as a network with all of Qwen's rows can be."""
    config = small_config(vocab_size=151_936)
    llm = {**config.llm.to_dict(), "hidden_size": 64, "num_attention_heads": 1}
    return EChatConfig(encoder=config.encoder.to_dict(), adapter=config.adapter.to_dict(), llm=llm)


def _vocabulary() -> bytes:
    """One id a byte, as many of no use as Qwen has of use, and the chat marks at their ids."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = letters + [f"{i}\N{REPLACEMENT CHARACTER}" for i in range(151_643 - len(letters))]
    tokenizer = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    return str(tokenizer.to_str()).encode()


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("release")
    return Release(
        write_checkpoint(folder / "tag.pt", config=_network()).read_bytes(),
        write_checkpoint(folder / "small.pt").read_bytes(),
        write_cosyvoice(folder / "voice.tar").read_bytes(),
        _vocabulary(),
        write_checkpoint(folder / "osum.pt", "osum").read_bytes(),
    )


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and a zoo of one released model with a tiny voice."""
    manifest = tmp_path / "zoo.toml"
    manifest.write_text(MANIFEST)
    parts, cards = read_manifest(manifest)
    monkeypatch.setattr(zoo, "PARTS", parts)
    monkeypatch.setattr(zoo, "MODELS", cards)
    monkeypatch.setattr(web, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(install, "TOKEN2WAV_CONFIG", tiny_config())
    monkeypatch.setenv("ECHAT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ECHAT_MODEL_DIR", raising=False)
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Runs the child's program in this process, and opens a whole vocabulary in one test only."""
    if "as_it_is" in request.fixturenames:
        return
    request.getfixturevalue("unpickled_here")
    save = convert.save_processor

    def save_small(folder: Path, config: EChatConfig, tokenizer: Path) -> tuple[str, ...]:
        return () if tokenizer.stat().st_size > 1000 else save(folder, config, tokenizer)

    monkeypatch.setattr(convert, "save_processor", save_small)


@pytest.fixture
def as_it_is() -> None:
    """Nothing is made quicker."""


@pytest.fixture
def hub(model_hub: Any, release: Release) -> Any:
    """The hub with everything that a small model is made of."""
    osum = "ASLP-lab/OSUM-EChat"
    model_hub.commit(osum, tag_think_final__pt=release.small)
    model_hub.commit(osum, **{"CosyVoice-300M-25Hz__tar": release.voice})
    model_hub.commit("Qwen/Qwen2.5", small=True, tokenizer__json=release.vocabulary)
    return model_hub


def _bytes_asked(hub: Any) -> list[str]:
    return [ask for ask in hub.asked if "blob" in ask]


@pytest.mark.timeout(60)  # two child processes import torch
@pytest.mark.usefixtures("as_it_is")
def test_a_pulled_release_answers(
    hub: Any, home: Path, release: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.commit("ASLP-lab/OSUM-EChat", tag_think_final__pt=release.weights)
    assert cli.run(PULL) == 0
    assert "osum-echat-tag is here: " in capsys.readouterr().err
    folder = home / "checkpoints" / "osum-echat-tag"
    assert checkpoint_folder("osum-echat-tag") == folder
    model = load_model("osum-echat-tag", threads=1)
    answer = model.read("hi", Cues()).reply(Recollection(), speak=False)
    heard, first = next(answer), next(answer)
    assert isinstance(heard, Heard)
    assert heard.transcript == "hi"
    assert isinstance(first, TextDelta | ThinkDelta | Thought)
    cast(Generator[Delta], answer).close()
    spoken = model.say("hi", emotion=ReplyEmotion.NEUTRAL)
    assert len(next(spoken).samples) > 0
    cast(Generator[Delta], spoken).close()


def test_without_consent_nothing_is_fetched(hub: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(PULL[:-1]) == 3
    error = capsys.readouterr().err
    assert "pickle" in error
    assert "run: echat models pull osum-echat-tag --allow-pickle" in error
    assert hub.asked == []


def test_a_pulled_release_is_known_to_every_command(
    hub: Any, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["models", "path", "osum-echat-tag"]) == 3
    assert cli.run(["models", "verify", "osum-echat-tag"]) == 3
    assert cli.run(PULL) == 0
    folder = home / "checkpoints" / "osum-echat-tag"
    capsys.readouterr()
    assert cli.run(["models", "path", "osum-echat-tag"]) == 0
    assert capsys.readouterr().out == f"{folder}\n"
    assert cli.run(["models", "verify", "osum-echat-tag"]) == 0
    assert cli.run(["models", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert [(card["name"], card["here"]) for card in listed] == [("osum-echat-tag", True)]
    for command in (["models", "list"], ["models", "info", "osum-echat-tag"]):
        assert cli.run(command) == 0
        assert "yes" in capsys.readouterr().out
    assert cli.run(["voices", "list", "--model", "osum-echat-tag"]) == 0
    assert "中文女" in capsys.readouterr().out


def test_the_released_files_go_when_they_are_converted_and_what_they_were_stays(
    hub: Any, home: Path, release: Release
) -> None:
    zoo.pull("osum-echat-tag", allow_pickle=True)
    assert list((home / "blobs").iterdir()) == []
    assert list((home / "parts").iterdir()) == []
    assert list((home / "downloads").iterdir()) == []
    told = json.loads((home / "checkpoints" / "osum-echat-tag" / "release.json").read_text())
    pin = told["tag_think_final.pt"]
    assert pin["sha256"] == hashlib.sha256(release.small).hexdigest()
    assert pin["size"] == len(release.small)
    assert len(pin["commit"]) == 40
    hub.asked.clear()
    again = zoo.pull("osum-echat-tag")  # which needs neither consent nor the hub
    assert (again.fetched, again.converted, hub.asked) == ((), (), [])


def test_kept_files_are_converted_again_without_the_hub(hub: Any, home: Path) -> None:
    zoo.pull("osum-echat-tag", allow_pickle=True, keep=True)
    assert zoo.verify("osum-echat-tag") == []
    shutil.rmtree(home / "checkpoints")
    hub.down = True
    hub.asked.clear()
    report = zoo.pull("osum-echat-tag", allow_pickle=True)
    assert (report.fetched, report.converted) == ((), ("osum-echat-tag",))
    assert list((home / "blobs").iterdir()) == []


def test_a_disk_that_is_too_small_for_the_conversion_is_told_before_a_byte_is_fetched(
    hub: Any, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = len(release.small) + len(release.voice)
    needed = files + 2 * len(release.small) + len(release.voice)
    usage = shutil.disk_usage("/")._replace(free=needed - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ModelMissingError, match="not enough disk space"):
        zoo.pull("osum-echat-tag", allow_pickle=True)
    assert _bytes_asked(hub) == []
    usage = usage._replace(free=needed)
    zoo.pull("osum-echat-tag", allow_pickle=True)


@pytest.mark.parametrize("moment", ["network", "voice"])
def test_a_conversion_that_was_interrupted_is_taken_up(
    hub: Any, home: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    whole = install.convert

    def killed(source: Path, out: Path, **options: Any) -> Any:
        if (options["kind"] == "cosyvoice") == (moment == "voice"):
            out.mkdir()
            (out.parent / "echat-left").mkdir()  # what a process that was killed leaves
            raise KeyboardInterrupt
        return whole(source, out, **options)

    with monkeypatch.context() as patch:
        patch.setattr(install, "convert", killed)
        assert cli.run(PULL) == 130
    assert checkpoint_folder("osum-echat-tag") is None
    hub.asked.clear()
    assert cli.run(PULL) == 0
    assert _bytes_asked(hub) == []
    assert zoo.verify("osum-echat-tag") == []
    assert list((home / "downloads").iterdir()) == []


def test_a_download_that_was_interrupted_says_how_to_go_on(
    hub: Any, release: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.cuts = [10_000, 0, 0, 0, 0]
    assert cli.run(PULL) == 3
    assert "what was fetched is kept" in capsys.readouterr().err
    hub.cuts.clear()
    hub.asked.clear()
    assert cli.run(PULL) == 0
    assert _bytes_asked(hub) == ["GET blob bytes=10000-", "GET blob"]


def test_a_damaged_checkpoint_is_mended_and_keeps_the_users_voices(hub: Any, home: Path) -> None:
    zoo.pull("osum-echat-tag", allow_pickle=True)
    folder = zoo.checkpoint("osum-echat-tag")
    mine = synthetic_voice(tiny_config()).save(folder / "token2wav" / "voices", "mine")
    (folder / "model.safetensors").write_bytes(b"damaged")
    (problem,) = zoo.verify("osum-echat-tag")
    assert (problem.kind, problem.file) == ("damaged", "model.safetensors")
    with pytest.raises(CheckpointError, match="echat models pull osum-echat-tag --allow-pickle"):
        zoo.checkpoint("osum-echat-tag")
    zoo.pull("osum-echat-tag", allow_pickle=True)
    assert zoo.verify("osum-echat-tag") == []
    assert mine.is_file()
    mine.unlink()
    assert zoo.verify("osum-echat-tag") == []


def test_a_release_that_changed_is_taken_only_when_asked_for(
    hub: Any, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(PULL) == 0
    newer = write_checkpoint(tmp_path / "newer.pt", seed=9).read_bytes()
    hub.commit("ASLP-lab/OSUM-EChat", tag_think_final__pt=newer)
    before = (zoo.checkpoint("osum-echat-tag") / "model.safetensors").read_bytes()
    shutil.rmtree(home / "checkpoints")
    assert cli.run(PULL) == 3
    error = capsys.readouterr().err
    assert "no longer what it was at the first pull" in error
    assert "echat models pull osum-echat-tag --update --allow-pickle" in error
    assert cli.run([*PULL, "--update"]) == 0
    assert (zoo.checkpoint("osum-echat-tag") / "model.safetensors").read_bytes() != before
    assert zoo.pull("osum-echat-tag", allow_pickle=True, update=True).converted == ()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("another hash", "another sha256"),
        ("a contradiction", "contradicts itself"),
        ("cut short", "has fewer bytes than it told"),
        ("another model", r"no checkpoint of OSUM or OSUM-EChat: it holds model\.embed"),
        ("another kind", "is a checkpoint of osum, not of osum-echat"),
        ("a missing tensor", r"does not fit the network\. 1 missing: speech_head\.bias"),
        ("half a file", "is damaged"),
        ("a program", "asks for more than tensors"),
        ("another voice", "does not fit the network"),
        ("another vocabulary", "holds no tokenizer"),
        ("no hub", "cannot ask the hub about .* 503"),
    ],
)
def test_what_is_wrong_with_a_release_is_told_in_a_line_and_nothing_is_installed(
    hub: Any,
    home: Path,
    release: Release,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    fault: str,
    told: str,
) -> None:
    hub.down = fault == "no hub"
    weights = "tag_think_final.pt"
    wrong: dict[str, Any] = {
        "another model": {"model.embed_tokens.weight": torch.zeros(4, 2)},
        "a program": {"a": torch.zeros(2), "b": Path()},
    }
    match fault:
        case "another hash":
            hub.lies[weights] = "0" * 64
        case "a contradiction":
            hub.pointers[weights] = b"no pointer"
        case "cut short":
            hub.short = 100
        case "another kind":
            hub.commit("ASLP-lab/OSUM-EChat", tag_think_final__pt=release.osum)
        case "half a file":
            hub.commit("ASLP-lab/OSUM-EChat", tag_think_final__pt=release.small[:90_000])
        case "another model" | "a program":
            torch.save(wrong[fault], tmp_path / "wrong.pt")
            data = (tmp_path / "wrong.pt").read_bytes()
            hub.commit("ASLP-lab/OSUM-EChat", tag_think_final__pt=data)
        case "a missing tensor":
            state = torch.load(io.BytesIO(release.small), weights_only=True)
            del state["speech_head.bias"]
            torch.save(state, tmp_path / "wrong.pt")
            data = (tmp_path / "wrong.pt").read_bytes()
            hub.commit("ASLP-lab/OSUM-EChat", tag_think_final__pt=data)
        case "another voice":
            other = write_cosyvoice(tmp_path / "other.tar", tiny_config(64)).read_bytes()
            hub.commit("ASLP-lab/OSUM-EChat", **{"CosyVoice-300M-25Hz__tar": other})
        case "another vocabulary":
            hub.commit("Qwen/Qwen2.5", small=True, tokenizer__json=b"{}")
    assert cli.run(PULL) == 3
    error = capsys.readouterr().err
    last = error.strip().splitlines()[-1]
    assert last.startswith("echat: ")
    assert re.search(told, last)
    assert "Traceback" not in error
    assert checkpoint_folder("osum-echat-tag") is None
    assert list((home / "checkpoints").glob("*")) == []


def test_the_recording_of_a_release_becomes_its_first_voice(
    hub: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "SpeechTokenizer", lambda _: lambda heard: torch.arange(25))
    monkeypatch.setattr(install, "SpeakerEncoder", lambda _: lambda heard: torch.ones(192))
    write_audio(tmp_path / "prompt.wav", np.arange(16_000, dtype=np.int16), 16_000)
    recording = (tmp_path / "prompt.wav").read_bytes()
    hub.commit("ASLP-lab/OSUM-EChat", small=True, prompt__wav=recording)
    assert zoo.pull("osum-echat-tag", allow_pickle=True).notes == ()
    voice = Token2Wav.load(zoo.checkpoint("osum-echat-tag") / "token2wav")
    assert voice.voice_names() == ["osum-echat", "中文女"]
    assert voice.voice("osum-echat").tokens.tolist() == list(range(25))
    assert voice.voice("osum-echat").mel.abs().max() > 1


def test_a_release_without_any_voice_says_how_to_get_one(
    hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "spk2info_voices", lambda table: {})
    (note,) = zoo.pull("osum-echat-tag", allow_pickle=True).notes
    assert "echat voices add NAME clip.wav" in note


@pytest.mark.parametrize("recording", [b"RIFF", b"", bytes(1000)])
def test_a_recording_that_is_none_costs_a_voice_and_not_the_model(
    hub: Any, capsys: pytest.CaptureFixture[str], recording: bytes
) -> None:
    hub.commit("ASLP-lab/OSUM-EChat", small=True, prompt__wav=recording)
    assert cli.run(PULL) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "note: no voice from prompt.wav: no plain WAV file" in told
    assert "echat voices add NAME clip.wav" in told


def test_a_checkpoint_that_was_converted_by_hand_is_left_alone(
    hub: Any, home: Path, release: Release, tmp_path: Path
) -> None:
    folder = home / "checkpoints" / "osum-echat-tag"
    folder.mkdir(parents=True)
    (folder / "echat.json").write_text("{}")
    for ask in (zoo.pull, zoo.verify):
        with pytest.raises(ConfigError, match="was converted from a file of yours"):
            ask("osum-echat-tag")
    assert zoo.checkpoint("osum-echat-tag") == folder


def test_a_python_without_torch_is_told_before_a_byte_is_fetched(
    hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(echat, "install")
    monkeypatch.setitem(sys.modules, "echat_sdk.model.echat.install", None)
    with pytest.raises(ModelMissingError, match=r"echat-sdk\[echat\]"):
        zoo.pull("osum-echat-tag", allow_pickle=True)
    assert hub.asked == []
