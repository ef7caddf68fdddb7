"""This machine's microphone and speaker.

What is heard comes to the event loop in frames, what is to be heard waits in a buffer of a few
pieces. A device that is unplugged stops calling; then it is opened again until it is back, or
patience ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

from echat_sdk.audio import (
    AudioFrame,
    Hertz,
    Seconds,
    Waveform,
)
from echat_sdk.bridge import Worker
from echat_sdk.errors import AudioDeviceError
from echat_sdk.io.portaudio import DevicePair

log = logging.getLogger(__name__)

_HEARD = 25  # frames that wait for a reader; beyond that the oldest are dropped
_BUFFER: Seconds = 0.06  # speech that is with us, ready for the device
_LOOK: Seconds = 0.5  # how often a device that does not call is looked at
_CLOSING: Seconds = 2.0  # a driver that needs longer to close is left behind
_RETRY: Seconds = 0.5
_PATIENCE: Seconds = 20.0


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
        self._pair: DevicePair | None = None
        self._heard: asyncio.Queue[AudioFrame | None] = asyncio.Queue(_HEARD)
        self._room = asyncio.Event()
        self._mending = asyncio.Lock()
        self._is_closed = False
        self._given_up: AudioDeviceError | None = None
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
            try:
                async with asyncio.timeout(_LOOK):
                    frame = await self._heard.get()
            except TimeoutError:
                await self._mend_if_lost()
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
                async with asyncio.timeout(_LOOK):
                    await self._room.wait()
            except TimeoutError:
                await self._mend_if_lost()
                if self._pair is not pair:
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
        await self._shut(pair)
        self._worker.abandon()

    # --- the device -------------------------------------------------------------------------------

    @property
    def _opened(self) -> DevicePair:
        if self._pair is None:
            raise AudioDeviceError("the devices are not open; use `async with LocalAudio()`")
        return self._pair

    def _open(self) -> DevicePair:
        return DevicePair(*self._wanted, hears=self._hears, has_room=self._has_room)

    async def _mend_if_lost(self) -> None:
        """Open lost devices again, once for all who miss them."""
        lost = self._opened
        async with self._mending:
            if self._given_up is not None:  # who misses them later has waited long enough
                raise self._given_up
            if self._pair is not lost or self._is_closed or not lost.is_lost:
                return
            log.warning("a sound device was lost; looking for it again")
            loop = asyncio.get_running_loop()
            deadline = loop.time() + self._patience
            await self._shut(lost)
            while not self._is_closed:
                try:
                    self._pair = await self._worker.call(self._open)
                except AudioDeviceError as error:
                    if loop.time() > deadline:
                        self._given_up = AudioDeviceError(
                            f"a sound device was lost for {self._patience:.0f} s: {error}"
                        )
                        raise self._given_up from error
                    await asyncio.sleep(_RETRY)
                else:
                    log.warning("the sound device is back")
                    return

    async def _shut(self, pair: DevicePair) -> None:
        """Close devices; a driver that hangs in it is left to itself."""
        try:
            async with asyncio.timeout(_CLOSING):
                await self._worker.call(pair.close)
        except TimeoutError:
            log.warning("a sound device does not close; it is left behind")
            self._worker.abandon()
            self._worker = Worker("echat-audio")

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
