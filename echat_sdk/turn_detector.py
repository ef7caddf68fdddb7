"""Who has the floor: speech flags in, the beginning and the end of turns out.

    quiet ──start──▶ speaking ──soft_end──▶ pausing ──end_delay──▶ quiet
                        ▲─────── speech ───────┘

Pure: no clock, no task, no model. Time is counted in frames, so a recording gives the same turns at
any speed. Whoever knows better how complete a turn sounds tells it with `judge`, and whoever knows
its words with `read`; where these are said to come, with `expect`, the end waits for them a little.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from echat_sdk.audio import FRAME_SECONDS, AudioFrame, Seconds
from echat_sdk.turn_policy import TurnPolicy

Frames = tuple[AudioFrame, ...]


class Floor(StrEnum):
    """What the user is doing."""

    QUIET = "quiet"
    SPEAKING = "speaking"
    PAUSING = "pausing"


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """A turn has begun; `frames` are its first, the pre-roll among them."""

    frames: Frames


@dataclass(frozen=True, slots=True)
class SpeechGoesOn:
    """One more frame of the turn."""

    frame: AudioFrame


@dataclass(frozen=True, slots=True)
class SoftEnd:
    """A first short pause: an answer may be begun unheard.

    Attributes:
        revision: Counts the pauses of the turn from 1; a judgement names the one that it means.
    """

    revision: int


@dataclass(frozen=True, slots=True)
class SpeechResumed:
    """The pause was none; `frames` are what came since it began, which the turn holds as well."""

    frames: Frames
    pause: Seconds


@dataclass(frozen=True, slots=True)
class Utterance:
    """The turn has ended.

    Attributes:
        seconds: From its first frame to the pause that ended it, pre-roll counted.
        pause: How long it was waited for.
        why: A pause, the longest turn that the policy takes, or the end of the sound.
    """

    seconds: Seconds
    pause: Seconds
    why: Literal["pause", "longest", "closed"] = "pause"


TurnEvent = SpeechStarted | SpeechGoesOn | SoftEnd | SpeechResumed | Utterance


@dataclass(slots=True)
class TurnDetector:
    """Turns out of frames and their speech flags.

    Attributes:
        policy: How patient it is.
        patience: By how much this speaker needs longer; it may change at any time.
    """

    policy: TurnPolicy = field(default_factory=TurnPolicy)
    patience: float = 1.0
    _floor: Floor = Floor.QUIET
    _before: deque[AudioFrame] = field(default_factory=deque)  # pre-roll, and speech not yet a turn
    _pause: list[AudioFrame] = field(default_factory=list)  # at most `max_delay`
    _spoken: int = 0  # frames in a row of speech before a turn
    _silent: int = 0  # frames in a row without speech within one
    _length: int = 0  # frames of the turn, without a pause that has not been resumed
    _revision: int = 0
    _chance: float | None = None
    _hangs: bool | None = None
    _is_expecting: bool = False  # words

    @property
    def floor(self) -> Floor:
        """What the user is doing."""
        return self._floor

    def push(self, frame: AudioFrame, is_speech: bool) -> Iterator[TurnEvent]:
        """Take 20 ms; what follows from them. Read the iterator to its end."""
        match self._floor:
            case Floor.QUIET:
                yield from self._while_quiet(frame, is_speech)
            case Floor.SPEAKING:
                yield from self._while_speaking(frame, is_speech)
            case Floor.PAUSING:
                yield from self._while_pausing(frame, is_speech)

    def judge(self, revision: int, chance: float) -> None:
        """Take a judgement of how complete the turn sounds; one of an earlier pause is dropped.

        Args:
            revision: Of the pause that was judged.
            chance: That the turn is complete, in [0, 1].
        """
        if self._floor is Floor.PAUSING and revision == self._revision:
            self._chance = chance

    def expect(self, revision: int) -> None:
        """The words of a pause will be told with `read`; until then it does not end the turn.

        No longer than `policy.words`, and no longer than `policy.max_delay`.

        Args:
            revision: Of the pause.
        """
        if self._floor is Floor.PAUSING and revision == self._revision and self._hangs is None:
            self._is_expecting = True

    def read(self, revision: int, hangs: bool | None) -> None:
        """Take what the words up to a pause tell; of an earlier one it is dropped.

        Args:
            revision: Of the pause that they led to.
            hangs: Whether they hang in the air; None where there are none.
        """
        if self._floor is Floor.PAUSING and revision == self._revision:
            self._hangs, self._is_expecting = hangs, False

    def close(self) -> Iterator[TurnEvent]:
        """The sound has ended; so has a turn that was open."""
        if self._floor is not Floor.QUIET:
            yield self._ended("closed")

    def reset(self) -> None:
        """Forget an open turn, as if nobody had spoken."""
        self._ended("closed")
        self._before.clear()

    # --- the three states -------------------------------------------------------------------------

    def _while_quiet(self, frame: AudioFrame, is_speech: bool) -> Iterator[TurnEvent]:
        self._before.append(frame)
        # A single frame without speech does not begin the count anew: consonants and clicks.
        self._spoken = self._spoken + 1 if is_speech else max(0, self._spoken - 2)
        if self._spoken < max(1, _frames(self.policy.start)):
            most = _frames(self.policy.pre_roll) + self._spoken
            while len(self._before) > most:
                self._before.popleft()
            return
        frames = tuple(self._before)
        self._before.clear()
        self._floor, self._length = Floor.SPEAKING, len(frames)
        self._silent = self._revision = self._spoken = 0
        yield SpeechStarted(frames)

    def _while_speaking(self, frame: AudioFrame, is_speech: bool) -> Iterator[TurnEvent]:
        self._length += 1
        self._silent = 0 if is_speech else self._silent + 1
        yield SpeechGoesOn(frame)
        if self._length >= _frames(self.policy.longest):
            yield self._ended("longest")
        elif self._silent >= max(1, _frames(self.policy.soft_end)):
            self._floor, self._chance = Floor.PAUSING, None
            self._hangs, self._is_expecting = None, False
            self._revision += 1
            yield SoftEnd(self._revision)

    def _while_pausing(self, frame: AudioFrame, is_speech: bool) -> Iterator[TurnEvent]:
        self._pause.append(frame)
        if is_speech:
            frames, pause = tuple(self._pause), self._silent * FRAME_SECONDS
            self._pause.clear()
            self._length += len(frames)
            self._floor, self._silent = Floor.SPEAKING, 0
            yield SpeechResumed(frames, pause)
            return
        self._silent += 1
        if self._silent >= _frames(self._delay()):
            yield self._ended("pause")

    def _delay(self) -> Seconds:
        policy = self.policy
        delay = policy.end_delay(self._chance, self.patience, hangs=self._hangs)
        return max(delay, min(policy.words, policy.max_delay)) if self._is_expecting else delay

    def _ended(self, why: Literal["pause", "longest", "closed"]) -> Utterance:
        utterance = Utterance(self._length * FRAME_SECONDS, self._silent * FRAME_SECONDS, why)
        self._pause.clear()
        self._floor, self._chance = Floor.QUIET, None
        self._hangs, self._is_expecting = None, False
        self._length = self._silent = self._spoken = 0
        return utterance


def _frames(seconds: Seconds) -> int:
    return round(seconds / FRAME_SECONDS)
