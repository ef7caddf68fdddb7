"""Sound that a host has of its own: a game, a telephone line, a device with its own driver."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import numpy as np

from echat_sdk.audio import (
    FRAME_LEN,
    FRAME_SECONDS,
    SAMPLE_RATE,
    AudioFrame,
    Hertz,
    Seconds,
    Waveform,
)
from echat_sdk.io.framing import Framer

_HEARD = 25  # frames that wait for a reader; beyond that the oldest are dropped
_SILENCE = AudioFrame(np.zeros(FRAME_LEN, np.int16))


class CallbackAudio:
    """An `AudioIO` whose host pushes what is heard and is called with what is said.

    ```python
    audio = CallbackAudio(line.send, on_flush=line.drop, input_rate=8000, output_rate=8000)
    line.on_packet = audio.hear  # from any thread
    ```

    Args:
        on_play: Takes the next 20 ms or less, int16 mono at `output_rate`, on the event loop: it
            must not block. It is called at the pace of time.
        on_flush: Told to drop what was given and not heard.
        input_rate: Samples a second of what is pushed.
        output_rate: Samples a second of what is given.
        latency: From `on_play` until that is heard, about; as much is given ahead of time.
        fills_gaps: Whether silence is heard while nothing is pushed, as on a line that sends
            nothing while nobody speaks.
    """

    def __init__(
        self,
        on_play: Callable[[Waveform], None],
        *,
        on_flush: Callable[[], None] = lambda: None,
        input_rate: Hertz = SAMPLE_RATE,
        output_rate: Hertz = 24_000,
        latency: Seconds = 0.06,
        fills_gaps: bool = False,
    ) -> None:
        self.output_rate = output_rate
        self.latency = latency
        self._on_play = on_play
        self._on_flush = on_flush
        self._fills_gaps = fills_gaps
        self._framer = Framer(input_rate)
        self._heard: asyncio.Queue[AudioFrame | None] = asyncio.Queue(_HEARD)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._free_at: Seconds = 0.0  # when all that was given will have been heard
        self._is_closed = False

    def hear(self, samples: Waveform) -> None:
        """Take what is heard, int16 mono at `input_rate`, of any length; from any thread.

        What comes before `frames` is read is dropped.
        """
        self._soon(self._push, samples.copy())

    def end(self) -> None:
        """Nothing more will be heard: `frames` ends after what waits. From any thread."""
        self._soon(self._put, None)

    async def frames(self) -> AsyncIterator[AudioFrame]:
        """What is heard, 20 ms at a time; for one reader."""
        self._loop = loop = asyncio.get_running_loop()
        due = loop.time()
        while not self._is_closed:
            frame: AudioFrame | None = _SILENCE
            if self._fills_gaps:
                due += FRAME_SECONDS
                await asyncio.sleep(due - loop.time())
                with contextlib.suppress(asyncio.QueueEmpty):
                    frame = self._heard.get_nowait()
            else:
                frame = await self._heard.get()
            if frame is None:
                return
            yield frame

    async def play(self, samples: Waveform) -> None:
        """Give the next piece to the host; returns once there is room for more."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + len(samples) / self.output_rate
        self._on_play(samples)
        await asyncio.sleep(self._free_at - self.latency - now)

    def flush(self) -> None:
        """Drop what was given but cannot be heard yet."""
        self._free_at = 0.0
        self._on_flush()

    async def close(self) -> None:
        """End `frames`. May be called twice."""
        self._is_closed = True
        self._put(None)

    def _push(self, samples: Waveform) -> None:
        for frame in self._framer.push(samples):
            self._put(frame)

    def _put(self, frame: AudioFrame | None) -> None:
        if self._heard.full():
            self._heard.get_nowait()
        self._heard.put_nowait(frame)

    def _soon(self, function: Callable[..., None], *args: object) -> None:
        if self._loop is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(function, *args)
