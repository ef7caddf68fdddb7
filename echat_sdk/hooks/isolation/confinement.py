"""What keeps a plugin's process in, from before its first line runs.

Always: a memory of its own up to a limit; files of a limited size, and few of them open at once; no
core dumps; an empty environment and folder; no open file of the host's; no privileges that it did
not begin with, and none of root's; its end with the host's, even if that is killed; the end of its
process group with it.

Where the kernel has seccomp (on x86-64 and 64-bit ARM): no new processes, no signal to another
process, no look into its memory, no change of a file's mode or owner, and no network unless that
was granted. Then it reaches any host: a grant names one, but nobody holds it to that. Where it has
Landlock: no file is opened but Python's, those on the path of modules, and its own folder.

Not prevented, where one of these is not had: what it would prevent; `Isolated.confined` tells. And
nowhere: computing without end between calls, on a core of the machine; filling the disk with many
files in its folder, until it ends; seeing that a file of the user's is there, and how long it is;
passing on what it was told, by the network that it was granted; faults of the kernel.

The number of the user's processes (`RLIMIT_NPROC`) is no limit here: it counts those of the host.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from echat_sdk.hooks.isolation import landlock, seccomp

MEMORY = 512 * 2**20
"""Bytes of address space; Python with NumPy and pydantic takes about 200 MiB of it."""

MOST_FILES = 64
"""Files that are open at once."""

MOST_FILE = 16 * 2**20
"""Bytes of a file that is written."""

_SET_PDEATHSIG, _SET_NO_NEW_PRIVS = 1, 38
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION = 0x20080522

_SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo"),
    *("/etc/ssl", "/etc/pki", "/etc/localtime", "/etc/ld.so.cache", "/dev/urandom"),
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/self", "/sys/devices/system/cpu"),
)
_OF_NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/services")


def confine(*, parent: int, memory: int, network: bool, reads: Iterable[Path]) -> list[str]:
    """Keep this process in, from now on; the folder that it is in is its own.

    Args:
        parent: Whose end it is to end with.
        memory: Bytes of address space.
        network: Whether sockets of the Internet may be opened.
        reads: Files and folders that may be read beside Python's own.

    Returns:
        What keeps it in: `limits`, `no_new_privs`, `seccomp`, `landlock`.
    """
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_NOFILE, MOST_FILES),
        (resource.RLIMIT_FSIZE, MOST_FILE),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    found = ["limits"]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it has ended meanwhile
        os._exit(1)
    if libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return found
    found.append("no_new_privs")
    _drop_capabilities(libc)
    system = (*_SYSTEM, *(_OF_NETWORK if network else ()))
    readable = [*map(Path, system), *_python(), *reads]
    if landlock.restrict(reads=readable, writes=[Path.cwd(), Path("/dev/null")]):
        found.append("landlock")
    if seccomp.install(network=network):
        found.append("seccomp")
    return found


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """What root has beyond others; for others there is nothing to drop."""
    if (number := _CAPSET.get(os.uname().machine)) is not None:
        libc.syscall(number, struct.pack("<Ii", _CAPABILITY_VERSION, 0), bytes(24))


def _python() -> list[Path]:
    return [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
