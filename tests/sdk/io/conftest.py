from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


class SoundCard:
    """A PulseAudio of our own with two null sinks: what the agent hears, and what it says."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: subprocess.Popen[bytes] | None = None
        self.socket = folder / "native"

    def plug(self) -> None:
        """Start it, and wait until it answers."""
        assert shutil.which("pulseaudio"), "pulseaudio is not installed: apt install pulseaudio"
        modules = [
            f"module-native-protocol-unix socket={self.socket} auth-anonymous=1",
            "module-null-sink sink_name=question rate=48000 channels=1",
            "module-null-sink sink_name=answer rate=48000 channels=1",
        ]
        loads = [part for module in modules for part in ("-L", module)]
        self._server = subprocess.Popen(
            [
                "pulseaudio",
                "-n",
                "--daemonize=no",
                "--exit-idle-time=-1",
                "--use-pid-file=no",
                *loads,
            ],
            env=self._environment(),
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while "answer" not in self.run("pactl", "list", "short", "sinks"):
            assert time.monotonic() < deadline, "pulseaudio does not answer"
            time.sleep(0.1)

    def unplug(self) -> None:
        """End it, mid-word."""
        assert self._server is not None, "plugged in before"
        self._server.kill()
        self._server.wait(10)

    def run(self, *command: str) -> str:
        """Run a command of PulseAudio's; what it prints."""
        done = subprocess.run(command, env=self._environment(), capture_output=True, timeout=30)
        return done.stdout.decode()

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Run a command of PulseAudio's beside the test."""
        return subprocess.Popen(command, env=self._environment(), stderr=subprocess.DEVNULL)

    def variables(self) -> dict[str, str]:
        """What a program needs to use this card by default."""
        return {
            "PULSE_SERVER": f"unix:{self.socket}",
            "PULSE_SINK": "answer",
            "PULSE_SOURCE": "question.monitor",
        }

    def _environment(self) -> dict[str, str]:
        folder = str(self._folder)
        return {
            "PATH": "/usr/bin:/bin:/usr/local/bin",
            "HOME": folder,
            "PULSE_RUNTIME_PATH": folder,
            "PULSE_STATE_PATH": folder,
            "PULSE_SERVER": f"unix:{self.socket}",
        }


@pytest.fixture
def sound_card(monkeypatch: pytest.MonkeyPatch) -> Iterator[SoundCard]:
    # A socket's path may not be long, and pytest's own folders are.
    with tempfile.TemporaryDirectory(prefix="echat-") as folder:
        card = SoundCard(Path(folder))
        card.plug()
        for name, value in card.variables().items():
            monkeypatch.setenv(name, value)
        yield card
        card.unplug()
