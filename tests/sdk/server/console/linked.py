"""`echat serve` itself, with real weights, and the link that it prints."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def linked(store: Path, **environment: str) -> Iterator[str]:
    """A server for the user ada.

    Args:
        store: Where it keeps what it is told.
        environment: More than it has anyway.
    """
    serve = [sys.executable, "-m", "echat_sdk", "serve", "--port", "0", "--user", "ada"]
    with subprocess.Popen(
        serve,
        env={**os.environ, "ECHAT_STORE": f"sqlite:///{store}", **environment},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        told = next(line for line in server.stdout if line.startswith("open once: "))
        yield told.removeprefix("open once: ").strip()
        server.send_signal(signal.SIGINT)
        server.send_signal(signal.SIGINT)
