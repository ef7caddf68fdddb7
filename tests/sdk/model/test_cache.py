"""The cache on disk: what a seal promises, and what a file system without links still gives."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echat_sdk.errors import ModelMissingError
from echat_sdk.model import cache as cache_module
from echat_sdk.model.cache import Cache, check, seal


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed folder of one file, 4 kB."""
    folder = tmp_path / "part"
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"abcd" * 1024)
    seal(folder, {"model.bin": _digest(b"abcd" * 1024)})
    return folder


def test_a_sealed_folder_is_whole_and_is_not_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> str:
        raise AssertionError("the file was read")

    monkeypatch.setattr(cache_module, "sha256_of", read)
    assert check(folder) == []


def test_a_folder_without_a_seal_is_missing(folder: Path) -> None:
    (folder / ".seal.json").unlink()
    assert [problem.kind for problem in check(folder)] == ["missing"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model.bin": 3}', '{"model.bin": {"a": 1}}'])
def test_a_seal_that_is_not_ours_is_as_good_as_none(folder: Path, text: str) -> None:
    (folder / ".seal.json").write_text(text)
    assert [problem.kind for problem in check(folder)] == ["missing"]


def test_a_folder_of_another_version_is_missing(folder: Path) -> None:
    problems = check(folder, {"model.bin": _digest(b"newer")})
    assert [problem.kind for problem in problems] == ["missing"]


@settings(max_examples=25, deadline=None)
@given(place=st.integers(0, 4095), flip=st.integers(1, 255))
def test_any_changed_byte_is_found_when_the_file_is_read(
    tmp_path_factory: pytest.TempPathFactory, place: int, flip: int
) -> None:
    folder = tmp_path_factory.mktemp("part")
    data = bytearray(b"abcd" * 1024)
    (folder / "model.bin").write_bytes(data)
    seal(folder, {"model.bin": _digest(data)})
    data[place] ^= flip
    (folder / "model.bin").write_bytes(data)
    assert [problem.kind for problem in check(folder, rehash=True)] == ["damaged"]


def test_a_file_that_changed_since_it_was_sealed_is_read_before_it_is_trusted(folder: Path) -> None:
    (folder / "model.bin").write_bytes(b"abcE" * 1024)
    assert [problem.kind for problem in check(folder)] == ["damaged"]


def test_a_file_that_was_only_touched_is_whole_and_read_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "model.bin").touch()
    assert check(folder) == []
    monkeypatch.setattr(cache_module, "sha256_of", lambda *_: "read again")
    assert check(folder) == []


def test_damage_that_was_found_is_remembered(folder: Path) -> None:
    file = folder / "model.bin"
    before = file.stat()
    file.write_bytes(b"abcE" * 1024)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert check(folder) == []  # the same size and time: only reading it can tell
    assert [problem.kind for problem in check(folder, rehash=True)] == ["damaged"]
    assert [problem.kind for problem in check(folder)] == ["damaged"]


def test_a_truncated_and_a_vanished_file_are_told_apart(folder: Path) -> None:
    (folder / "model.bin").write_bytes(b"abcd")
    (problem,) = check(folder)
    assert str(problem) == "part/model.bin: damaged (4 bytes, expected 4096)"
    (folder / "model.bin").unlink()
    (problem,) = check(folder)
    assert problem.kind == "missing"


@pytest.mark.parametrize("refused", [[], ["hardlink_to"], ["hardlink_to", "symlink_to"]])
def test_a_blob_gets_its_name_on_a_file_system_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: list[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    for name in refused:
        monkeypatch.setattr(Path, name, refuse)
    cache, data = Cache(tmp_path), b"weights"
    (tmp_path / "fetched").write_bytes(data)
    cache.admit(tmp_path / "fetched", _digest(data))
    for _ in range(2):
        cache.place("part", "model.bin", _digest(data))
    assert (cache.part("part") / "model.bin").read_bytes() == data
    assert [path.name for path in cache.part("part").iterdir()] == ["model.bin"]


def test_a_damaged_blob_is_removed_when_it_is_asked_for(tmp_path: Path) -> None:
    cache, digest = Cache(tmp_path), _digest(b"weights")
    (tmp_path / "fetched").write_bytes(b"weights")
    cache.admit(tmp_path / "fetched", digest)
    assert cache.holds(digest)
    cache.blob(digest).write_bytes(b"WEIGHTS")
    assert not cache.holds(digest)
    assert not cache.blob(digest).exists()


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    cache, order, held = Cache(tmp_path), [], threading.Event()

    def second() -> None:
        with cache.lock("part", held.set):
            order.append("second")

    with cache.lock("part", lambda: order.append("waited")):
        thread = threading.Thread(target=second)
        thread.start()
        assert held.wait(5)  # it was told that it must wait
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_too_small_a_disk_is_told_with_both_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=5_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    cache = Cache(tmp_path)
    cache.require_space(5_000_000)
    with pytest.raises(ModelMissingError, match=r"1\.3 GB needed .*, 5\.0 MB free"):
        cache.require_space(1_300_000_000)
