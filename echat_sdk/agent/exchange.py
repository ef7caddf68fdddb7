"""One exchange: what was heard, thought and said, gathered into a turn as it comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from echat_sdk.audio import Hertz, Seconds, Waveform
from echat_sdk.protocols import SpeechModel
from echat_sdk.turn import (
    Delta,
    Heard,
    Recollection,
    SpeechDelta,
    TextDelta,
    ThinkDelta,
    Thought,
    Timings,
    Turn,
    TurnStatus,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished exchange.

    Attributes:
        turn: The record, as memory keeps it.
        turn_id: The store's id of it; empty when no speech was heard, for nothing is kept then.
        speech: The spoken answer, int16 mono. Shape [S].
        sample_rate: Samples a second of `speech`.
        recollection: What memory gave before the answer.
    """

    turn: Turn
    turn_id: str
    speech: Waveform
    sample_rate: Hertz
    recollection: Recollection


class Exchange:
    """Gathers the deltas of one exchange into a turn, with the time at which each came.

    Args:
        model: Whose answer it is.
        clock: Seconds, rising.
    """

    def __init__(self, model: SpeechModel, clock: Callable[[], Seconds]) -> None:
        self._clock = clock
        self._start = clock()
        self._at: dict[str, Seconds] = {}
        self._rate = model.sample_rate
        self._speech: list[Waveform] = []
        self._turn = Turn("", status=TurnStatus.OPEN, model=model.name)
        self.turn_id = ""
        self.recollection = Recollection()

    @property
    def turn(self) -> Turn:
        """The turn so far; what came before the utterance had ended took no time."""
        since = {name: max(0.0, at - self._start) for name, at in self._at.items()}
        return replace(self._turn, timings=Timings(**since))

    def ended(self, at: Seconds) -> None:
        """The utterance ended then; timings count from it."""
        self._start = at

    def take(self, delta: Delta, at: Seconds | None = None) -> None:
        """Take the next piece, which came now, or at a time that is given."""
        turn, now = self._turn, self._clock() if at is None else at
        match delta:
            case Heard():
                self._at["heard"] = now
                turn = replace(
                    turn,
                    transcript=delta.transcript,
                    lang=delta.lang,
                    cues=delta.cues,
                    seconds=delta.seconds,
                )
            case ThinkDelta():
                turn = replace(turn, think=turn.think + delta.text)
            case Thought():
                self._at["think"] = now
                turn = replace(
                    turn,
                    reply_emotion=delta.reply_emotion,
                    strategy=delta.strategy,
                    safety=delta.safety,
                )
            case TextDelta():
                self._at.setdefault("first_text", now)
                turn = replace(turn, reply=turn.reply + delta.text)
            case SpeechDelta():
                self._at.setdefault("first_audio", now)
                self._speech.append(delta.samples)
        self._turn = turn

    def said(self, words: str) -> None:
        """Of the answer only these words were heard."""
        self._turn = replace(self._turn, reply=words)

    def answer(self, status: TurnStatus) -> Answer:
        """The exchange as it is now, ended like this."""
        self._at["done"] = self._clock()
        self._turn = replace(self._turn, status=status)
        speech = np.concatenate(self._speech) if self._speech else np.zeros(0, np.int16)
        return Answer(self.turn, self.turn_id, speech, self._rate, self.recollection)
