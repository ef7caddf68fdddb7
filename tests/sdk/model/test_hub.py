"""What the hub says of a file is believed once, and held against it from then on."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import pytest

from echat_sdk.errors import CheckpointError, EChatError, ModelMissingError
from echat_sdk.model import web, zoo
from echat_sdk.model.cache import Cache
from echat_sdk.model.fetch import File, Hub
from echat_sdk.model.hub import look_up
from echat_sdk.model.manifest import Part
from echat_sdk.model.pins import Pin, read_pins

LARGE = random.Random(5).randbytes(200_000)
OTHER = random.Random(6).randbytes(200_000)
SMALL = b'{"small": true}'
SHA256 = hashlib.sha256(LARGE).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and a zoo of one part that only the hub can pin."""
    sources = {name: (Hub("owner/model", "main", name),) for name in ("model.pt", "small.json")}
    files = tuple(File(name, 0, "", source) for name, source in sources.items())
    monkeypatch.setattr(zoo, "PARTS", {"raw": Part("raw", "MIT", files)})
    monkeypatch.setattr(zoo, "MODELS", {})
    monkeypatch.setattr(web, "RETRY_SECONDS", 0.001)
    monkeypatch.setenv("ECHAT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ECHAT_MODEL_DIR", raising=False)
    return tmp_path / "home"


@pytest.fixture
def hub(model_hub: Any) -> Any:
    model_hub.commit("owner/model", model__pt=LARGE)
    model_hub.commit("owner/model", small=True, small__json=SMALL)
    return model_hub


def _ask(hub: Any, path: str, work: Path) -> Pin:
    return look_up(web.WebClient(), hub.endpoint, Hub("owner/model", "main", path), work)


def test_a_large_file_is_told_by_its_pointer_and_nothing_of_it_is_fetched(
    hub: Any, tmp_path: Path
) -> None:
    commit = hub.commit("owner/model", readme__md=b"x")
    pin = _ask(hub, "model.pt", tmp_path)
    assert pin == Pin("owner/model", commit, SHA256, len(LARGE))
    assert hub.asked == ["HEAD resolve model.pt", "GET raw model.pt"]
    assert list(tmp_path.glob("*.partial")) == []


def test_a_small_file_is_fetched_and_compared_with_gits_hash(hub: Any, tmp_path: Path) -> None:
    pin = _ask(hub, "small.json", tmp_path)
    assert (pin.sha256, pin.size) == (hashlib.sha256(SMALL).hexdigest(), len(SMALL))
    assert (tmp_path / f"{pin.sha256}.partial").read_bytes() == SMALL
    hub.lies["small.json"] = "0" * 40
    with pytest.raises(ModelMissingError, match=r"that are not small\.json"):
        _ask(hub, "small.json", tmp_path)


def test_a_repository_that_was_renamed_is_followed_on_its_host(hub: Any, tmp_path: Path) -> None:
    hub.moved["old/model"] = "owner/model"
    source = Hub("old/model", "main", "model.pt")
    assert look_up(web.WebClient(), hub.endpoint, source, tmp_path).sha256 == SHA256
    assert hub.asked[:2] == ["HEAD resolve model.pt"] * 2


@pytest.mark.parametrize(
    "pointer",
    [
        b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 200000\n" % (b"0" * 64),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 1\n" % SHA256.encode(),
        b"<html>not found</html>",
    ],
)
def test_a_hub_that_contradicts_itself_is_refused(hub: Any, tmp_path: Path, pointer: bytes) -> None:
    hub.pointers["model.pt"] = pointer
    with pytest.raises(CheckpointError, match=r"contradicts itself about model\.pt"):
        _ask(hub, "model.pt", tmp_path)


def test_a_pointer_that_does_not_end_is_not_read(hub: Any, tmp_path: Path) -> None:
    hub.pointers["model.pt"] = b"x" * 100_000
    with pytest.raises(ModelMissingError, match="sends more than 1024 bytes"):
        _ask(hub, "model.pt", tmp_path)


def test_what_is_no_hub_is_told(hub: Any, tmp_path: Path) -> None:
    hub.lies["small.json"] = "unquoted"
    with pytest.raises(ModelMissingError, match="does not answer as a model hub does"):
        _ask(hub, "small.json", tmp_path)


