"""The zoo: a pull that is interrupted, doubled, short of disk or damaged ends in whole weights."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from echat_sdk.errors import (
    CheckpointError,
    ConfigError,
    ModelMissingError,
)
from echat_sdk.model import cache as cache_module
from echat_sdk.model import zoo
from echat_sdk.model.cascade import gguf
from echat_sdk.model.echat.tasks import TASKS
from echat_sdk.model.fetch import Hub, Packages
from echat_sdk.model.manifest import read_manifest
from echat_sdk.model.pull import Progress

EARS = random.Random(1).randbytes(50_000)
MIND = random.Random(2).randbytes(90_000)
VOICE = random.Random(3).randbytes(20_000)

MANIFEST = """
[parts.ears]
licence = "MIT"
[[parts.ears.files]]
name = "model.bin"
size = {ears_size}
sha256 = "{ears}"
wheels = ["ears-1==1.0:a.bin", "ears-2==1.0:b.bin"]

[parts.mind]
licence = "Apache-2.0"
converted_size = 90_000
[[parts.mind.files]]
name = "mind.gguf"
size = {mind_size}
sha256 = "{mind}"
wheels = ["mind==1.0:mind.gguf"]

[parts.voice]
licence = "Apache-2.0"
[[parts.voice.files]]
name = "voice.onnx"
size = {voice_size}
sha256 = "{voice}"
wheels = ["voice==1.0:voice.onnx"]

[models.small]
summary = "Small."
languages = ["en"]
tasks = ["asr"]
parts = ["ears", "mind"]
voices = ["voice"]

[models.large]
summary = "Large."
languages = ["zh"]
tasks = ["asr", "sap"]
parts = ["voice"]
""".format(
    **{
        key: value
        for name, data in {"ears": EARS, "mind": MIND, "voice": VOICE}.items()
        for key, value in {
            name: hashlib.sha256(data).hexdigest(),
            f"{name}_size": len(data),
        }.items()
    }
)

CONTENTS = {
    "ears-1==1.0": {"a.bin": EARS[:30_000]},
    "ears-2==1.0": {"b.bin": EARS[30_000:]},
    "mind==1.0": {"mind.gguf": MIND},
    "voice==1.0": {"voice.onnx": VOICE},
}


class Registry:
    """Made-up wheels in memory, behind the `Download` seam; `asked` is what was downloaded."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, requirement: str, target: Path, report: Callable[[int], None]) -> None:
        self.asked.append(requirement)
        with zipfile.ZipFile(target / "some.whl", "w") as wheel:
            for name, data in CONTENTS[requirement].items():
                wheel.writestr(name, data)


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Stands in for the converter; lists what it converted."""
    sources: list[Path] = []

    def convert(
        source: Path, target: Path, *, progress: Callable[[float], None] | None = None
    ) -> None:
        sources.append(source)
        target.mkdir(parents=True, exist_ok=True)
        (target / "model.bin").write_bytes(source.read_bytes()[::-1])
        if progress:
            progress(1.0)

    monkeypatch.setattr(gguf, "convert", convert)
    return sources


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, converted: list[Path]) -> Path:
    """An empty home, and a zoo of one small model."""
    manifest = tmp_path / "zoo.toml"
    manifest.write_text(MANIFEST)
    parts, models = read_manifest(manifest)
    monkeypatch.setattr(zoo, "PARTS", parts)
    monkeypatch.setattr(zoo, "MODELS", models)
    monkeypatch.setenv("ECHAT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ECHAT_MODEL_DIR", raising=False)
    return tmp_path / "home"


def _damage(path: Path) -> None:
    """Change one byte and neither the size nor the time of change."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    with path.open("rb+") as file:  # in place: a link's other name is damaged with it
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _must_not_read(*_: object) -> str:
    raise AssertionError("weights were read")


def test_a_pulled_model_is_where_locate_says(home: Path, registry: Registry) -> None:
    report = zoo.pull("small", download=registry)
    assert [fetched.file for fetched in report.fetched] == ["model.bin", "mind.gguf"]
    assert (zoo.locate("ears") / "model.bin").read_bytes() == EARS
    assert (zoo.locate("mind") / "model.bin").read_bytes() == MIND[::-1]
    assert zoo.verify("small") == []
    assert list((home / "downloads").iterdir()) == []


