"""The conversation of `echat bench loop`: what is said when, and whether a loop lived up to it.

A question is asked and answered, a second one is spoken over while it is answered, and who spoke
over it is answered as well. Both sides are given the same sound and are judged by the sound alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from echat_sdk.audio import (
    FRAME_LEN,
    FRAME_SECONDS,
    SAMPLE_RATE,
    AudioFrame,
    Hertz,
    Seconds,
    Waveform,
    frames,
)
from echat_sdk.errors import EChatError

ANSWER_RATE: Hertz = 24_000
HEARD = "what do you make of it"
"""What every question is transcribed as."""

STEP = 512
"""Samples that Silero takes at once."""

_BEFORE: Seconds = 0.6
_WAITED: Seconds = 1.2  # what a question is given for its turn to end; pipecat takes 0.8
_SPOKEN: Seconds = 1.4  # of an answer before somebody speaks over it
_AFTER: Seconds = 0.8
_GAP: Seconds = 0.6  # silence that parts two answers; a loop that stumbles makes shorter ones
_SLACK: Seconds = 0.15

Spoken = tuple[Seconds, Seconds]
"""From when, for how long."""


@dataclass(frozen=True, slots=True, eq=False)
class Script:
    """What is said to a loop, and what it says.

    Attributes:
        heard: What the microphone hears, int16 at 16 kHz. Shape [S].
        questions: When each is asked; the last is spoken over the answer to the one before.
        clauses: Each clause of an answer, and its sound, int16 at 24 kHz.
        is_speech: What Silero makes of each 20 ms.
    """

    heard: Waveform
    questions: tuple[Spoken, ...]
    clauses: dict[str, Waveform]
    is_speech: tuple[bool, ...]

    @property
    def seconds(self) -> Seconds:
        """How long it takes."""
        return len(self.heard) / SAMPLE_RATE

    @property
    def answer(self) -> Seconds:
        """How long an answer takes that nobody speaks over."""
        return sum(map(len, self.clauses.values())) / ANSWER_RATE

    @property
    def chances(self) -> list[float]:
        """What Silero made of each whole step of 32 ms: 1 for speech, 0 for none."""
        ends = range(STEP, len(self.heard) + 1, STEP)
        return [float(self.is_speech[(end - 1) // FRAME_LEN]) for end in ends]

    def save(self, path: Path) -> None:
        """Write it for another process."""
        np.savez(
            path,
            heard=self.heard,
            questions=np.array(self.questions),
            texts=np.array(list(self.clauses)),
            lengths=np.array([len(sound) for sound in self.clauses.values()]),
            sounds=np.concatenate(list(self.clauses.values())),
            is_speech=np.array(self.is_speech),
        )

    @classmethod
    def load(cls, path: Path) -> Script:
        """Read what `save` wrote."""
        with np.load(path) as told:
            sounds = np.split(told["sounds"], np.cumsum(told["lengths"])[:-1])
            return cls(
                heard=told["heard"],
                questions=tuple((float(at), float(n)) for at, n in told["questions"]),
                clauses=dict(zip(told["texts"].tolist(), sounds, strict=True)),
                is_speech=tuple(told["is_speech"].tolist()),
            )


def write(
    questions: Sequence[Waveform],
    clauses: dict[str, Waveform],
    is_speech: Callable[[AudioFrame], bool],
) -> Script:
    """A script of one question or more, and one more that is spoken over the last answer.

    Args:
        questions: int16 at 16 kHz.
        clauses: As in a `Script`.
        is_speech: Silero.
    """
    answer = sum(map(len, clauses.values())) / ANSWER_RATE
    spoken: list[Spoken] = []
    at = _BEFORE
    for left, question in zip(range(len(questions) - 1, -1, -1), questions, strict=True):
        length = len(question) / SAMPLE_RATE
        spoken.append((at, length))
        at += length + _WAITED + (_SPOKEN if left == 1 else answer + _AFTER)
    heard = np.zeros(round(at / FRAME_SECONDS) * FRAME_LEN, np.int16)
    for (at, _), question in zip(spoken, questions, strict=True):
        start = round(at * SAMPLE_RATE)
        heard[start : start + len(question)] = question
    flags = tuple(is_speech(frame) for frame in frames(heard))
    return Script(heard, tuple(spoken), clauses, flags)


class Orders(BaseModel):
    """What a process is to run.

    Attributes:
        script: The file of a script.
        sessions: Conversations at once.
        ears: `silero` is the one that echat-sdk runs; `known` is told what that one made of the
            sound; `own` is whatever comes with the peer.
        part: The conversation; the ears alone; or the clock alone, which hands out frames.
        time: `virtual` leaves out all waiting; in `real` time a loop is woken for each frame.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    script: Path
    sessions: int = Field(default=10, ge=1, le=1000)
    ears: Literal["silero", "known", "own"] = "silero"
    part: Literal["conversation", "ears", "clock"] = "conversation"
    time: Literal["virtual", "real"] = "virtual"


