"""One clip through the turn detector or the overlap judge, frame by frame, as the live loop does.

Two delays are stated and not measured, so that a run is the same on every machine: what Smart Turn
says of a pause comes `JUDGED_AFTER` it was asked, and what the words over the agent's voice were
`TOLD_AFTER` they were asked for. The words themselves are the clip's own: no transcriber errs here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from echat_sdk.audio import FRAME_LEN, FRAME_SECONDS, AudioFrame, Seconds, Waveform, frames
from echat_sdk.bench.turn_clips import Clip
from echat_sdk.io.echo import EchoRemover
from echat_sdk.overlap import Act, Kind, Overlap, OverlapJudge, kind_of
from echat_sdk.protocols import VAD, TurnEnd
from echat_sdk.turn_detector import SoftEnd, SpeechResumed, SpeechStarted, TurnDetector, Utterance
from echat_sdk.turn_policy import TurnPolicy

JUDGED_AFTER: Seconds = 0.06
TOLD_AFTER: Seconds = 0.4

Chance = Callable[[Clip, int, int], float]
"""How complete a turn of a clip sounds: from its first frame until before another."""


@dataclass(frozen=True, slots=True, eq=False)
class Listened:
    """A clip as the speech detector heard it."""

    clip: Clip
    frames: tuple[AudioFrame, ...]
    flags: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class TurnOutcome:
    """What became of a turn.

    Attributes:
        cut: For each pause of the clip, whether the turn was ended within it.
        is_cut: Whether it was ended anywhere before the user had finished.
        latency: From the end of speech to the end of the turn; None where that never came.
    """

    cut: tuple[bool, ...]
    is_cut: bool
    latency: Seconds | None


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
        self._known: dict[tuple[str, int, int], float] = {}

    def __call__(self, clip: Clip, first: int, last: int) -> float:
        """How complete the frames from `first` until before `last` sound."""
        key = (clip.name, first, last)
        if key not in self._known:
            turn = clip.samples[first * FRAME_LEN : last * FRAME_LEN]
            self._known[key] = self._turn_end.chance(turn)
        return self._known[key]


def listen(clip: Clip, vad: VAD) -> Listened:
    """Ask the speech detector about every frame."""
    vad.reset()
    heard = tuple(frames(clip.samples))
    return Listened(clip, heard, tuple(vad.is_speech(frame) for frame in heard))


def take_turn(heard: Listened, policy: TurnPolicy, chance: Chance | None) -> TurnOutcome:
    """Let the user speak and see when the turn is ended.

    Args:
        heard: The clip.
        policy: How long is waited.
        chance: How complete it sounds; None waits by the clock alone.
    """
    clip = heard.clip
    assert clip.end is not None
    detector = TurnDetector(policy)
    ends: list[Seconds] = []
    first, due, revision = 0, -1, 0
    for number, (frame, is_speech) in enumerate(zip(heard.frames, heard.flags, strict=True), 1):
        if number == due and chance is not None:
            asked = number - round(JUDGED_AFTER / FRAME_SECONDS)
            detector.judge(revision, chance(clip, first, asked))
        for event in detector.push(frame, is_speech):
            match event:
                case SpeechStarted(begun):
                    first = number - len(begun)
                case SoftEnd(revision):
                    due = number + round(JUDGED_AFTER / FRAME_SECONDS)
                case SpeechResumed():
                    due = -1
                case Utterance():
                    ends.append(number * FRAME_SECONDS)
        if ends and ends[-1] >= clip.end:
            break
    cut = tuple(any(a < end <= b for end in ends) for a, b in clip.pauses)
    after = [end for end in ends if end >= clip.end]
    return TurnOutcome(cut, len(ends) > len(after), after[0] - clip.end if after else None)


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
