"""One clip through the turn detector or the overlap judge, frame by frame, as the live loop does.

Delays are stated and not measured, so that a run is the same on every machine: what Smart Turn
says of a pause comes `JUDGED_AFTER` it was asked, the transcript of what led to it `READ_AFTER`,
and what the words over the agent's voice were `TOLD_AFTER`. These last are the clip's own: there no
transcriber errs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from echat_sdk.audio import FRAME_LEN, FRAME_SECONDS, AudioFrame, Seconds, Waveform, frames
from echat_sdk.bench.turn_clips import Clip
from echat_sdk.hesitation import hangs
from echat_sdk.io.echo import EchoRemover
from echat_sdk.overlap import Act, Kind, Overlap, OverlapJudge, kind_of
from echat_sdk.protocols import VAD, TurnEnd
from echat_sdk.turn import Lang
from echat_sdk.turn_detector import (
    Floor,
    SoftEnd,
    SpeechResumed,
    SpeechStarted,
    TurnDetector,
    Utterance,
)
from echat_sdk.turn_policy import TurnPolicy

JUDGED_AFTER: Seconds = 0.06
READ_AFTER: Seconds = 0.3
TOLD_AFTER: Seconds = 0.4

Transcribe = Callable[[Waveform], tuple[str, Lang]]
"""The words of a turn, int16 at 16 kHz, and their language."""

Ears = Literal["bare", "ours", "suppressed"]
"""What hears: a detector alone, ours, or ours after noise suppression."""


@dataclass(frozen=True, slots=True, eq=False)
class Listened:
    """A clip as a speech detector heard it."""

    clip: Clip
    ears: Ears
    frames: tuple[AudioFrame, ...]
    flags: tuple[bool, ...]

    def turn(self, first: int, last: int) -> Waveform:
        """The sound from a frame until before another."""
        return np.concatenate([frame.samples for frame in self.frames[first:last]])


Chance = Callable[[Listened, int, int], float]
"""How complete a turn of a clip sounds: from its first frame until before another."""

Hangs = Callable[[Listened, int, int], bool | None]
"""Whether its words hang in the air; None where it has none."""


@dataclass(frozen=True, slots=True)
class TurnOutcome:
    """What became of a turn.

    Attributes:
        cut: For each pause of the clip, whether the turn was ended within it.
        is_cut: Whether it was ended anywhere before the user had finished.
        latency: From the end of speech to the end of the turn; None where that never came.
        answer: Until it could be answered: it has ended, and its words are known.
    """

    cut: tuple[bool, ...]
    is_cut: bool
    latency: Seconds | None
    answer: Seconds | None


@dataclass(frozen=True, slots=True)
class OverlapOutcome:
    """What became of a sound over the agent's voice.

    Attributes:
        pauses: How often the agent fell silent for it, whether it went on or not.
        is_stopped: Whether it gave up what it was saying.
        silent_after: From the user's first sound until the agent was silent for good.
    """

    pauses: int
    is_stopped: bool
    silent_after: Seconds | None


class Judgements:
    """What a network says of a clip's pauses; asked once for each.

    Args:
        turn_end: The network.
    """

    def __init__(self, turn_end: TurnEnd) -> None:
        self._turn_end = turn_end
        self._known: dict[tuple[str, Ears, int, int], float] = {}

    def __call__(self, heard: Listened, first: int, last: int) -> float:
        """How complete the frames from `first` until before `last` sound."""
        key = (heard.clip.name, heard.ears, first, last)
        if key not in self._known:
            self._known[key] = self._turn_end.chance(heard.turn(first, last))
        return self._known[key]


class Readings:
    """What the words of a clip's turns tell; transcribed once for each pause.

    Args:
        transcribe: The transcriber.
    """

    def __init__(self, transcribe: Transcribe) -> None:
        self._transcribe = transcribe
        self._known: dict[tuple[str, Ears, int, int], bool | None] = {}

    def __call__(self, heard: Listened, first: int, last: int) -> bool | None:
        """Whether the words in the frames from `first` until before `last` hang in the air."""
        key = (heard.clip.name, heard.ears, first, last)
        if key not in self._known:
            words, lang = self._transcribe(heard.turn(first, last))
            self._known[key] = hangs(words, lang) if words else None
        return self._known[key]


def listen(
    clip: Clip, vad: VAD, ears: Ears = "bare", remover: EchoRemover | None = None
) -> Listened:
    """Ask a speech detector about every frame.

    Args:
        clip: What is heard.
        vad: The detector.
        ears: What it is called.
        remover: Takes noise out first, a fresh one.
    """
    vad.reset()
    heard, nothing = tuple(frames(clip.samples)), np.zeros(FRAME_LEN, np.int16)
    if remover is not None:
        heard = tuple(AudioFrame(remover.clean(frame.samples, nothing)) for frame in heard)
    return Listened(clip, ears, heard, tuple(vad.is_speech(frame) for frame in heard))


def take_turn(
    heard: Listened, policy: TurnPolicy, chance: Chance | None, hangs: Hangs | None = None
) -> TurnOutcome:
    """Let the user speak and see when the turn is ended.

    Args:
        heard: The clip.
        policy: How long is waited.
        chance: How complete it sounds; None waits by the clock alone.
        hangs: Whether its words hang; None goes without them. Like the live loop it reads no more
            pauses of a turn than answers are begun in one.
    """
    return _Turn(heard, policy, chance, hangs).run()


class _Turn:
    """The part of the live loop that decides when a turn has ended."""

    def __init__(
        self, heard: Listened, policy: TurnPolicy, chance: Chance | None, hangs: Hangs | None
    ) -> None:
        self._heard = heard
        self._chance = chance
        self._hangs = hangs
        self._detector = TurnDetector(policy)
        self._lead = round((policy.pre_roll + policy.start) / FRAME_SECONDS)
        self._first = 0  # frame of the turn
        self._asked = -1  # frame at which the pause was asked about
        self._revision = 0

    def run(self) -> TurnOutcome:
        clip = self._heard.clip
        assert clip.end is not None
        ends: list[Seconds] = []
        flags = zip(self._heard.frames, self._heard.flags, strict=True)
        for number, (frame, is_speech) in enumerate(flags, 1):
            self._tell(number)
            for event in self._detector.push(frame, is_speech):
                match event:
                    case SpeechStarted():
                        # As much as the live loop hears, whenever the turn before was ended: so the
                        # same is asked for at every setting, once.
                        self._first = max(0, number - self._lead)
                    case SoftEnd(revision):
                        self._asked, self._revision = number, revision
                        if self._reads:
                            self._detector.expect(revision)
                    case Utterance():
                        ends.append(number * FRAME_SECONDS)
            if ends and ends[-1] >= clip.end:
                break
        cut = tuple(any(a < end <= b for end in ends) for a, b in clip.pauses)
        after = [end for end in ends if end >= clip.end]
        if not after:
            return TurnOutcome(cut, len(ends) > 0, None, None)
        known = max(after[0], self._asked * FRAME_SECONDS + READ_AFTER)
        return TurnOutcome(cut, len(ends) > 1, after[0] - clip.end, known - clip.end)

    @property
    def _reads(self) -> bool:
        return self._hangs is not None and self._revision <= self._detector.policy.speculations

    def _tell(self, number: int) -> None:
        """What was asked at this pause and is known now."""
        if self._detector.floor is not Floor.PAUSING:
            return
        since = number - self._asked
        if self._chance is not None and since == round(JUDGED_AFTER / FRAME_SECONDS):
            chance = self._chance(self._heard, self._first, self._asked)
            self._detector.judge(self._revision, chance)
        if self._hangs is not None and self._reads and since == round(READ_AFTER / FRAME_SECONDS):
            does = self._hangs(self._heard, self._first, self._asked)
            self._detector.read(self._revision, does)


def speak_over(
    clip: Clip, policy: TurnPolicy, vad: VAD, remover: EchoRemover | None = None
) -> OverlapOutcome:
    """Let something be heard over the agent's voice and see what the agent does.

    The echo is that of what is being played: a paused agent has none, a ducked one less.

    Args:
        clip: What is heard.
        policy: When the agent falls silent for it.
        vad: Tells speech.
        remover: Takes the echo out, a fresh one; None leaves it in.
    """
    return _Overlapped(clip, policy, vad, remover).run()


class _Overlapped:
    """The part of the live loop that decides about speech over the agent's."""

    def __init__(
        self, clip: Clip, policy: TurnPolicy, vad: VAD, remover: EchoRemover | None
    ) -> None:
        self._remover = remover
        self._clip = clip
        self._policy = policy
        self._vad = vad
        self._detector = TurnDetector(policy)
        self._overlap = OverlapJudge(policy)
        self._heard = 0  # samples of the answer
        self._spoken = 0  # frames of the user's turn
        self._due = -1  # when the words are known
        self._is_last = False  # whether they are those of the whole turn
        self._pauses = 0
        self._silent_since: int | None = None
        self._is_stopped = False

    def run(self) -> OverlapOutcome:
        self._vad.reset()
        self._overlap.begin()
        for number, frame in enumerate(frames(self._clip.samples), 1):
            is_speaking = self._heard < len(self._clip.echo)
            is_speech = self._vad.is_speech(AudioFrame(self._hear(frame.samples)))
            if is_speaking:
                self._act(self._overlap.push(is_speech), number)
            if number == self._due:
                self._judge(number)
            self._follow(frame, is_speech, number)
            if self._is_stopped:
                break
        start, silent = self._clip.start, self._silent_since
        late = None
        if self._is_stopped and start is not None and silent is not None:
            late = max(0.0, silent * FRAME_SECONDS - start)
        return OverlapOutcome(self._pauses, self._is_stopped, late)

    def _hear(self, near: Waveform) -> Waveform:
        """20 ms with the agent's voice in it, as far as it is not taken out."""
        played, echo = (self._voice(sound) for sound in (self._clip.agent, self._clip.echo))
        if self._overlap.state is not Overlap.PAUSED:
            self._heard += FRAME_LEN
        both = np.clip(near.astype(np.int32) + echo, -32768, 32767).astype(np.int16)
        return both if self._remover is None else self._remover.clean(both, played)

    def _voice(self, sound: Waveform) -> Waveform:
        """What is played now of one of the clip's sounds."""
        if self._overlap.state is Overlap.PAUSED:
            return np.zeros(FRAME_LEN, np.int16)
        piece = sound[self._heard : self._heard + FRAME_LEN]
        decibels = self._policy.duck_decibels if self._overlap.state is Overlap.DUCKED else 0.0
        voice = (piece * np.float32(10 ** (decibels / 20))).astype(np.int16)
        return np.pad(voice, (0, FRAME_LEN - len(voice)))

    def _follow(self, frame: AudioFrame, is_speech: bool, number: int) -> None:
        for event in self._detector.push(frame, is_speech):
            match event:
                case SpeechStarted(begun):
                    self._spoken = len(begun)
                case SoftEnd():
                    self._ask(number, is_last=False)
                case SpeechResumed(came):
                    self._spoken += len(came)
                    self._due = -1
                case Utterance():
                    self._ask(number, is_last=True)
                case _:
                    self._spoken += 1

    def _ask(self, number: int, *, is_last: bool) -> None:
        self._due = number + round(TOLD_AFTER / FRAME_SECONDS)
        self._is_last = is_last

    def _judge(self, number: int) -> None:
        seconds = self._spoken * FRAME_SECONDS - self._policy.pre_roll
        kind = kind_of(self._clip.plan.script, seconds, own=self._clip.answer)
        if kind is Kind.STOP or (kind is Kind.WORDS and self._is_last):
            self._stop(number)
        else:
            self._act(self._overlap.judge(kind), number)

    def _act(self, acts: Iterable[Act], number: int) -> None:
        for act in acts:
            match act:
                case Act.PAUSE:
                    self._pauses += 1
                    self._silent_since = number
                    if self._due < number:
                        self._ask(number, is_last=False)
                case Act.RESUME:
                    self._silent_since = None
                case Act.INTERRUPT:
                    self._stop(number)

    def _stop(self, number: int) -> None:
        self._is_stopped = True
        if self._silent_since is None:
            self._silent_since = number
