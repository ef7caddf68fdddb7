"""A device's speaker: what came as frames, as sound at its time, and the face that goes with it."""

from __future__ import annotations

import asyncio
from collections import deque

import numpy as np

from echat_plugins.mqtt.codec import Decoder, decoder
from echat_plugins.mqtt.frame import Codec, Frame, FrameError
from echat_plugins.mqtt.jitter import JitterBuffer
from echat_plugins.mqtt.line import OUTPUT_RATE
from echat_plugins.mqtt.messages import Affect, Flush, Sound
from echat_sdk.audio import FRAME_SECONDS, Seconds, Waveform

STEP = round(OUTPUT_RATE * FRAME_SECONDS)
"""Samples of 20 ms."""

MOST_HELD: Seconds = 2.0
"""Sound that may wait to be heard; of more, the oldest is dropped."""

_MOST_AFFECTS = 64
_MOST = round(MOST_HELD / FRAME_SECONDS)


class Speaker:
    """Used from the event loop's thread.

    After a silence, what comes is held for a moment, so that frames that come late are in time.

    Args:
        sound: As the hello said.
    """

    def __init__(self, sound: Sound) -> None:
        self._sound = sound
        self._hold = sound.hold_ms / 1000
        self._codec = Codec.OPUS if sound.codec == "opus" else Codec.PCM16
        self._now = asyncio.get_running_loop().time
        self._held: deque[tuple[int, int, Waveform]] = deque(maxlen=_MOST)  # sequence, timestamp
        # With when they came.
        self._affects: deque[tuple[Seconds, Affect]] = deque(maxlen=_MOST_AFFECTS)
        self._affect: Affect | None = None
        self._starts_at: Seconds | None = None  # of what is held; None while it is being heard
        self._at: tuple[int, Seconds] | None = None  # what is heard now, and since when
        self._wait: asyncio.TimerHandle | None = None
        self.faults = 0
        self.begin(0)

    def begin(self, stream: int) -> None:
        """A new stream begins; what was left of another is dropped."""
        self.close()
        self._stream = stream
        self._buffer = JitterBuffer[Frame](self._hold)
        self._decoder: Decoder = decoder(self._codec, OUTPUT_RATE, self._sound.frame_ms)
        self._wait = None
        self._cut = (0, 0)
        self._last = (0, 0)
        self._held.clear()
        self._affects.clear()
        self._starts_at = self._at = None

    @property
    def dropped(self) -> int:
        """Frames that came too late, or twice."""
        return self._buffer.dropped

    @property
    def lost(self) -> int:
        """Frames that never came."""
        return self._buffer.lost

    def take(self, payload: bytes) -> None:
        """The next bytes that came; what is no frame of this stream is not heard."""
        try:
            frame = Frame.parse(payload)
        except FrameError:
            self.faults += 1
            return
        is_form = (frame.codec, frame.length) == (self._codec, self._sound.frame_ms)
        if frame.stream != self._stream or not is_form:
            self.faults += 1
        elif self._buffer.push(frame.sequence, frame, self._now()):
            self._order()

    def flush(self, flush: Flush) -> None:
        """These frames are not to be heard, be they here or on their way."""
        if flush.stream != self._stream:
            return
        self._cut = (flush.first, flush.end)
        kept = [each for each in self._held if not flush.first <= each[0] < flush.end]
        self._held.clear()
        self._held.extend(kept)

    def pull(self) -> Waveform:
        """The next 20 ms to be heard, silence where there are none. Shape [S], S = 480."""
        now = self._now()
        if self._starts_at is not None and now < self._starts_at:
            return np.zeros(STEP, np.int16)
        self._starts_at = None
        if not self._held:
            self._at = None
            return np.zeros(STEP, np.int16)
        _, timestamp, samples = self._held.popleft()
        self._at = (timestamp, now)
        return samples

    @property
    def is_speaking(self) -> bool:
        """Whether something is heard, or about to be."""
        return self._at is not None or bool(self._held)

    def show(self, affect: Affect) -> None:
        """The next frame of the face; it waits for the sound that it goes with."""
        self._affects.append((self._now(), affect))

    @property
    def affect(self) -> Affect | None:
        """The face that goes with what is heard now; None before the first."""
        while self._affects and self._is_due(*self._affects[0]):
            self._affect = self._affects.popleft()[1]
        return self._affect

    def _is_due(self, came: Seconds, affect: Affect) -> bool:
        """Whether what it goes with is heard now, or was."""
        now = self._now()
        if self._at is not None:
            timestamp, since = self._at
        elif self._held:
            timestamp, since = self._held[0][1], self._starts_at or now
        else:  # a mouth that opens waits for its sound, if that is not long in coming
            return affect.mouth == 0 or now - came >= self._hold
        return affect.at <= timestamp + 1000 * (now - since)

    def close(self) -> None:
        """No more is waited for."""
        if self._wait is not None:
            self._wait.cancel()

    def _order(self) -> None:
        if self._wait is not None:
            self._wait.cancel()
        for frame in self._buffer.ready(self._now()):
            self._put(frame)
        due = self._buffer.due()
        loop = asyncio.get_running_loop()
        self._wait = None if due is None else loop.call_at(due, self._order)

    def _put(self, frame: Frame | None) -> None:
        """What was sent, or silence where it is lost, after what is held."""
        length = self._sound.frame_ms
        samples = np.zeros(OUTPUT_RATE * length // 1000, np.int16)
        if frame is None:
            sequence, timestamp = self._last[0] + 1, self._last[1] + length
        else:
            sequence, timestamp = frame.sequence, frame.timestamp
            try:
                samples = self._decoder.decode(frame.data)
            except FrameError:
                self.faults += 1
        self._last = (sequence, timestamp)
        if self._cut[0] <= sequence < self._cut[1]:
            return
        if not self.is_speaking and self._starts_at is None:
            self._starts_at = self._now() + self._hold
        for start in range(0, len(samples), STEP):
            piece = samples[start : start + STEP]
            self._held.append((sequence, timestamp + start * 1000 // OUTPUT_RATE, piece))
