"""One utterance on its way into a model, pushed from the event loop and heard in a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from echat_sdk.agent.consenting import heard_by
from echat_sdk.audio import FRAME_SECONDS, AudioFrame, Seconds, Waveform
from echat_sdk.bridge import Worker
from echat_sdk.protocols import Hearing
from echat_sdk.turn import Delta, Finding, Heard, Recollection, ThinkStyle

_BATCH = 5
"""Frames handed over at once: a tenth of a second."""

_TAIL: Seconds = 8.0
"""What is kept of the sound for whoever judges how complete it is."""


class Ear:
    """An utterance being heard.

    Frames are handed over in small batches and in order; what the model thinks of them surfaces
    where its answer is asked for.

    Args:
        listen: Opens the hearing; called in the thread.
        mind: The model's thread.

    Attributes:
        frames: How many were pushed.
        is_over_agent: Whether it began while the agent spoke, and nobody knows yet what it is.
        is_typed: Whether its words were given, so that no sound belongs to it.
        speak: Whether its answer is spoken; None as the conversation has it.
        voice: In which voice; None for the model's own.
        finding: What a tool gave for it already; None where none was asked.
        turn_id: The store's id of the turn, where it was kept already and then went on.
    """

    def __init__(self, listen: Callable[[], Hearing], mind: Worker) -> None:
        self._listen = listen
        self._mind = mind
        self._hearing: Hearing | None = None
        self._batch: list[AudioFrame] = []
        self._tail: deque[Waveform] = deque(maxlen=round(_TAIL / FRAME_SECONDS))
        self._error: Exception | None = None
        self.frames = 0
        self.is_over_agent = False
        self.is_typed = False
        self.speak: bool | None = None
        self.voice: str | None = None
        self.finding: Finding | None = None
        self.turn_id = ""

    @property
    def tail(self) -> Waveform:
        """The last seconds of the utterance, int16 at 16 kHz. Shape [S]."""
        return np.concatenate(self._tail) if self._tail else np.zeros(0, np.int16)

    def push(self, frames: Iterable[AudioFrame]) -> None:
        """Take the next frames."""
        for frame in frames:
            self.frames += 1
            self._batch.append(frame)
            self._tail.append(frame.samples)
        if len(self._batch) >= _BATCH:
            self._hand_over()

    async def heard(self, allowed: frozenset[str] | None = None) -> Heard:
        """The words and cues so far.

        Args:
            allowed: The purposes that the speaker may be used for; None for all. A model that can
                leave other cues alone is told to; what it infers all the same is for the caller
                to take away.
        """
        self._hand_over()
        return await self._mind.call(lambda: heard_by(self._open(), allowed))

    def reply(
        self, recollection: Recollection, *, think: ThinkStyle, speak: bool, voice: str | None
    ) -> Iterator[Delta]:
        """Think and answer; called in the thread."""
        return self._open().reply(recollection, think=think, speak=speak, voice=voice)

    def _hand_over(self) -> None:
        batch, self._batch = self._batch, []
        if batch:
            self._mind.submit(self._push, batch)

    def _push(self, frames: list[AudioFrame]) -> None:
        if self._error is not None:
            return
        try:
            hearing = self._hearing or self._listen()
            self._hearing = hearing
            for frame in frames:
                hearing.push(frame)
        except Exception as error:  # noqa: BLE001 - raised again where somebody waits for it
            self._error = error

    def _open(self) -> Hearing:
        if self._error is not None:
            raise self._error
        self._hearing = self._hearing or self._listen()
        return self._hearing