class Ran(BaseModel):
    """What a process found.

    Attributes:
        version: Of the package that ran.
        cpu: Seconds of processor time that the frames took, all threads together.
        frames: How many frames of 20 ms were heard.
        said: For each conversation, when it was audible, counted from its first frame.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    cpu: float = Field(gt=0)
    frames: int = Field(gt=0)
    said: tuple[tuple[Spoken, ...], ...] = ()


class Meter:
    """Processor time from when all conversations have come until the first has ended.

    Args:
        sessions: How many come.
    """

    def __init__(self, sessions: int) -> None:
        self._sessions = sessions
        self._here = 0
        self._all_here = asyncio.Event()
        self._start = 0.0
        self.cpu = 0.0

    async def begin(self) -> None:
        """Wait for the others, then for a moment of one's own within the first 20 ms."""
        place, self._here = self._here, self._here + 1
        if self._here == self._sessions:
            self._start = time.process_time()
            self._all_here.set()
        await self._all_here.wait()
        await asyncio.sleep(place * FRAME_SECONDS / self._sessions)

    def end(self) -> None:
        """A script has ended."""
        self.cpu = self.cpu or time.process_time() - self._start


def answers(said: Iterable[Spoken]) -> list[Spoken]:
    """What was audible, with shorter gaps closed: one stretch an answer."""
    found: list[Spoken] = []
    for at, seconds in sorted(said):
        if found and at - sum(found[-1]) < _GAP:
            first, _ = found.pop()
            found.append((first, at + seconds - first))
        elif seconds > 0:
            found.append((at, seconds))
    return found


def check(script: Script, said: Iterable[Spoken]) -> None:
    """See whether each question was answered, and the answer that was spoken over stopped.

    Raises:
        EChatError: not so; says what was heard instead.
    """
    heard = answers(said)
    wrong = _wrong(script, heard)
    if wrong:
        told = ", ".join(f"{at:.2f} to {at + seconds:.2f}" for at, seconds in heard) or "nothing"
        raise EChatError(f"{wrong}; audible was {told} s")


def _wrong(script: Script, heard: Sequence[Spoken]) -> str:
    asked = script.questions
    if len(heard) != len(asked):
        return f"{len(asked)} questions were asked and {len(heard)} answers came"
    for number, ((at, length), (start, seconds)) in enumerate(
        zip(asked, heard, strict=True), start=1
    ):
        if start < at + length - _SLACK:
            return f"answer {number} came before its question had ended"
        if number == len(asked) - 1:
            over, until = asked[-1]
            if not over < start + seconds < over + until:
                return f"answer {number} did not stop for who spoke over it"
        elif abs(seconds - script.answer) > 2 * _SLACK:
            return f"answer {number} took {seconds:.2f} s, its speech {script.answer:.2f} s"
    return ""
