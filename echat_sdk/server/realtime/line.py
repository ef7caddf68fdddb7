"""A session's microphone and speaker: what its client sends, and a clock for what it plays."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import numpy as np

from echat_sdk.audio import FRAME_LEN, FRAME_SECONDS, AudioFrame, Hertz, Seconds, Waveform
from echat_sdk.io.framing import Framer
from echat_sdk.server.realtime.faults import Fault

MOST_WAITING: Seconds = 300.0
"""Sound that may wait to be heard; who sends more at once is told to slow down."""

GAP: Seconds = 0.4
"""A client that sends nothing for so long has paused its microphone: silence is heard instead."""

MOST_SILENCE: Seconds = 6.0
"""It is heard for so long, by when any turn has ended."""

_AT_ONCE = 5  # frames that are heard before the event loop does something else
_SILENCE = AudioFrame(np.zeros(FRAME_LEN, np.int16))


class Line:
    """An `AudioIO` over a wire.

    What the agent says goes to the client as fast as it is made, past this; here it only takes its
    time, as it does at the client's speaker, so that what was heard of it is known.

    Args:
        output_rate: Samples a second of what the agent says.
        gap: As `GAP`.
    """

    carries_speech = False
    """Whether what the agent says goes this way, and not in events."""

    def __init__(self, output_rate: Hertz, gap: Seconds = GAP) -> None:
        self.output_rate = output_rate
        self.latency: Seconds = 0.0
        self.plays = True
        """Whether what is said takes its time; else it counts as heard at once."""
        self.speaks = True
        """Whether answers are to be heard; else they are read."""
        self._gap_allowed = gap
        self._framer = Framer(24_000)
        self._rate: Hertz = 24_000
        self._waiting: deque[AudioFrame] = deque()  # bounded by MOST_WAITING: `hear` refuses more
        self._came = asyncio.Event()
        self._free_at: Seconds = 0.0
        self._is_closed = False
        self._gap = 0  # frames of silence since the client paused
        self._is_live = False  # whether a microphone was heard at all

    def hear(self, samples: Waveform, rate: Hertz) -> None:
        """Take what the client sent, int16 mono.

        Raises:
            Fault: too much waits to be heard.
        """
        self._waiting.extend(self.framed(samples, rate))
        self._is_live = True
        self._came.set()

    def framed(self, samples: Waveform, rate: Hertz) -> list[AudioFrame]:
        """The frames that are full now.

        Raises:
            Fault: too much waits to be heard.
        """
        self.check(len(samples) / rate)
        if rate != self._rate:
            self._rate, self._framer = rate, Framer(rate)
        return list(self._framer.push(samples))

    def check(self, seconds: Seconds) -> None:
        """See whether there is room for so much more.

        Raises:
            Fault: there is not.
        """
        waiting = seconds + len(self._waiting) * FRAME_SECONDS
        if waiting > MOST_WAITING:
            raise Fault(
                f"{waiting:.0f} s of audio would wait; send at most {MOST_WAITING:.0f} s ahead",
                code="audio_buffer_full",
                param="audio",
            )

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()

    async def frames(self) -> AsyncIterator[AudioFrame]:
        """What is heard, 20 ms at a time; silence where the microphone pauses."""
        since = 0
        while not self._is_closed:
            if self._waiting:
                since += 1
                if since % _AT_ONCE == 0:
                    await asyncio.sleep(0)
                frame = self._waiting.popleft() if self._waiting else _SILENCE
            elif await self._comes():
                continue
            else:
                frame = _SILENCE
            yield frame

    async def _comes(self) -> bool:
        """Wait for more; False where silence is to be heard instead."""
        self._came.clear()
        wait: Seconds | None = self._gap_allowed if self._gap == 0 else FRAME_SECONDS
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

    async def play(self, samples: Waveform) -> None:
        """Take as long as the client takes to play it."""
        now = asyncio.get_running_loop().time()
        if self.plays:
            self._free_at = max(now, self._free_at) + len(samples) / self.output_rate
        await asyncio.sleep(self._free_at - now)

    def flush(self) -> None:
        """Nothing more is played of what was given."""
        self._free_at = 0.0

    async def close(self) -> None:
        """End `frames`. May be called twice."""
        self._is_closed = True
        self._came.set()


async def in_pieces(samples: Waveform, rate: Hertz) -> AsyncIterator[Waveform]:
    """A long recording a second at a time, so that other sessions have their turn between."""
    for start in range(0, len(samples), rate):
        if start:
            await asyncio.sleep(0)
        yield samples[start : start + rate]
