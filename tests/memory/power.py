"""What a power cut leaves of a folder: the calls of a process, recorded, and played to any moment.

`strace` records; `Disk` knows what was synced and what was only written. A write counts from
`fsync` or `fdatasync` of its file on, a name (made, linked, renamed, removed, a folder's too) from
`fsync` of its folder on: what POSIX promises, and no more. `-shm` files are left out, for the first
who opens a store makes that file anew.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
_CALLS = (
    "openat,write,pwrite64,writev,pwritev,fsync,fdatasync,ftruncate,truncate,fallocate,unlink,"
    "unlinkat,rename,renameat,renameat2,link,linkat,mkdir,mkdirat,rmdir,copy_file_range,sendfile"
)
_LINE = re.compile(r"(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)(.*)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_NAMED = re.compile(r"(?:-?\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})*)>")


def record(script: Path, trace: Path, *arguments: str) -> None:
    """Run a script of ours and write down its calls.

    Raises:
        AssertionError: it failed, or strace did.
    """
    strace = shutil.which("strace")
    assert strace is not None, "strace is not installed; apt-get install strace"
    options = ["-f", "--seccomp-bpf", "-y", "-xx", "-s", "4194304", "-e", f"trace={_CALLS}"]
    command = [strace, *options, "-o", str(trace), sys.executable, str(script), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@dataclass(slots=True)
class File:
    """What a file holds for sure, and what was written to it since: bytes at a place, or a size."""

    synced: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        self.synced = self.after(self.pending)
        self.pending = []

    def after(self, writes: list[tuple[int, bytes | None]]) -> bytearray:
        data = bytearray(self.synced)
        for offset, written in writes:
            if len(data) < offset:
                data.extend(bytes(offset - len(data)))
            if written is None:
                del data[offset:]
            else:
                data[offset : offset + len(written)] = written
        return data


Names = dict[str, File | None]


class Disk:
    """A folder as a disk has it, at every moment of a recording.

    Args:
        root: The folder; it was there before, and empty.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._now: Names = {}  # as the process sees it; a folder is None
        self._synced: Names = {}
        self._pending: list[dict[str, tuple[bool, File | None]]] = []  # path: is it there, which
        self._places: dict[str, int] = {}  # where `write` goes on

    def play(self, trace: Path) -> Iterator[str]:
        """Play a recording; stops before each sync ("sync") and after each line told (the line)."""
        for line in trace.read_text().splitlines():
            found = _LINE.match(line)
            if found is None:  # a signal, an exit
                continue
            call, given, result, rest = found.groups()
            texts = [_bytes(text) for text, cut in _TEXT.findall(given) if not _must_be_whole(cut)]
            names = [os.fsdecode(_bytes(name)) for name in _NAMED.findall(given)]
            if call == "write" and given.startswith("1<"):
                yield from texts[0].decode().splitlines()
            elif int(result) >= 0:
                yield from self._do(call, given, texts, names, int(result), rest)

    def _do(
        self, call: str, given: str, texts: list[bytes], names: list[str], result: int, rest: str
    ) -> Iterator[str]:
        numbers = [int(n) for n in re.findall(r", (\d+)(?=,|$)", given)]
        paths = [os.path.normpath(os.fsdecode(text)) for text in texts]
        match call:
            case "openat":
                path = paths[0]
                self._places[path] = 0
                if not self._is_ours(path):
                    return
                if "O_CREAT" in given and path not in self._now:
                    self._name({path: (True, File())})
                if "O_TRUNC" in given:
                    self._file(path).pending.append((0, None))
            case "mkdir" if self._is_ours(paths[0]):
                self._name({paths[0]: (True, None)})
            case "unlink" if self._is_ours(paths[0]):
                self._name({paths[0]: (False, None)})
            case "link" if self._is_ours(paths[1]):
                self._name({paths[1]: (True, self._file(paths[0]))})
            case "rename" if self._is_ours(paths[1]):
                file = self._file(paths[0])
                self._name({paths[0]: (False, None), paths[1]: (True, file)})
            case "pwrite64" if self._is_ours(names[0]):
                self._file(names[0]).pending.append((numbers[-1], texts[0][:result]))
            case "write" if self._is_ours(names[0]):
                place = self._places.get(names[0], 0)
                self._file(names[0]).pending.append((place, texts[0][:result]))
                self._places[names[0]] = place + result
            case "ftruncate" if self._is_ours(names[0]):
                self._file(names[0]).pending.append((numbers[-1], None))
            case "fsync" | "fdatasync" if self._is_ours(names[0]) or names[0] == self._root:
                yield "sync"
                if (file := self._now.get(names[0])) is not None:
                    file.sync()
                else:
                    self._sync_folder(names[0])
            case _ if any(map(self._is_ours, [*paths, *names])):
                raise AssertionError(f"a call that is not known here: {call}")

    def _is_ours(self, path: str) -> bool:
        return path.startswith(f"{self._root}/") and not path.endswith("-shm")

    def _file(self, path: str) -> File:
        file = self._now[path]
        assert file is not None
        return file

    def _name(self, change: dict[str, tuple[bool, File | None]]) -> None:
        _apply(self._now, change)
        self._pending.append(change)

    def _sync_folder(self, folder: str) -> None:
        for change in list(self._pending):
            if any(os.path.dirname(path) == folder for path in change):
                _apply(self._synced, change)
                self._pending.remove(change)

    def cut(self, to: Path, generator: random.Random | None = None) -> None:
        """Write into a folder what a power cut leaves now.

        Args:
            to: The folder; what is in it goes.
            generator: Which of the unsynced writes, sectors of them, and names got to the disk all
                the same, about half of them; None for none.
        """
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir()
        names = dict(self._synced)
        for change in self._pending:
            if generator is not None and generator.random() < 0.5:
                _apply(names, change)
        for path, file in sorted(names.items()):
            target = to / os.path.relpath(path, self._root)
            if not target.parent.is_dir():
                continue  # its folder has no name
            if file is None:
                target.mkdir()
            else:
                target.write_bytes(file.after(_torn(file.pending, generator)))
                target.chmod(0o600)


def _torn(
    writes: list[tuple[int, bytes | None]], generator: random.Random | None
) -> list[tuple[int, bytes | None]]:
    kept: list[tuple[int, bytes | None]] = []
    for offset, written in writes if generator is not None else ():
        assert generator is not None
        if written is None:
            if generator.random() < 0.5:
                kept.append((offset, None))
            continue
        for start in range(0, len(written), SECTOR):
            if generator.random() < 0.5:
                kept.append((offset + start, written[start : start + SECTOR]))
    return kept


def _apply(names: Names, change: dict[str, tuple[bool, File | None]]) -> None:
    for path, (is_there, file) in change.items():
        if is_there:
            names[path] = file
        else:
            names.pop(path, None)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _must_be_whole(cut: str) -> bool:
    assert not cut, "strace cut a write short"
    return False
