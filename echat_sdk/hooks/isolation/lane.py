"""One line out, one line back, within a time and a length; and what a child prints meanwhile."""

from __future__ import annotations

import math
import os
import select
import socket
import time
from contextlib import suppress

from echat_sdk.audio import Seconds
from echat_sdk.hooks.isolation.values import MOST_ANSWER

_AT_ONCE = 64 * 2**10
_MOST_PRINTED = 2_000
_MOST_LINES = 10


class Printed:
    """The end of what a child prints; the rest is dropped, and read no faster than it answers.

    Args:
        fd: What it prints into, as it is read here; closed with `close`.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._tail = b""
        os.set_blocking(fd, False)

    def take(self) -> bool:
        """Read a piece, if there is one; whether there may be more at another time."""
        try:
            piece = os.read(self.fd, _AT_ONCE)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._tail = (self._tail + piece[-_MOST_PRINTED:])[-_MOST_PRINTED:]
        return bool(piece)

    @property
    def lines(self) -> tuple[str, ...]:
        """The last lines, oldest first."""
        said = self._tail.decode(errors="replace").splitlines()
        return tuple(said[-_MOST_LINES:])

    def close(self) -> None:
        """Read what is left, at most a piece, and close it."""
        self.take()
        os.close(self.fd)


class BrokenLaneError(Exception):
    """The child has closed it, or said more than it may."""


class EndedError(BrokenLaneError):
    """The child has closed it."""


class Lane:
    """One side of a pipe on which one exchange goes on at a time.

    Args:
        end: This side; it blocks no more.
        printed: What the child prints, taken while it is waited for: who prints much is not to
            wait for anybody to read it.
    """

    def __init__(self, end: socket.socket, printed: Printed) -> None:
        self._end = end
        self._end.setblocking(False)
        self._printed = printed

    def exchange(self, line: bytes, by: Seconds) -> bytes:
        """Send a line and wait for one.

        Args:
            line: It ends with a line break.
            by: Until when, of `time.monotonic`.

        Raises:
            TimeoutError: it did not come.
            BrokenLaneError: nor will it.
        """
        left, got = memoryview(line), bytearray()
        poll = select.poll()
        poll.register(self._end, select.POLLIN | select.POLLOUT)
        poll.register(self._printed.fd, select.POLLIN)
        while not got.endswith(b"\n"):
            wait = max(0.0, by - time.monotonic())
            ready = dict(poll.poll(math.ceil(wait * 1000)))
            # Only who had nothing to say at the end is late: this side may have slept as well.
            if not ready.keys() - {self._printed.fd} and wait == 0.0:
                raise TimeoutError("a plugin's process was late")
            if self._printed.fd in ready and not self._printed.take():
                poll.unregister(self._printed.fd)
            happened = ready.get(self._end.fileno(), 0)
            try:
                if happened & select.POLLOUT:
                    left = left[self._end.send(left[:_AT_ONCE]) :]
                    if not left:
                        poll.modify(self._end, select.POLLIN)
                if happened & ~select.POLLOUT:
                    self._read(got)
            except BlockingIOError:
                continue
            except OSError as error:
                raise EndedError("it has ended") from error
        if left or got.count(b"\n") != 1:
            raise BrokenLaneError("it said more than it was asked")
        return bytes(got)

    def _read(self, got: bytearray) -> None:
        piece = self._end.recv(_AT_ONCE)
        if not piece:
            raise EndedError("it has ended")
        got += piece
        if len(got) > MOST_ANSWER:
            raise BrokenLaneError(f"an answer is longer than {MOST_ANSWER} bytes")

    def hang_up(self) -> None:
        """Tell the child that nothing more comes; who waits for it is told, too."""
        with suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Free it; nobody may use it any more."""
        self._end.close()
