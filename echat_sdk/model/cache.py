"""The model cache on disk: content-addressed, atomic, safe for several processes at once.

```
HOME/
  blobs/<sha256>         every fetched file, once
  parts/<part>/<file>    links to blobs, under the names that loaders want
  derived/<name>/        what was converted from a part
  checkpoints/<model>/   what was converted from the parts of a release; also what users converted
  downloads/<name>/      unfinished files and wheels, kept until the part is complete
  pins/<part>.json       what the hub said of files that the manifest does not pin
  locks/<part>.lock
```

A folder of `parts` or `derived`, or a pulled checkpoint, is used only when it is *sealed*:
`.seal.json`, written last, holds the sha256, size and time of change of each file. A file whose
size and time still fit its stamp is trusted without reading it; any other is hashed again before it
is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Literal

from echat_sdk.errors import ModelMissingError

SEAL = ".seal.json"
CHUNK = 1 << 20
# The time of change of a file that must be hashed before it is used: no real file has it.
SUSPECT = -1


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file was when it was last found whole; sizes in bytes."""

    sha256: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in the cache.

    Attributes:
        folder: The part, or the conversion, that it is in.
        file: The file's name; empty when the whole folder is meant.
        kind: `missing` when it is not there, `damaged` when it is there with other bytes.
        detail: What was found and what was expected.
    """

    folder: str
    file: str
    kind: Literal["missing", "damaged"]
    detail: str

    def __str__(self) -> str:
        where = f"{self.folder}/{self.file}" if self.file else self.folder
        return f"{where}: {self.kind} ({self.detail})"


def size_text(size: int) -> str:
    """A number of bytes for people, such as `145.2 MB`."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size / 1e3:.1f} kB"


def size_of(path: Path) -> int:
    """Bytes of a file; 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def sha256_of(path: Path, report: Callable[[int], None] = lambda done: None) -> str:
    """Hex sha256 of a file, read in pieces; `report` gets the bytes read so far."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            report(done := done + len(chunk))
    return digest.hexdigest()


