from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from echat_sdk.audio import FRAME_LEN, SAMPLE_RATE, AudioFrame, Waveform, frames
from echat_sdk.io.timed import TimedAudio


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


_FFT = 2**14


class EchoingRoom(TimedAudio):
    """A device whose microphone hears its speaker, through a room, and somebody near.

    Args:
        near: Who speaks near the microphone; silence before and after. int16 at 16 kHz.
        seconds: How long it listens.
        decibels: How loud the echo is beside what is played.
        delay: From the speaker to the microphone, beside the first reflections.
    """

    def __init__(
        self, near: Waveform, *, seconds: float, decibels: float, delay: float, seed: int = 0
    ) -> None:
        count = round(seconds * SAMPLE_RATE)
        super().__init__(frames(np.zeros(count, np.int16)), output_rate=SAMPLE_RATE, latency=0.06)
        chance = np.random.default_rng(seed)
        # A quarter of a second until the room is 60 dB down; a direct path before that.
        time = np.arange(SAMPLE_RATE // 4) / SAMPLE_RATE
        room = 0.25 * chance.standard_normal(len(time)) * 10 ** (-3 * time / 0.25)
        room[0] = 1.0
        room *= 10 ** (decibels / 20) / np.sqrt(np.sum(room**2))
        self._path = np.concatenate((np.zeros(round(delay * SAMPLE_RATE)), room))
        self._spectrum = np.fft.rfft(self._path, _FFT)
        self._beside = 20.0 * chance.standard_normal(count)  # noise of -64 dBFS
        self._beside[: len(near)] += near[:count]
        self.echo = np.zeros(0)

    async def frames(self) -> AsyncIterator[AudioFrame]:
        """What the microphone hears."""
        async for _ in super().frames():
            begin = len(self.echo)
            reach = len(self._path) + FRAME_LEN - 1
            played = np.zeros(reach)
            for start, samples in self.said[-30:]:  # all that can still be heard
                at = round((start - (self._start or 0.0)) * SAMPLE_RATE) + reach - begin - FRAME_LEN
                piece = samples[max(0, -at) : max(0, reach - at)]
                played[max(0, at) :][: len(piece)] = piece
            spectrum = np.fft.rfft(played, _FFT) * self._spectrum
            echo = np.fft.irfft(spectrum)[reach - FRAME_LEN : reach]
            self.echo = np.concatenate((self.echo, echo))
            heard = echo + self._beside[begin : begin + FRAME_LEN]
            yield AudioFrame(np.clip(heard, -32768, 32767).astype(np.int16))


@pytest.fixture
def echoing_room() -> type[EchoingRoom]:
    return EchoingRoom
