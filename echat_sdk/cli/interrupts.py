"""Ctrl-C: the first one ends the command in order, a second one at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_RETRY = 0.02  # seconds
_restores: list[Callable[[], object]] = []


def install() -> None:
    """Take over Ctrl-C for the rest of the process, unless its caller has it ignored.

    `KeyboardInterrupt` raised inside the import machinery can leave the import lock held: a thread
    that imports then waits for ever. So it is raised only once the main thread is out of it.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    is_asked = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal is_asked
        if is_asked:
            _leave()
        is_asked = True
        end(number, frame)

    def end(_: int, frame: FrameType | None) -> None:
        if hasattr(signal, "setitimer") and _is_importing(frame):
            signal.setitimer(signal.ITIMER_REAL, _RETRY)
        else:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, press)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, end)


@contextmanager
def taken_by(end: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C or SIGTERM call `end` in the event loop; a second Ctrl-C leaves at once."""
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def press() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, lambda *_: _leave())
        end()

    try:
        for number in before:
            loop.add_signal_handler(number, press)
    except (NotImplementedError, ValueError, RuntimeError):  # Windows, or not the main thread
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


@contextmanager
def restoring(restore: Callable[[], object]) -> Iterator[None]:
    """Have something put right even where the process is left at once."""
    _restores.append(restore)
    try:
        yield
    finally:
        _restores.remove(restore)


def _leave() -> NoReturn:
    """End the process. Nothing is lost: the store survives a power cut, and files appear whole."""
    for restore in _restores:
        restore()
    os.write(2, b"\x1b[?25h\n" if sys.stderr.isatty() else b"")  # the cursor is seen again
    os._exit(130)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
