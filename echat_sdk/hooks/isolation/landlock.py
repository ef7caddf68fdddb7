"""Which files a process may open (Landlock, Linux 5.13 and newer)."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system calls, the same on every machine
_VERSION = 1
_BENEATH = 1

_EXECUTE, _WRITE, _READ, _LIST = 1, 2, 4, 8
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE | _READ | _TRUNCATE | _IOCTL
_LOOKS = _EXECUTE | _READ | _LIST
_SCOPES = 0b11  # abstract sockets, and signals, of who is not confined as well


def restrict(*, reads: Iterable[Path], writes: Iterable[Path]) -> bool:
    """Open no other files from now on; nor look into the memory of other processes.

    It holds for this thread and those that it starts, and cannot be taken back.

    Args:
        reads: Files, and folders with all that is in them; one that is not there is passed over.
        writes: As well, to be written.

    Returns:
        Whether the kernel does that.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION)
    if version < 1:
        return False
    handled = _handled(version)
    # A kernel that knows less takes a shorter rule.
    length = 8 if version < 4 else 16 if version < 6 else 24
    rule = struct.pack("<QQQ", handled, 0, _SCOPES)[:length]
    rules = libc.syscall(_CREATE, rule, ctypes.c_size_t(length), 0)
    if rules < 0:
        return False
    try:
        for paths, may in ((reads, handled & _LOOKS), (writes, handled)):
            for path in paths:
                _allow(libc, rules, path, may)
        return bool(libc.syscall(_RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)


def _handled(version: int) -> int:
    """All kinds of access that a version knows."""
    bits = {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)
    return int((1 << bits) - 1)


def _allow(libc: ctypes.CDLL, rules: int, path: Path, may: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(opened).st_mode):
            may &= _OF_FILES
        libc.syscall(_ADD, rules, _BENEATH, struct.pack("<Qi", may, opened), 0)
    finally:
        os.close(opened)