def test_a_second_pull_fetches_converts_and_reads_nothing(
    home: Path, registry: Registry, converted: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo.pull("small", download=registry)
    registry.asked.clear()
    monkeypatch.setattr(cache_module, "sha256_of", _must_not_read)
    report = zoo.pull("small", download=registry)
    assert (registry.asked, report.fetched, report.converted) == ([], (), ())
    assert len(converted) == 1


def test_locate_reads_no_weights(
    home: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo.pull("small", download=registry)
    monkeypatch.setattr(cache_module, "sha256_of", _must_not_read)
    assert zoo.locate("ears").is_dir()
    assert zoo.locate("mind").is_dir()


def test_what_is_not_here_is_told_with_the_command_that_brings_it(home: Path) -> None:
    with pytest.raises(ModelMissingError, match="run: echat models pull small"):
        zoo.locate("ears")
    with pytest.raises(ModelMissingError, match="run: echat models pull large"):
        zoo.locate("voice")
    assert zoo.find("voice") is None
    assert {problem.kind for problem in zoo.verify("small")} == {"missing"}


@pytest.mark.parametrize("ask", [zoo.card, zoo.locate, zoo.verify, zoo.pull])
def test_an_unknown_name_is_told_with_the_closest_and_all_that_there_are(
    home: Path, ask: Callable[[str], object]
) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'small'.*small, large.*ears, mind, voice"):
        ask("smal")


def test_voices_come_only_when_asked_for(home: Path, registry: Registry) -> None:
    zoo.pull("small", download=registry)
    assert "voice==1.0" not in registry.asked
    zoo.pull("small", voices=True, download=registry)
    assert (zoo.locate("voice") / "voice.onnx").read_bytes() == VOICE
    _damage(zoo.locate("voice") / "voice.onnx")
    assert [problem.folder for problem in zoo.verify("small")] == ["voice"]


def test_a_task_is_told_with_the_models_that_do_it(home: Path) -> None:
    assert zoo.models_for_task("sap") == ["large"]
    assert zoo.models_for_task("asr") == ["small", "large"]


@pytest.mark.parametrize("part", ["ears", "mind"])
def test_a_corrupt_file_is_found_and_mended(home: Path, registry: Registry, part: str) -> None:
    zoo.pull("small", download=registry)
    file = zoo.locate(part) / "model.bin"
    good = file.read_bytes()
    _damage(file)
    (problem,) = zoo.verify("small")
    assert (problem.kind, problem.file) == ("damaged", "model.bin")
    with pytest.raises(CheckpointError, match="echat models pull small"):
        zoo.locate(part)
    zoo.pull("small", download=registry)
    assert zoo.verify("small") == []
    assert (zoo.locate(part) / "model.bin").read_bytes() == good


def test_a_corrupt_file_that_was_written_to_is_never_loaded(home: Path, registry: Registry) -> None:
    zoo.pull("small", download=registry)
    (zoo.locate("ears") / "model.bin").write_bytes(EARS[::-1])
    with pytest.raises(CheckpointError, match="damaged"):
        zoo.locate("ears")
    with pytest.raises(CheckpointError):
        zoo.find("ears")


def test_only_what_is_damaged_is_fetched_again(home: Path, registry: Registry) -> None:
    zoo.pull("small", download=registry)
    (zoo.locate("ears") / "model.bin").unlink()
    registry.asked.clear()
    zoo.pull("small", download=registry)
    assert registry.asked == []  # the blob was whole: it only lost its name
    _damage(zoo.locate("ears") / "model.bin")
    zoo.verify("small")
    report = zoo.pull("small", download=registry)
    assert [fetched.part for fetched in report.fetched] == ["ears"]


def test_a_new_converter_converts_what_is_here_and_fetches_nothing(
    home: Path, registry: Registry, converted: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo.pull("small", download=registry)
    registry.asked.clear()
    monkeypatch.setattr(gguf, "CONVERTER_VERSION", gguf.CONVERTER_VERSION + 1)
    with pytest.raises(ModelMissingError):
        zoo.locate("mind")
    assert zoo.pull("small", download=registry).converted == ("mind",)
    assert registry.asked == []
    assert len(converted) == 2


def test_a_conversion_that_is_interrupted_leaves_nothing_that_could_be_loaded(
    home: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = gguf.convert

    def interrupted(source: Path, target: Path, **_: object) -> None:
        target.mkdir()
        (target / "model.bin").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(gguf, "convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        zoo.pull("small", download=registry)
    with pytest.raises(ModelMissingError):
        zoo.locate("mind")
    monkeypatch.setattr(gguf, "convert", whole)
    registry.asked.clear()
    zoo.pull("small", download=registry)
    assert registry.asked == []
    assert (zoo.locate("mind") / "model.bin").read_bytes() == MIND[::-1]


def test_a_converter_that_is_not_installed_is_told_with_the_extra_that_brings_it(
    home: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'ctranslate2'", name="ctranslate2")

    monkeypatch.setattr(gguf, "convert", convert)
    with pytest.raises(ModelMissingError, match=r"ctranslate2 is not installed.*echat-sdk\[lite\]"):
        zoo.pull("small", download=registry)


def test_a_local_folder_named_in_the_environment_is_looked_into_first(
    home: Path, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.bin").write_bytes(EARS)
    monkeypatch.setenv("ECHAT_MODEL_DIR", str(tmp_path))
    report = zoo.pull("ears", download=registry)
    assert [fetched.source for fetched in report.fetched] == ["folder"]
    assert registry.asked == []


def test_progress_names_each_file_and_ends_at_its_size(home: Path, registry: Registry) -> None:
    told: dict[str, Progress] = {}
    zoo.pull("small", download=registry, progress=lambda p: told.update({p.file: p}))
    assert {name: p.done == p.total for name, p in told.items()} == {
        "model.bin": True,
        "mind.gguf": True,
        "converted": True,
    }


def test_too_small_a_disk_is_found_before_anything_is_fetched(
    home: Path, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=99_999)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ModelMissingError, match="not enough disk space"):
        zoo.pull("ears", download=registry)  # 50 kB, and as much for its wheels
    assert registry.asked == []
    usage = usage._replace(free=100_000)
    zoo.pull("ears", download=registry)


def test_a_disk_that_fills_up_meanwhile_is_told_and_what_came_is_kept(
    home: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "_sync", full)
        with pytest.raises(ModelMissingError, match=r"is full.*ECHAT_HOME.*is kept"):
            zoo.pull("ears", download=registry)
    registry.asked.clear()
    zoo.pull("ears", download=registry)
    assert registry.asked == []


def test_a_home_that_cannot_be_written_is_told(home: Path, registry: Registry) -> None:
    home.write_text("a file, not a folder")
    with pytest.raises(ModelMissingError, match="cannot use the model cache"):
        zoo.pull("ears", download=registry)


CHILD = """
import sys, time, zipfile
from pathlib import Path
from echat_sdk.model import zoo
from echat_sdk.model.manifest import read_manifest

manifest, ears, log, wait = map(Path, sys.argv[1:])
zoo.PARTS, zoo.MODELS = read_manifest(manifest)
data = ears.read_bytes()
halves = {"ears-1==1.0": ("a.bin", data[:30_000]), "ears-2==1.0": ("b.bin", data[30_000:])}

def download(requirement, target, report):
    with log.open("a") as file:
        file.write(requirement + "\\n")
    while requirement == "ears-2==1.0" and wait.exists():
        time.sleep(0.01)
    with zipfile.ZipFile(target / "some.whl", "w") as wheel:
        wheel.writestr(*halves[requirement])

zoo.pull("ears", download=download)
print("ready")
"""


@pytest.fixture
def child(home: Path, tmp_path: Path) -> Callable[[], subprocess.Popen[str]]:
    """Starts a process that pulls `ears`; it waits in the second wheel while `wait` exists."""
    (tmp_path / "ears").write_bytes(EARS)
    names = ("zoo.toml", "ears", "log", "wait")
    command = [sys.executable, "-c", CHILD, *(str(tmp_path / name) for name in names)]

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    return start


def _wait_for(log: Path, lines: int) -> None:
    deadline = time.monotonic() + 15
    while not log.exists() or len(log.read_text().splitlines()) < lines:
        assert time.monotonic() < deadline, "the child did not start"
        time.sleep(0.02)


def test_two_pulls_at_once_wait_for_each_other(
    child: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    (tmp_path / "wait").touch()
    first = child()
    _wait_for(tmp_path / "log", 2)
    second = child()
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(timeout=1)
    (tmp_path / "wait").unlink()
    assert [process.communicate(timeout=15)[0] for process in (first, second)] == ["ready\n"] * 2
    assert (tmp_path / "log").read_text().splitlines() == ["ears-1==1.0", "ears-2==1.0"]
    assert zoo.verify("ears") == []


def test_a_pull_that_was_killed_is_taken_up_where_it_was(
    child: Callable[[], subprocess.Popen[str]], tmp_path: Path, registry: Registry
) -> None:
    (tmp_path / "wait").touch()
    process = child()
    _wait_for(tmp_path / "log", 2)
    process.kill()
    process.communicate(timeout=15)
    with pytest.raises(ModelMissingError):
        zoo.locate("ears")
    zoo.pull("ears", download=registry)
    assert registry.asked == ["ears-2==1.0"]
    assert zoo.verify("ears") == []


def test_the_manifest_pins_every_file_that_is_loaded_and_every_source_of_it() -> None:
    loaded = {part for card in zoo.cards() for part in card.parts + card.voices}
    for part in zoo.PARTS.values():
        for file in part.files:
            assert file.sources
            if not file.sha256:  # the hub is asked at the first pull, and believed from then on
                assert part.name not in loaded
                assert [type(source) for source in file.sources] == [Hub]
                continue
            assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
            for source in file.sources:
                match source:
                    case Hub(_, revision, _):
                        assert re.fullmatch(r"[0-9a-f]{40}", revision)
                    case Packages(members):
                        assert all("==" in member.requirement for member in members)


def test_every_model_is_made_of_known_parts_and_says_what_it_is() -> None:
    tasks = {*TASKS, "ask"}
    for card in zoo.cards():
        assert set(card.parts + card.voices + card.release) <= set(zoo.PARTS)
        assert bool(card.parts) != bool(card.release)
        assert bool(card.release) == bool(card.converts)
        assert set(card.tasks) <= tasks
        assert all((card.summary, card.languages, card.licence))
    assert zoo.card("echat-lite").size == 649_251_790
    assert zoo.models_for_task("sap") == ["osum-echat-tag", "osum-echat-language", "osum"]


def test_the_official_releases_are_named_as_their_makers_do() -> None:
    hub = "ASLP-lab/OSUM-EChat"
    for name, weights in (("tag", "tag_think_final.pt"), ("language", "language_think_final.pt")):
        card = zoo.card(f"osum-echat-{name}")
        files = [file for part in card.release for file in zoo.PARTS[part].files]
        assert [file.name for file in files] == [
            weights,
            "CosyVoice-300M-25Hz.tar",
            "prompt.wav",
            "tokenizer.json",
        ]
        sources = [file.sources[0] for file in files[:3]]
        assert sources == [Hub(hub, "main", file.name) for file in files[:3]]
        assert card.size == pytest.approx(10.76e9, rel=0.01)
    (weights_file, _) = [
        file for part in zoo.card("osum").release for file in zoo.PARTS[part].files
    ]
    assert weights_file.sources == (Hub("ASLP-lab/OSUM", "main", "infer.pt"),)


@pytest.mark.real
@pytest.mark.timeout(120)  # reads a gigabyte
def test_the_default_model_that_was_pulled_is_whole() -> None:
    assert zoo.verify("echat-lite") == []
    for part in zoo.card("echat-lite").parts:
        assert {file.suffix for file in zoo.locate(part).iterdir()} & {".bin", ".onnx"}