def test_a_first_pull_writes_down_what_it_trusted(hub: Any, home: Path) -> None:
    report = zoo.pull("raw")
    assert [(f.file, f.source) for f in report.fetched] == [
        ("model.pt", "hub"),
        ("small.json", "hub"),
    ]
    pins = read_pins(Cache(home).pins("raw"))
    assert {name: pin.sha256 for name, pin in pins.items()} == {
        "model.pt": SHA256,
        "small.json": hashlib.sha256(SMALL).hexdigest(),
    }
    assert (zoo.locate("raw") / "model.pt").read_bytes() == LARGE
    assert (zoo.locate("raw") / "small.json").read_bytes() == SMALL
    assert zoo.verify("raw") == []
    hub.asked.clear()
    assert zoo.pull("raw").fetched == ()
    assert "GET blob" not in hub.asked


def test_a_file_that_changed_since_is_told_and_refused_until_asked_for(
    hub: Any, home: Path
) -> None:
    zoo.pull("raw")
    commit = hub.commit("owner/model", model__pt=OTHER)
    with pytest.raises(CheckpointError) as caught:
        zoo.pull("raw")
    for told in ("model.pt", SHA256[:12], commit[:8], "echat models pull raw --update"):
        assert told in str(caught.value)
    assert (zoo.locate("raw") / "model.pt").read_bytes() == LARGE
    zoo.pull("raw", update=True)
    assert (zoo.locate("raw") / "model.pt").read_bytes() == OTHER
    zoo.pull("raw")


def test_a_new_commit_with_the_same_bytes_is_no_change(hub: Any, home: Path) -> None:
    zoo.pull("raw")
    hub.commit("owner/model", readme__md=b"new")
    assert zoo.pull("raw").fetched == ()


def test_between_two_halves_of_a_pull_the_file_may_not_change(hub: Any, home: Path) -> None:
    hub.cuts = [100_000, 0, 0, 0, 0]
    with pytest.raises(ModelMissingError, match="stopped sending"):
        zoo.pull("raw")
    hub.commit("owner/model", model__pt=OTHER)
    hub.cuts.clear()
    with pytest.raises(CheckpointError, match="no longer what it was"):
        zoo.pull("raw")


def test_a_pull_that_was_cut_goes_on_where_it_was(hub: Any, home: Path) -> None:
    hub.cuts = [100_000, 0, 0, 0, 0]
    with pytest.raises(ModelMissingError, match="stopped sending"):
        zoo.pull("raw")
    hub.cuts.clear()
    hub.asked.clear()
    zoo.pull("raw")
    assert [ask for ask in hub.asked if "blob" in ask] == ["GET blob bytes=100000-"]
    assert (zoo.locate("raw") / "model.pt").read_bytes() == LARGE


@pytest.mark.parametrize("fault", ["lies", "short"])
def test_bytes_that_are_not_what_the_hub_told_are_refused(hub: Any, fault: str) -> None:
    if fault == "lies":
        hub.lies["model.pt"] = "0" * 64
    else:
        hub.short = 10
    told = "another sha256" if fault == "lies" else "has fewer bytes than it told"
    with pytest.raises(ModelMissingError, match=told):
        zoo.pull("raw")
    with pytest.raises(ModelMissingError):
        zoo.locate("raw")


def test_without_the_hub_what_was_pinned_can_come_from_a_folder(
    hub: Any, home: Path, tmp_path: Path
) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "model.pt").write_bytes(LARGE)
    (shelf / "small.json").write_bytes(SMALL)
    hub.down = True
    with pytest.raises(ModelMissingError, match=r"cannot ask the hub about model\.pt.*503"):
        zoo.pull("raw", folder=shelf)
    hub.down = False
    zoo.pull("raw")
    Cache(home).drop("raw", zoo._known(Cache(home), zoo.PARTS["raw"]).hashes)
    hub.down = True
    assert {fetched.source for fetched in zoo.pull("raw", folder=shelf).fetched} == {"folder"}


def test_damaged_pins_are_told_and_not_taken_for_none(hub: Any, home: Path) -> None:
    zoo.pull("raw")
    pins = Cache(home).pins("raw")
    pins.write_text('{"model.pt": 1}')
    for ask in (zoo.pull, zoo.locate, zoo.verify):
        with pytest.raises(EChatError, match=r"raw\.json is damaged"):
            ask("raw")
