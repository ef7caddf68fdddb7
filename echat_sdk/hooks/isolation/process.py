"""A child process with a plugin in it: started, called, killed, and nothing of it left."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import echat_sdk
from echat_sdk.audio import Seconds
from echat_sdk.errors import PluginError
from echat_sdk.hooks.isolation import values
from echat_sdk.hooks.isolation.confinement import MEMORY
from echat_sdk.hooks.isolation.lane import BrokenLaneError, EndedError, Lane, Printed

log = logging.getLogger(__name__)

START_WITHIN: Seconds = 5.0
"""How long a child may take until it can be called."""

END_WITHIN: Seconds = 1.0
"""How long it may take to end by itself, once it was told to."""

_BEGIN = (
    "import sys; sys.path[:0] = sys.argv[4:]; "
    "from echat_sdk.hooks.isolation.child import main; main(*map(int, sys.argv[1:4]))"
)
_LANES = ("hooks", "tools")

LaneName = Literal["hooks", "tools"]


@dataclass(frozen=True, slots=True)
class What:
    """What a child brings, and how much of the machine.

    Attributes:
        name: The plugin's.
        module: Where it is, by the name that it is imported by.
        attribute: What it is there: an object, or a class that is called with the options.
        file: The module's file; None where it is found on the path.
        options: What it is made with, as JSON.
        path: Where modules are found, beside Python's own.
        memory: Bytes of address space.
        network: Whether it may open sockets of the Internet.
    """

    name: str
    module: str
    attribute: str
    file: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    path: tuple[str, ...] = ()
    memory: int = MEMORY
    network: bool = False

    def first_line(self) -> dict[str, Any]:
        """As the child is told."""
        file = str(self.file.resolve()) if self.file else ""
        return {
            "module": self.module,
            "attribute": self.attribute,
            "file": file,
            "options": dict(self.options),
            "memory": self.memory,
            "network": self.network,
        }


class Process:
    """One child. Used from any thread; the one that makes it has to live as long.

    Linux ends a child with the thread that started it, so that none is left of a host that was
    killed.

    Args:
        what: What it brings.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, what: What) -> None:
        self._name = what.name
        with ExitStack() as undo, ExitStack() as of_child:
            self._folder = TemporaryDirectory(prefix="echat-plugin-")
            undo.callback(self._folder.cleanup)
            read, write = os.pipe()
            undo.callback(os.close, read)
            of_child.callback(os.close, write)
            ends: dict[str, tuple[socket.socket, int]] = {}
            for name in _LANES:
                ours, theirs = socket.socketpair()
                undo.callback(ours.close)
                of_child.callback(theirs.close)
                ends[name] = (ours, theirs.fileno())
            self._popen = self._started(what, [fd for _, fd in ends.values()], write)
            undo.pop_all()
        self._printed = Printed(read)
        self._lanes = {name: Lane(ours, self._printed) for name, (ours, _) in ends.items()}
        self._turns = {name: threading.Lock() for name in _LANES}
        self._state = threading.Lock()
        self._is_over = self.is_dying = False
        self._number = 0
        self._why = ""

    def _started(self, what: What, lanes: Sequence[int], prints: int) -> subprocess.Popen[bytes]:
        root = str(Path(echat_sdk.__file__).parents[1])
        told = [*map(str, (*lanes, os.getpid())), *what.path, root]
        return subprocess.Popen(
            [sys.executable, "-I", "-B", "-u", "-c", _BEGIN, *told],
            stdin=subprocess.DEVNULL,
            stdout=prints,
            stderr=prints,
            pass_fds=lanes,
            start_new_session=True,
            cwd=self._folder.name,
            env=_environment(self._folder.name),
            umask=0o077,
        )

    @property
    def printed(self) -> tuple[str, ...]:
        """The last lines that it printed."""
        return self._printed.lines

    def call(self, lane: LaneName, asked: Mapping[str, Any], within: Seconds) -> Any:
        """Have something done, and wait for it. Who is late, or answers what is none, is killed.

        Raises:
            PluginError: it failed, or has ended.
            TimeoutError: it was late.
        """
        by = time.monotonic() + within
        if not self._turns[lane].acquire(timeout=within):
            raise TimeoutError(f"plugin {self._name} is busy")
        try:
            if self._is_over:
                raise PluginError(f"the process of plugin {self._name} has ended")
            self._number += 1
            number = self._number
            try:
                line = values.line({"id": number, **asked})
            except (TypeError, ValueError) as error:
                raise PluginError(f"plugin {self._name} cannot be given that") from error
            if len(line) > values.MOST_REQUEST:
                raise PluginError(f"plugin {self._name} cannot be given {len(line)} bytes")
            answer = values.message(self._lanes[lane].exchange(line, by))
            if answer.get("id") != number:
                raise BrokenLaneError("it answers what it was not asked")
        except TimeoutError:
            self.kill("it was late")
            raise
        except BrokenLaneError as error:
            self.kill("" if isinstance(error, EndedError) else str(error))
            raise PluginError(f"the process of plugin {self._name} failed: {error}") from error
        except ValueError as error:
            self.kill("its answer is no JSON")
            raise PluginError(f"plugin {self._name} does not answer in JSON") from error
        finally:
            self._turns[lane].release()
        if "error" in answer:
            # A name that the plugin chose is shown as far as it is one.
            kind, why = (str(answer.get(each, ""))[:200] for each in ("error", "why"))
            kind = kind if kind.isidentifier() else "an error"
            raise PluginError(f"plugin {self._name}: {kind}" + (f": {why}" if why else ""))
        return answer.get("value")

    def kill(self, why: str) -> None:
        """End it, and all that it started, now."""
        with self._state:
            self.is_dying = True
            if not self._is_over:  # its number may be somebody else's afterwards
                self._why = self._why or why
                with suppress(ProcessLookupError):
                    os.killpg(self._popen.pid, signal.SIGKILL)

    def end(self) -> None:
        """Have it end by itself; kill it if it does not. Waits for neither."""
        for lane in self._lanes.values():
            lane.hang_up()
        timer = threading.Timer(END_WITHIN, self.kill, ("it did not end",))
        timer.name = f"echat-ends-{self._name}"
        timer.daemon = True
        timer.start()

    def wait(self) -> str:
        """Wait for its end, however long, and free what it had; how it ended."""
        with suppress(ChildProcessError):  # of a host that wants to hear of no child
            os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOWAIT)
        self.kill("")  # what it started
        with self._state:
            self._is_over = True
            code = self._popen.wait()
        for lane in self._lanes.values():
            lane.hang_up()
        for name, lane in self._lanes.items():
            with self._turns[name]:
                lane.close()
        self._printed.close()
        try:
            self._folder.cleanup()
        except (OSError, RecursionError):  # it may have made it too deep to be emptied
            log.warning("a folder of plugin %s is left: %s", self._name, self._folder.name)
        return self._why or (f"signal {-code}" if code < 0 else f"exit {code}")


def _environment(folder: str) -> dict[str, str]:
    # Threads of NumPy's own would each take memory.
    few = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "TMPDIR": folder, **few}