class Cache:
    """One home folder of models. Holds no state of its own: everything is on disk.

    Methods raise `OSError` as the disk does; `echat_sdk.model.zoo` translates it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def part(self, name: str) -> Path:
        """The folder of a part's files."""
        return self.root / "parts" / name

    def derived(self, name: str) -> Path:
        """The folder of a conversion."""
        return self.root / "derived" / name

    def checkpoint(self, model: str) -> Path:
        """The folder of a model that is converted from a release."""
        return self.root / "checkpoints" / model

    def pins(self, part: str) -> Path:
        """The file of what the hub said of a part's files; see `echat_sdk.model.pins`."""
        return self.root / "pins" / f"{part}.json"

    def blob(self, sha256: str) -> Path:
        """Where the file with this hash is, or would be."""
        return self.root / "blobs" / sha256

    def downloads(self, part: str) -> Path:
        """The folder for a part's unfinished files, made when needed; only under its lock.

        Files in it can be resumed. Folders in it are scratch of a process that died: removed.
        """
        folder = self.root / "downloads" / part
        folder.mkdir(parents=True, exist_ok=True)
        for scratch in folder.iterdir():
            if scratch.is_dir():
                shutil.rmtree(scratch)
        return folder

    def require_space(self, needed: int) -> None:
        """Check the disk before anything is fetched.

        Raises:
            ModelMissingError: fewer than `needed` bytes are free; says both numbers.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if free < needed:
            raise ModelMissingError(
                f"not enough disk space in {self.root}: {size_text(needed)} needed (temporary "
                f"files included), {size_text(free)} free; free some, or set ECHAT_HOME to a "
                "folder on another disk"
            )

    def holds(self, sha256: str) -> bool:
        """Whether a blob is here and whole; one with other bytes is removed."""
        blob = self.blob(sha256)
        if not blob.is_file():
            return False
        if sha256_of(blob) == sha256:
            return True
        blob.unlink()
        return False

    def admit(self, verified: Path, sha256: str) -> None:
        """Move a file, whose hash was just found right, among the blobs."""
        blob = self.blob(sha256)
        blob.parent.mkdir(parents=True, exist_ok=True)
        _sync(verified)
        verified.replace(blob)
        _sync_folder(blob.parent)

    def place(self, part: str, name: str, sha256: str) -> None:
        """Give a blob its name in a part: a hard link, else a symbolic link, else a copy."""
        blob, target = self.blob(sha256), self.part(part) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            if target.samefile(blob):
                return
        fresh = target.with_name(f".{name}.new")
        fresh.unlink(missing_ok=True)
        try:
            fresh.hardlink_to(blob)
        except OSError:  # some file systems have no hard links, or no links at all
            try:
                fresh.symlink_to(os.path.relpath(blob, target.parent))
            except OSError:
                shutil.copyfile(blob, fresh)
                _sync(fresh)
        fresh.replace(target)

    def publish(self, scratch: Path, target: Path, carry: str = "") -> None:
        """Seal a folder of freshly converted files and move it, whole, to where it is used.

        Args:
            scratch: The folder, on this disk.
            target: What it becomes, instead of what is there.
            carry: Glob pattern of files that the user put there: they stay, outside the seal.
        """
        files = sorted(path for path in scratch.rglob("*") if path.is_file())
        hashes = {path.relative_to(scratch).as_posix(): sha256_of(path) for path in files}
        for file in files:
            _sync(file)
        seal(scratch, hashes)
        for kept in target.glob(carry) if carry else ():
            copy = scratch / kept.relative_to(target)
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(kept, copy)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            shutil.rmtree(target)
        scratch.rename(target)
        _sync_folder(target.parent)

    def drop(self, part: str, hashes: Mapping[str, str]) -> None:
        """Remove the files of a part, which is not needed any more."""
        shutil.rmtree(self.part(part), ignore_errors=True)
        for sha256 in hashes.values():
            self.blob(sha256).unlink(missing_ok=True)

    def clear_downloads(self, part: str) -> None:
        """Remove a complete part's unfinished files."""
        shutil.rmtree(self.root / "downloads" / part, ignore_errors=True)

    @contextmanager
    def lock(self, part: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold a part alone among all processes; `waiting` is called once if another has it.

        The system releases the lock of a process that dies.
        """
        path = self.root / "locks" / f"{part}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as handle:
            if not _try_lock(handle):
                waiting()
                while not _try_lock(handle):
                    time.sleep(0.2)
            yield  # closing the file releases the lock


def seal(folder: Path, hashes: Mapping[str, str]) -> None:
    """Declare a folder complete: every file in `hashes` (name to sha256) is there and verified."""
    stamps = {name: _stamp(folder / name, sha256) for name, sha256 in hashes.items()}
    _write_seal(folder, stamps)


def check(
    folder: Path,
    expected: Mapping[str, str] | None = None,
    *,
    rehash: bool = False,
    report: Callable[[str, int, int], None] = lambda name, done, size: None,
) -> list[Problem]:
    """What is wrong with a sealed folder; empty when it can be used.

    Args:
        folder: A folder of `parts` or `derived`.
        expected: Name to sha256 of the files it should hold; None takes the seal's own.
        rehash: Read every file, instead of only those that changed since they were sealed.
        report: Gets the name, bytes read and size in bytes of the file being read.
    """
    stamps = _read_seal(folder)
    if stamps is None:
        return [Problem(folder.name, "", "missing", "not here, or not complete")]
    if expected is not None and {n: s.sha256 for n, s in stamps.items()} != expected:
        return [Problem(folder.name, "", "missing", "here in another version")]
    problems: list[Problem] = []
    fresh: dict[str, Stamp] = {}
    for name, stamp in stamps.items():
        fresh[name], problem = _examine(folder / name, stamp, rehash, report)
        if problem:
            problems.append(problem)
    if fresh != stamps:
        with suppress(OSError):  # a home that cannot be written is hashed again the next time
            _write_seal(folder, fresh)
    return problems


def _examine(
    path: Path, stamp: Stamp, rehash: bool, report: Callable[[str, int, int], None]
) -> tuple[Stamp, Problem | None]:
    suspect = Stamp(stamp.sha256, stamp.size, SUSPECT)
    try:
        stat = path.stat()
    except FileNotFoundError:
        return suspect, Problem(path.parent.name, path.name, "missing", "the file is gone")
    if stat.st_size != stamp.size:
        detail = f"{stat.st_size} bytes, expected {stamp.size}"
        return suspect, Problem(path.parent.name, path.name, "damaged", detail)
    if rehash or stat.st_mtime_ns != stamp.mtime_ns:
        found = sha256_of(path, lambda done: report(path.name, done, stamp.size))
        if found != stamp.sha256:
            detail = f"sha256 {found[:12]}..., expected {stamp.sha256[:12]}..."
            return suspect, Problem(path.parent.name, path.name, "damaged", detail)
    return Stamp(stamp.sha256, stamp.size, stat.st_mtime_ns), None


def _stamp(path: Path, sha256: str) -> Stamp:
    stat = path.stat()
    return Stamp(sha256, stat.st_size, stat.st_mtime_ns)


def _read_seal(folder: Path) -> dict[str, Stamp] | None:
    try:
        data = json.loads((folder / SEAL).read_text("utf-8"))
        return {str(name): Stamp(**stamp) for name, stamp in data.items()}
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError):  # not ours: as good as none
        return None


def _write_seal(folder: Path, stamps: Mapping[str, Stamp]) -> None:
    text = json.dumps({name: asdict(stamp) for name, stamp in stamps.items()}, indent=1)
    fresh = folder / f"{SEAL}.{os.getpid()}"
    fresh.write_text(text, "utf-8")
    _sync(fresh)
    fresh.replace(folder / SEAL)
    _sync_folder(folder)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Make a rename durable, where the system knows how."""
    if sys.platform == "win32":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: IO[bytes]) -> bool:
        try:
            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(handle: IO[bytes]) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
