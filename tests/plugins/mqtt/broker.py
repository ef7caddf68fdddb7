"""A real Mosquitto that a test starts and stops, on a free port of loopback."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from echat_plugins.mqtt import Broker


def program() -> str:
    found = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    if not os.path.exists(found):
        pytest.fail("Mosquitto is not installed; apt-get install mosquitto")
    return found


def free_port() -> int:
    """One below those that are given out unasked: a broker that is away keeps its own."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


OPEN = "listener {port} 127.0.0.1\nallow_anonymous true\n"


class Mosquitto:
    """A broker.

    Attributes:
        port: It listens there, each time that it is started.
    """

    def __init__(self, folder: Path, config: str = OPEN, port: int = 0) -> None:
        self.port = port or free_port()
        self._folder = folder
        self._config = folder / "mosquitto.conf"
        self._log = folder / "mosquitto.log"
        settings = "" if "persistence " in config else "persistence false\n"
        self._config.write_text(config.format(port=self.port) + settings)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text()

    def broker(self, **more: object) -> Broker:
        return Broker.model_validate({"host": "127.0.0.1", "port": self.port, **more})

    def start(self) -> None:
        with self._log.open("ab") as log:
            begin = log.tell()
            self._process = subprocess.Popen(
                [program(), "-v", "-c", str(self._config)], stdout=log, stderr=log
            )
        until = time.monotonic() + 5
        while time.monotonic() < until and self._process.poll() is None:
            if b" running" in self._log.read_bytes()[begin:]:
                return
            time.sleep(0.01)
        self.stop()
        pytest.fail(self.log)

    def stop(self, *, kill: bool = False) -> None:
        if self._process is not None:
            (self._process.kill if kill else self._process.terminate)()
            self._process.wait(5)
            self._process = None
