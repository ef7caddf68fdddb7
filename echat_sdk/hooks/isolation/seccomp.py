"""A filter of system calls, in the kernel's own little language (seccomp, BPF)."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Sequence

CALLS: dict[str, tuple[int, int]] = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chmod": (90, -1),
    "chown": (92, -1),
    "clone": (56, 220),
    "clone3": (435, 435),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "fcntl": (72, 25),
    "fork": (57, -1),
    "fremovexattr": (199, 16),
    "fsetxattr": (190, 7),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "ioprio_set": (251, 30),
    "kcmp": (312, 272),
    "keyctl": (250, 219),
    "kill": (62, 129),
    "lchown": (94, -1),
    "lremovexattr": (198, 15),
    "lsetxattr": (189, 6),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "mount": (165, 40),
    "move_pages": (279, 239),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "prlimit64": (302, 261),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "removexattr": (197, 14),
    "removexattrat": (466, 466),
    "request_key": (249, 218),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "semget": (64, 190),
    "setns": (308, 268),
    "setpriority": (141, 140),
    "setxattr": (188, 5),
    "setxattrat": (463, 463),
    "shmget": (29, 194),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "tgkill": (234, 131),
    "tkill": (200, 130),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vfork": (58, -1),
}
"""Numbers of system calls on x86-64 and on 64-bit ARM; -1 where there is none of the name."""

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32 = 0x40000000  # the other numbers that x86-64 has for the same calls

_LOAD, _AND, _EQUAL, _AT_LEAST, _HAS, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_CLONE_THREAD = 0x00010000
# F_SETOWN, F_SETSIG, F_SETOWN_EX, and FIOSETOWN, SIOCSPGRP: who is sent which signal about a file.
_OWNERS, _OWNERS_OF_SOCKETS = (8, 10, 15), (0x8901, 0x8902)

_SCHEDULING = ("sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler")

_SET_SECCOMP, _FILTER = 22, 2

_Step = tuple[int, int, int, int]

_ALLOWED: _Step = (_RETURN, 0, 0, _ALLOW)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def install(*, network: bool) -> bool:
    """Refuse new processes, all that reaches into another one, and sockets, from now on.

    And what limits of memory and rules of files leave open: memory without an address, what
    outlives a process in the kernel, and the modes and owners of files.

    It holds for this thread and those that it starts, and cannot be taken back.

    Args:
        network: Whether sockets of the Internet may be opened.

    Returns:
        Whether that is had here: on Linux, on x86-64 and 64-bit ARM, where the kernel has it.
    """
    if os.uname().machine not in _MACHINES or sys.byteorder != "little":
        return False
    packed = b"".join(struct.pack("<HBBI", *step) for step in _steps(network))
    steps = ctypes.create_string_buffer(packed)
    program = _Program(len(packed) // 8, ctypes.addressof(steps))
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0)


def _steps(network: bool) -> list[_Step]:
    column, machine = _MACHINES[os.uname().machine]
    numbers = {name: each[column] for name, each in CALLS.items() if each[column] >= 0}
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, machine), (_RETURN, 0, 0, _KILL)]
    steps += [(_LOAD, 0, 0, 0), (_AT_LEAST, 0, 1, _X32), _refusal(errno.EPERM)]
    own = os.getpid()
    families = (socket.AF_INET, socket.AF_INET6) if network else ()
    rules: dict[str, list[_Step]] = {name: [_refusal(errno.EPERM)] for name in numbers}
    rules["clone"] = [_argument(0), (_HAS, 0, 1, _CLONE_THREAD), _ALLOWED, _refusal(errno.EPERM)]
    rules["clone3"] = [_refusal(errno.ENOSYS)]  # its argument is not to be seen; then clone is used
    rules["kill"] = rules["tgkill"] = rules["tkill"] = _only(0, own)
    for name in ("prlimit64", *_SCHEDULING):
        rules[name] = _only(0, 0, own)
    rules["fcntl"], rules["ioctl"] = _unless(1, *_OWNERS), _unless(1, *_OWNERS_OF_SOCKETS)
    rules["socket"] = _only(0, *families)
    # A pair of datagram sockets could send to anybody's.
    rules["socketpair"] = [_argument(1), (_AND, 0, 0, 0xF), *_among(socket.SOCK_STREAM)]
    for name, rule in rules.items():
        if name in numbers:
            steps += [(_EQUAL, 0, len(rule), numbers[name]), *rule]
    return [*steps, _ALLOWED]


def _only(argument: int, *values: int) -> list[_Step]:
    return [_argument(argument), *_among(*values)]


def _unless(argument: int, *values: int) -> list[_Step]:
    return [_argument(argument), *_compared(values, _refusal(errno.EPERM), _ALLOWED)]


def _among(*values: int) -> list[_Step]:
    return _compared(values, _ALLOWED, _refusal(errno.EPERM))


def _compared(values: Sequence[int], then: _Step, otherwise: _Step) -> list[_Step]:
    """A step that fits skips what is left of them, and one more."""
    left = range(len(values) - 1, -1, -1)
    found = [(_EQUAL, after + 1, 0, value) for after, value in zip(left, values, strict=True)]
    return [*found, otherwise, then]


def _argument(number: int) -> _Step:
    return (_LOAD, 0, 0, 16 + 8 * number)  # its lower half; none that is looked at is longer


def _refusal(why: int) -> _Step:
    return (_RETURN, 0, 0, _REFUSE | why)
