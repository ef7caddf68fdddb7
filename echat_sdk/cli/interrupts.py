"""Ctrl-C: the first one ends the command in order, a second one at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_RETRY = 0.02  # seconds


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
        if is_asked:  # nothing is lost: the store survives a power cut, and files appear whole
            os.write(2, b"\x1b[?25h\n" if sys.stderr.isatty() else b"")
            os._exit(130)
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
    """Let Ctrl-C call `end` in the running event loop; a second one ends the process at once."""
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGINT)

    def press() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
        end()

    try:
        loop.add_signal_handler(signal.SIGINT, press)
    except (NotImplementedError, ValueError, RuntimeError):  # Windows, or not the main thread
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
