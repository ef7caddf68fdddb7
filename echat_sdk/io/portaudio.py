"""PortAudio's devices: which there are, and a microphone and a speaker opened together.

PortAudio calls back in a thread of its own, every 20 ms. There, nothing waits.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from echat_sdk.audio import (
    FRAME_SECONDS,
    SAMPLE_RATE,
    AudioFrame,
    Hertz,
    Seconds,
    Waveform,
)
from echat_sdk.errors import AudioDeviceError
from echat_sdk.io.framing import Framer

_SILENT: Seconds = 3.0  # without a call for so long, a device is lost; a busy machine calls late
_RATES: tuple[Hertz, ...] = (SAMPLE_RATE, 48_000, 44_100, 32_000)  # to hear with, best first
_OUT_RATES: tuple[Hertz, ...] = (24_000, 48_000, 44_100, SAMPLE_RATE)


@dataclass(frozen=True, slots=True)
class Device:
    """A sound device of this machine.

    Attributes:
        index: PortAudio's number of it; it changes when devices come and go.
        name: What it is called.
        inputs: Channels that it hears.
        outputs: Channels that it plays.
        rate: The rate that it likes best.
    """

    index: int
    name: str
    inputs: int
    outputs: int
    rate: Hertz


def devices() -> tuple[Device, ...]:
    """The sound devices of this machine; looking for them takes a moment.

    Raises:
        AudioDeviceError: PyAudio is not installed, or PortAudio finds no sound system.
    """
    audio = _portaudio()
    try:
        return _devices(audio)
    finally:
        audio.terminate()


class DevicePair:
    """An open microphone and an open speaker.

    Args:
        microphone: Part of a device's name, or its number; None is the system's choice.
        speaker: The same for the speaker.
        hears: Takes each frame; called in PortAudio's thread.
        has_room: Told when the speaker has taken something; called in PortAudio's thread.

    Raises:
        AudioDeviceError: there is no such device, or it cannot be opened.
    """

    def __init__(
        self,
        microphone: str | int | None,
        speaker: str | int | None,
        *,
        hears: Callable[[AudioFrame], None],
        has_room: Callable[[], None],
    ) -> None:
        self._hears = hears
        self._has_room = has_room
        self._lock = threading.Lock()
        self._pieces: deque[Waveform] = deque()  # bounded: `play` waits for room
        self.waiting = 0  # samples of speech that the device has not taken
        self._called_at = [time.monotonic()] * 2  # the microphone's last call, and the speaker's
        self._audio = _portaudio()
        try:
            known = _devices(self._audio)
            heard = _find(self._audio, known, microphone, is_input=True)
            said = _find(self._audio, known, speaker, is_input=False)
            self._input, rate = self._stream(heard, _RATES, is_input=True)
            self._framer = Framer(rate)
            self._output, self.output_rate = self._stream(said, _OUT_RATES, is_input=False)
            self.output_latency: Seconds = float(self._output.get_output_latency())
            self._input.start_stream()
            self._output.start_stream()
        except BaseException:
            self._audio.terminate()
            raise

    @property
    def is_lost(self) -> bool:
        """Whether one of the devices has ended, or has not called for long."""
        try:
            is_active = self._input.is_active() and self._output.is_active()
        except OSError:
            is_active = False
        return not is_active or time.monotonic() - min(self._called_at) > _SILENT

    def put(self, samples: Waveform) -> None:
        """Speech for the speaker, behind what waits already."""
        with self._lock:
            self._pieces.append(samples)
            self.waiting += len(samples)

    def flush(self) -> None:
        """Drop the speech that the speaker has not taken."""
        with self._lock:
            self._pieces.clear()
            self.waiting = 0

    def close(self) -> None:
        """Release both; blocks for as long as the driver does."""
        for stream in (self._input, self._output):
            with contextlib.suppress(OSError):  # it is gone already
                stream.close()
        self._audio.terminate()

    def _stream(
        self, device: Device, rates: tuple[Hertz, ...], *, is_input: bool
    ) -> tuple[Any, Hertz]:
        import pyaudio

        side = "input" if is_input else "output"
        why = ""
        for rate in dict.fromkeys((*rates, device.rate)):
            try:
                stream = self._audio.open(
                    rate,
                    1,
                    pyaudio.paInt16,
                    start=False,
                    frames_per_buffer=round(rate * FRAME_SECONDS),
                    stream_callback=self._listens if is_input else self._speaks,
                    **{side: True, f"{side}_device_index": device.index},
                )
            except (OSError, ValueError) as error:
                why = str(error)
            else:
                return stream, rate
        raise AudioDeviceError(f"cannot open {device.name!r} for {side}: {why}")

    def _listens(self, data: bytes, count: int, times: Any, status: int) -> tuple[None, int]:
        self._called_at[0] = time.monotonic()
        for frame in self._framer.push(np.frombuffer(data, np.int16)):
            self._hears(frame)
        return None, 0  # paContinue

    def _speaks(self, data: None, count: int, times: Any, status: int) -> tuple[bytes, int]:
        self._called_at[1] = time.monotonic()
        out = np.zeros(count, np.int16)
        filled = 0
        with self._lock:
            while filled < count and self._pieces:
                piece = self._pieces.popleft()
                taken = piece[: count - filled]
                out[filled : filled + len(taken)] = taken
                filled += len(taken)
                if len(taken) < len(piece):
                    self._pieces.appendleft(piece[len(taken) :])
            self.waiting -= filled
        self._has_room()
        return out.tobytes(), 0  # paContinue


def _portaudio() -> Any:
    try:
        import pyaudio
    except ImportError as error:
        raise AudioDeviceError(
            "PyAudio is not installed; pip install 'echat-sdk[audio]' "
            "(it needs PortAudio's headers: apt install portaudio19-dev)"
        ) from error
    _hush_alsa()
    with _hushed():
        return pyaudio.PyAudio()


# Stands where ALSA would print: file, line, function, error, format.
_HANDLER = ctypes.CFUNCTYPE(
    None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p
)
_say_nothing = _HANDLER(lambda *_: None)


def _hush_alsa() -> None:
    """Keep ALSA from printing "underrun occurred" over the terminal; there is no ALSA elsewhere."""
    with contextlib.suppress(OSError):
        ctypes.CDLL("libasound.so.2").snd_lib_error_set_handler(_say_nothing)


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep what ALSA and JACK print about sound cards that are not there off the terminal."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _devices(audio: Any) -> tuple[Device, ...]:
    found = []
    for index in range(audio.get_device_count()):
        about = audio.get_device_info_by_index(index)
        found.append(
            Device(
                index,
                str(about["name"]),
                int(about["maxInputChannels"]),
                int(about["maxOutputChannels"]),
                round(about["defaultSampleRate"]),
            )
        )
    return tuple(found)


def _find(
    audio: Any, known: tuple[Device, ...], wanted: str | int | None, *, is_input: bool
) -> Device:
    side = "microphone" if is_input else "speaker"
    able = [each for each in known if (each.inputs if is_input else each.outputs)]
    if wanted is None:
        try:
            default = (
                audio.get_default_input_device_info()
                if is_input
                else audio.get_default_output_device_info()
            )
        except OSError as error:
            raise AudioDeviceError(f"this machine has no {side}") from error
        wanted = int(default["index"])
    for each in able:
        if each.index == wanted or (
            isinstance(wanted, str) and wanted.lower() in each.name.lower()
        ):
            return each
    names = ", ".join(repr(each.name) for each in able) or "none"
    raise AudioDeviceError(f"no {side} {wanted!r}; there are {names}")
