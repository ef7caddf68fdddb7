"""What is said aloud, and how much of it was heard.

The player keeps the answer and gives the device 20 ms at a time, so pausing, lowering the voice and
stopping take effect within what the device holds already.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import soxr

from echat_sdk.audio import Hertz, Seconds, Waveform
from echat_sdk.protocols import AudioIO
from echat_sdk.turn import SpeechDelta

MOST_AHEAD: Seconds = 60.0
"""Speech that may wait to be heard; who makes more of it waits."""

_STEP: Seconds = 0.02
_FADE: Seconds = 0.02
_WORD = re.compile(r"[\u4e00-\u9fff][，。！？、；：…]*\s*|[^\s\u4e00-\u9fff]+\s*|\s+")


@dataclass(slots=True)
class Script:
    """The words of an answer and how long each piece of them takes.

    Attributes:
        pieces: Words, and the seconds that speaking them takes.
    """

    pieces: list[tuple[str, Seconds]] = field(default_factory=list)

    def add(self, text: str, seconds: Seconds) -> None:
        """The next piece; one without words belongs to the words before it."""
        if text or not self.pieces:
            self.pieces.append((text, seconds))
        else:
            words, before = self.pieces[-1]
            self.pieces[-1] = (words, before + seconds)

    def heard(self, seconds: Seconds) -> str:
        """The words of the first `seconds`; a word counts once it was heard to its end."""
        heard = []
        for text, length in self.pieces:
            if seconds + 1e-6 >= length:
                heard.append(text)
                seconds -= length
                continue
            letters = len(text) * max(0.0, seconds) / length
            end = 0
            for word in _WORD.finditer(text):
                if len(word.group().rstrip()) + word.start() > letters:
                    break
                end = word.end()
            heard.append(text[:end])
            break
        return "".join(heard).rstrip()


class Player:
    """Speaks answers through a device, one at a time.

    Run `run` in a task; everything else is called from the same event loop.

    Args:
        device: Where the sound goes.
    """

    def __init__(self, device: AudioIO) -> None:
        self._device = device
        self._rate: Hertz = device.output_rate
        self._waiting: deque[Waveform] = deque()  # bounded by MOST_AHEAD: `say` waits for room
        self._ahead = 0  # samples in it
        self._given = 0  # samples that the device took or is taking, and when it took the last
        self._taken_at = -math.inf
        self._script = Script()
        self._resampler: soxr.ResampleStream | None = None
        self._from: Hertz = 0
        self._gain = self._wanted_gain = 1.0
        self._is_paused = False
        self._is_whole = True
        self._changed = asyncio.Event()

    @property
    def is_speaking(self) -> bool:
        """Whether an answer is being said, paused or not."""
        return not self._is_whole or bool(self._waiting) or self._taken_at == math.inf

    @property
    def is_dry(self) -> bool:
        """Whether there is nothing more to say as yet."""
        return not self._waiting and self._taken_at != math.inf and self._held == 0

    @property
    def heard_seconds(self) -> Seconds:
        """How much of the answer was heard: what the device took, less what it still holds."""
        return max(0.0, self._given / self._rate - self._held)

    @property
    def heard(self) -> str:
        """The words that were heard."""
        return self._script.heard(self.heard_seconds)

    @property
    def words(self) -> str:
        """The words of the answer, as far as they were given."""
        return "".join(text for text, _ in self._script.pieces)

    def begin(self) -> None:
        """Begin an answer; what was left of the last one is dropped."""
        self.stop()
        self._script = Script()
        self._given, self._taken_at = 0, -math.inf
        self._resampler = None
        self._is_whole = False
        self._gain = self._wanted_gain = 1.0
        self._is_paused = False

    async def say(self, delta: SpeechDelta) -> None:
        """Take the next piece of the answer; waits while too much is still to be heard."""
        while self._ahead > MOST_AHEAD * self._rate:
            await self._next_change()
        self._script.add(delta.text, len(delta.samples) / delta.sample_rate)
        self._put(self._resampled(delta.samples, delta.sample_rate))

    def finish(self) -> None:
        """No more pieces will come."""
        if self._resampler is not None:
            self._put(self._resampler.resample_chunk(np.zeros(0, np.int16), last=True))
        self._is_whole = True
        self._wake()

    async def spoken(self) -> None:
        """Wait until the answer was heard to its end, or was stopped."""
        while self.is_speaking:
            await self._next_change()
        await asyncio.sleep(self._held)

    def duck(self, decibels: float) -> None:
        """Lower the voice; 0 restores it."""
        self._wanted_gain = 10 ** (decibels / 20)

    def pause(self) -> None:
        """Hold the answer back; the device falls silent once it has said what it holds."""
        self._is_paused = True

    def resume(self) -> None:
        """Go on, at full voice."""
        self._is_paused = False
        self.duck(0)
        self._wake()

    def stop(self) -> None:
        """Drop what was not heard."""
        if self.is_speaking:
            self._given = round(self.heard_seconds * self._rate)
            self._taken_at = -math.inf
            self._device.flush()
        self._waiting.clear()
        self._ahead = 0
        self._is_whole = True
        self._wake()

    async def run(self) -> None:
        """Give the device what there is to say, for ever.

        Raises:
            AudioDeviceError: the speaker was lost.
        """
        step = round(_STEP * self._rate)
        while True:
            if self._is_paused or not self._waiting:
                await self._next_change()
                continue
            piece = self._take(step)
            self._given += len(piece)
            self._taken_at = math.inf
            await self._device.play(self._faded(piece))
            if self._taken_at == math.inf:  # else it was stopped meanwhile
                self._taken_at = asyncio.get_running_loop().time()
            self._wake()

    @property
    def _held(self) -> Seconds:
        """What the device holds of the answer; while it takes a piece, that too."""
        if self._taken_at == math.inf:
            return self._device.latency + _STEP
        now = asyncio.get_running_loop().time()
        return max(0.0, self._device.latency - (now - self._taken_at))

    # --- samples ----------------------------------------------------------------------------------

    def _resampled(self, samples: Waveform, rate: Hertz) -> Waveform:
        if rate == self._rate:
            return samples
        if self._resampler is None or rate != self._from:
            self._from = rate
            self._resampler = soxr.ResampleStream(rate, self._rate, 1, dtype="int16")
        resampled: Waveform = self._resampler.resample_chunk(samples)
        return resampled

    def _put(self, samples: Waveform) -> None:
        if len(samples):
            self._waiting.append(samples)
            self._ahead += len(samples)
            self._wake()

    def _take(self, count: int) -> Waveform:
        pieces, wanted = [], count
        while wanted and self._waiting:
            piece = self._waiting.popleft()
            if len(piece) > wanted:
                self._waiting.appendleft(piece[wanted:])
                piece = piece[:wanted]
            pieces.append(piece)
            wanted -= len(piece)
        self._ahead -= count - wanted
        return np.concatenate(pieces)

    def _faded(self, piece: Waveform) -> Waveform:
        """At the voice that is wanted, reached without a click."""
        if self._gain == self._wanted_gain == 1.0:
            return piece
        most = len(piece) / (_FADE * self._rate)
        change = max(-most, min(most, self._wanted_gain - self._gain))
        gains = np.linspace(self._gain, self._gain + change, len(piece), dtype=np.float32)
        self._gain += change
        return (piece * gains).astype(np.int16)

    # --- waiting ----------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._changed.set()

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
