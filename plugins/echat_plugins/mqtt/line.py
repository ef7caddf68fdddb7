"""A device's microphone and speaker, as its agent has them: an `AudioIO` over MQTT."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable

import numpy as np

from echat_plugins.mqtt.codec import Decoder, decoder, encoder
from echat_plugins.mqtt.frame import MOST, Codec, Frame, FrameError
from echat_plugins.mqtt.jitter import JitterBuffer
from echat_plugins.mqtt.messages import Sound
from echat_sdk.audio import (
    FRAME_LEN,
    FRAME_SECONDS,
    SAMPLE_RATE,
    AudioFrame,
    Hertz,
    Seconds,
    Waveform,
)

OUTPUT_RATE: Hertz = 24_000

MOST_HEARD = 25
"""Frames of 20 ms that wait for the agent: half a second. Of more, the oldest are dropped."""

GAP: Seconds = 0.2
"""A microphone from which nothing came for so long is silent."""

MOST_SILENCE: Seconds = 6.0
"""That silence is heard for so long, by when any turn has ended."""

_AT_ONCE = 5  # frames that are heard before the event loop does something else
_SILENCE = AudioFrame(np.zeros(FRAME_LEN, np.int16))


class Line:
    """Where a device is heard and spoken to. Used from the event loop's thread.

    Args:
        sound: How the device speaks and listens.
        hears: The stream of the frames that it sends.
        send: Takes a frame for it, without waiting.
        on_play: Told what is sent, and when it will be heard there.
        on_flush: Told which frames it is not to play: the first, and the one after the last.
        ahead: How far ahead of its time a frame is sent.
        reorder: How long is waited for a frame that is missing.

    Attributes:
        says: The stream of the frames that are sent.
        faults: Frames that could not be read.
    """

    def __init__(
        self,
        sound: Sound,
        *,
        hears: int,
        send: Callable[[bytes], None],
        on_play: Callable[[Waveform, Seconds], None],
        on_flush: Callable[[int, int], None],
        ahead: Seconds,
        reorder: Seconds,
    ) -> None:
        self.output_rate = OUTPUT_RATE
        self._send = send
        self._on_play = on_play
        self._on_flush = on_flush
        self._reorder = reorder
        self._ahead = ahead
        self._loop = asyncio.get_running_loop()
        self._heard: deque[AudioFrame] = deque(maxlen=MOST_HEARD)
        self._came = asyncio.Event()
        self._wait: asyncio.TimerHandle | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._given = np.zeros(0, np.int16)  # less than a frame
        self._sent: deque[tuple[int, Seconds]] = deque(maxlen=256)  # when each begins to be heard
        self._free_at: Seconds = 0.0
        self._gap = 0
        self._is_live = False
        self._is_closed = False
        self.faults = 0
        self.adapt(sound, hears)

    def adapt(self, sound: Sound, hears: int) -> None:
        """Both streams begin anew, perhaps in another form.

        Raises:
            ConfigError: Opus is not here.
        """
        self.says = secrets.randbits(32)
        self._sequence = 0
        self._sent.clear()
        self._began = self._loop.time()
        self._given = self._given[:0]
        codec = Codec.OPUS if sound.codec == "opus" else Codec.PCM16
        self._codec, self._length = codec, sound.frame_ms
        self._hears = hears
        self._buffer = JitterBuffer[bytes](self._reorder)
        self._decoder: Decoder = decoder(codec, SAMPLE_RATE, sound.frame_ms)
        self._encoder = encoder(codec, OUTPUT_RATE, sound.frame_ms)
        self._step = OUTPUT_RATE * sound.frame_ms // 1000
        self._hold = sound.hold_ms / 1000
        self.latency = self._ahead + self._hold

    # --- from the device --------------------------------------------------------------------------

    def take(self, payload: bytes) -> None:
        """The next bytes that it sent.

        Raises:
            FrameError: they are no frame, or none of this stream.
        """
        frame = Frame.parse(payload)
        if (frame.codec, frame.length) != (self._codec, self._length):
            raise FrameError("a frame of another form than the hello said")
        if frame.stream != self._hears:
            raise FrameError("a frame of another stream")
        if self._buffer.push(frame.sequence, frame.data, self._loop.time()):
            self._hear()

    @property
    def dropped(self) -> int:
        """Frames that came too late, or twice."""
        return self._buffer.dropped

    @property
    def lost(self) -> int:
        """Frames that never came."""
        return self._buffer.lost

    def _hear(self) -> None:
        if self._wait is not None:
            self._wait.cancel()
        for data in self._buffer.ready(self._loop.time()):
            self._put(data)
        due = self._buffer.due()
        self._wait = None if due is None else self._loop.call_at(due, self._hear)

    def _put(self, data: bytes | None) -> None:
        """Let a frame be heard; silence for one that is lost, or cannot be read."""
        samples = np.zeros(SAMPLE_RATE * self._length // 1000, np.int16)
        if data is not None:
            try:
                samples = self._decoder.decode(data)
            except FrameError:
                self.faults += 1
        for start in range(0, len(samples), FRAME_LEN):
            self._heard.append(AudioFrame(samples[start : start + FRAME_LEN]))
        self._is_live = True
        self._came.set()

    async def frames(self) -> AsyncIterator[AudioFrame]:
        """What is heard, 20 ms at a time; silence where the microphone pauses."""
        while not self._is_closed:
            if self._heard:
                yield self._heard.popleft()
                if len(self._heard) % _AT_ONCE == _AT_ONCE - 1:
                    await asyncio.sleep(0)
            elif not await self._comes():
                yield _SILENCE

    async def _comes(self) -> bool:
        """Wait for more; False where silence is to be heard instead."""
        self._came.clear()
        wait: Seconds | None = GAP if self._gap == 0 else FRAME_SECONDS
        if not self._is_live or self._gap > MOST_SILENCE / FRAME_SECONDS:
            wait = None
        try:
            async with asyncio.timeout(wait):
                await self._came.wait()
        except TimeoutError:
            self._gap += 1
            return False
        self._gap = 0
        return True

    # --- to the device ----------------------------------------------------------------------------

    @property
    def timestamp(self) -> int:
        """On the wire, of the sound that begins to be heard at the device now; milliseconds."""
        return self._timestamp(self._loop.time())

    async def play(self, samples: Waveform) -> None:
        """Send the next piece; returns once there is room for more."""
        now = self._loop.time()
        self._free_at = max(now, self._free_at)
        self._given = np.concatenate((self._given, samples))
        while len(self._given) >= self._step:
            piece, self._given = self._given[: self._step], self._given[self._step :]
            self._out(piece)
        if self._rest is not None:
            self._rest.cancel()
        self._rest = None
        if len(self._given):
            self._rest = self._loop.call_later(self._ahead / 2, self._fill)
        ends = self._free_at + len(self._given) / OUTPUT_RATE
        await asyncio.sleep(ends - self._ahead - now)

    def flush(self) -> None:
        """What is not heard yet is not to be heard."""
        if self._rest is not None:
            self._rest.cancel()
        self._given = self._given[:0]
        now = self._loop.time()
        first = next((n for n, at in self._sent if at > now), self._sequence)
        self._free_at = 0.0
        if first < self._sequence:
            self._sent.clear()
            self._on_flush(first, self._sequence)

    async def close(self) -> None:
        """End `frames`, and send no more. May be called twice."""
        self._is_closed = True
        for timer in (self._wait, self._rest):
            if timer is not None:
                timer.cancel()
        self._came.set()

    def _fill(self) -> None:
        """The end of what is said fills no frame: the rest of it is silence."""
        if len(self._given):
            piece = np.zeros(self._step, np.int16)
            piece[: len(self._given)] = self._given
            self._given = self._given[:0]
            self._out(piece)

    def _out(self, piece: Waveform) -> None:
        """Send one frame, and know when it will be heard: when what was sent before was."""
        begins = self._free_at + self._hold
        self._free_at += len(piece) / OUTPUT_RATE
        frame = Frame(
            self._codec,
            self._length,
            self.says,
            self._sequence,
            self._timestamp(begins),
            self._encoder.encode(piece),
        )
        self._sent.append((self._sequence, begins))
        self._sequence += 1
        self._on_play(piece, begins)
        self._send(frame.render())

    def _timestamp(self, at: Seconds) -> int:
        return max(0, round((at - self._began) * 1000)) & MOST
