"""This machine's microphone and speaker, through PortAudio.

PortAudio calls back in a thread of its own, every 20 ms. There, nothing waits: what was heard is
handed to the event loop, what is to be heard is taken from a buffer of a few pieces. A device that
is unplugged stops calling; then it is opened again until it is back, or patience ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import soxr

from echat_sdk.audio import (
    FRAME_LEN,
    FRAME_SECONDS,
    SAMPLE_RATE,
    AudioFrame,
    Hertz,
    Seconds,
    Waveform,
)
from echat_sdk.bridge import Worker
from echat_sdk.errors import AudioDeviceError

log = logging.getLogger(__name__)

_HEARD = 25  # frames that wait for a reader; beyond that the oldest are dropped
_BUFFER: Seconds = 0.06  # speech that is with us, ready for the device
_SILENT: Seconds = 1.0  # without a call for so long, a device is lost
_RETRY: Seconds = 0.5
_PATIENCE: Seconds = 20.0
_RATES: tuple[Hertz, ...] = (
    SAMPLE_RATE,
    48_000,
    44_100,
    32_000,
)  # tried in this order to hear with
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


class LocalAudio:
    """An `AudioIO` on a microphone and a speaker. Use it as an `async with` block.

    Args:
        microphone: Part of a device's name, or its number; None is the system's choice.
        speaker: The same for the speaker.
        patience: How long a lost device is waited for.

    Raises:
        AudioDeviceError: on entering: there is no such device, or it cannot be opened.
    """

    def __init__(
        self,
        *,
        microphone: str | int | None = None,
        speaker: str | int | None = None,
        patience: Seconds = _PATIENCE,
    ) -> None:
        self._wanted = (microphone, speaker)
        self._patience = patience
        self._worker = Worker("echat-audio")
        self._pair: _Pair | None = None
        self._heard: asyncio.Queue[AudioFrame | None] = asyncio.Queue(_HEARD)
        self._room = asyncio.Event()
        self._mending = asyncio.Lock()
        self._is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        try:
            self._pair = await self._worker.call(self._open)
        except BaseException:
            self._worker.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def output_rate(self) -> Hertz:
        """Samples a second that `play` takes."""
        return self._opened.output_rate

    @property
    def latency(self) -> Seconds:
        """From when `play` returns until its last sample is heard, about."""
        return _BUFFER + self._opened.output_latency

    async def frames(self) -> AsyncIterator[AudioFrame]:
        """What is heard, 20 ms at a time; ends when the device is closed.

        Raises:
            AudioDeviceError: the microphone was lost and did not come back.
        """
        while not self._is_closed:
            pair = self._opened
            try:
                async with asyncio.timeout(_SILENT):
                    frame = await self._heard.get()
            except TimeoutError:
                await self._mend(pair)
                continue
            if frame is None:
                return
            yield frame

    async def play(self, samples: Waveform) -> None:
        """Give the next piece to the speaker; returns once there is room for more.

        Raises:
            AudioDeviceError: the speaker was lost and did not come back.
        """
        pair = self._opened
        pair.put(samples)
        while pair.waiting > _BUFFER * pair.output_rate and not self._is_closed:
            self._room.clear()
            try:
                async with asyncio.timeout(_SILENT):
                    await self._room.wait()
            except TimeoutError:
                await self._mend(pair)
                return

    def flush(self) -> None:
        """Drop what has not been handed to the device."""
        self._opened.flush()

    async def close(self) -> None:
        """Release the devices; `frames` ends. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        pair = self._opened
        self._put(None)
        await self._worker.call(pair.close)
        self._worker.close()

    # --- the device -------------------------------------------------------------------------------

    @property
    def _opened(self) -> _Pair:
        if self._pair is None:
            raise AudioDeviceError("the devices are not open; use `async with LocalAudio()`")
        return self._pair

    def _open(self) -> _Pair:
        return _Pair(*self._wanted, hears=self._hears, has_room=self._has_room)

    async def _mend(self, lost: _Pair) -> None:
        """Open the devices again, once for all who miss them."""
        async with self._mending:
            if self._pair is not lost or self._is_closed:
                return
            log.warning("a sound device was lost; looking for it again")
            loop = asyncio.get_running_loop()
            deadline = loop.time() + self._patience
            await self._worker.call(lost.close)
            while not self._is_closed:
                try:
                    self._pair = await self._worker.call(self._open)
                except AudioDeviceError as error:
                    if loop.time() > deadline:
                        raise AudioDeviceError(
                            f"a sound device was lost for {self._patience:.0f} s: {error}"
                        ) from error
                    await asyncio.sleep(_RETRY)
                else:
                    log.warning("the sound device is back")
                    return

    def _hears(self, frame: AudioFrame) -> None:  # in PortAudio's thread
        self._soon(self._put, frame)

    def _has_room(self) -> None:  # in PortAudio's thread
        self._soon(self._room.set)

    def _soon(self, function: Any, *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            assert self._loop is not None, "opened in a loop"
            self._loop.call_soon_threadsafe(function, *args)

    def _put(self, frame: AudioFrame | None) -> None:
        if self._heard.full():
            self._heard.get_nowait()
        self._heard.put_nowait(frame)


class _Pair:
    """An open microphone and an open speaker."""

    def __init__(
        self, microphone: str | int | None, speaker: str | int | None, *, hears: Any, has_room: Any
    ) -> None:
        self._hears = hears
        self._has_room = has_room
        self._lock = threading.Lock()
        self._pieces: deque[Waveform] = deque()  # bounded: `play` waits for room
        self._rest = np.zeros(0, np.int16)
        self.waiting = 0  # samples of speech that the device has not taken
        self._audio = _portaudio()
        try:
            known = _devices(self._audio)
            heard = _find(self._audio, known, microphone, is_input=True)
            said = _find(self._audio, known, speaker, is_input=False)
            self._input, rate = self._stream(heard, _RATES, is_input=True)
            self._resampler = (
                None if rate == SAMPLE_RATE
                else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="int16")
            )  # fmt: skip
            self._output, self.output_rate = self._stream(said, _OUT_RATES, is_input=False)
            self.output_latency: Seconds = float(self._output.get_output_latency())
            self._input.start_stream()
            self._output.start_stream()
        except BaseException:
            self._audio.terminate()
            raise

    def put(self, samples: Waveform) -> None:
        with self._lock:
            self._pieces.append(samples)
            self.waiting += len(samples)

    def flush(self) -> None:
        with self._lock:
            self._pieces.clear()
            self.waiting = 0

    def close(self) -> None:
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

    def _listens(self, data: bytes, count: int, time: Any, status: int) -> tuple[None, int]:
        samples = np.frombuffer(data, np.int16)
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples)
        samples = np.concatenate((self._rest, samples))
        whole = len(samples) // FRAME_LEN * FRAME_LEN
        self._rest = samples[whole:].copy()
        for start in range(0, whole, FRAME_LEN):
            self._hears(AudioFrame(samples[start : start + FRAME_LEN].copy()))
        return None, 0  # paContinue

    def _speaks(self, data: None, count: int, time: Any, status: int) -> tuple[bytes, int]:
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
    with _hushed():
        return pyaudio.PyAudio()


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
