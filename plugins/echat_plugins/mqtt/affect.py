"""What the agent's face should show, out of what happens in its conversation. Pure.

It shows the agent's own expression. While it listens it may mirror, faintly, how somebody sounds;
that is a hint for a face, and says of nobody how they feel.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Literal

import numpy as np

from echat_plugins.mqtt.messages import Affect, FaceName
from echat_sdk.agent.events import (
    Dismissed,
    Event,
    State,
    StateChanged,
    TurnFinished,
    UserStopped,
)
from echat_sdk.audio import Hertz, Seconds, Waveform, to_float
from echat_sdk.cues import ANCHORS, Cue, Emotion, ReplyEmotion
from echat_sdk.turn import Heard, Thought

STEP: Seconds = 0.1
"""At most ten frames a second."""

STILL: Seconds = 1.0
"""So often a face that does not change is told again, for one was perhaps lost."""

MIRRORED_FOR: Seconds = 10.0
SURE = 0.6
"""How sure the model must be of an emotion before a face mirrors it."""

_FAINT = 0.5  # of the mirrored place
_PIECE: Seconds = 0.02
_KEPT: Seconds = 2.0  # of the envelope; no line of ours holds more
_SHUT, _OPEN = -45.0, -15.0  # dB of full scale

_REPLY_FACES: dict[ReplyEmotion, FaceName] = {
    ReplyEmotion.JOYFUL: "happy",
    ReplyEmotion.HAPPY: "happy",
    ReplyEmotion.SORRY: "tender",
    ReplyEmotion.COMFORTING: "tender",
    ReplyEmotion.SAD: "sad",
    ReplyEmotion.TEARFUL: "sad",
    ReplyEmotion.SURPRISED: "surprise",
    ReplyEmotion.AFRAID: "concern",
    ReplyEmotion.ANGRY: "concern",
    ReplyEmotion.DISGUSTED: "concern",
    ReplyEmotion.NEUTRAL: "neutral",
}
_MIRRORED: dict[str, FaceName] = {
    Emotion.HAPPY: "happy",
    Emotion.SURPRISE: "surprise",
    Emotion.SAD: "tender",
    Emotion.FEAR: "concern",
    Emotion.ANGER: "concern",
    Emotion.DISGUST: "concern",
}
_PLACES: dict[FaceName, tuple[float, float]] = {
    "neutral": ANCHORS[Emotion.NEUTRAL],
    "happy": ANCHORS[Emotion.HAPPY],
    "sad": ANCHORS[Emotion.SAD],
    "surprise": ANCHORS[Emotion.SURPRISE],
    # Ours: warm and quiet; and a fear that is for somebody else, half as strong.
    "tender": (ANCHORS[Emotion.HAPPY][0] / 2, ANCHORS[Emotion.SAD][1] / 2),
    "concern": (ANCHORS[Emotion.FEAR][0] / 2, ANCHORS[Emotion.FEAR][1] / 2),
}
_SPEAKING = frozenset({State.SPEAKING, State.OVERLAPPED})


class Face:
    """Takes what happens and gives frames. All times are one clock's, in seconds."""

    def __init__(self) -> None:
        self._state = State.LISTENING
        self._reply: FaceName = "neutral"
        self._mirror: FaceName = "neutral"
        self._mirror_until: Seconds = -math.inf
        self._gesture: Literal["none", "nod", "tilt"] = "none"
        # (when it is heard, how long, how open the mouth); bounded by _KEPT
        self._envelope: deque[tuple[Seconds, Seconds, float]] = deque()
        self._last: Affect | None = None
        self._last_at: Seconds = -math.inf

    def take(self, event: Event, now: Seconds) -> None:
        """The next event of the conversation."""
        match event:
            case StateChanged(state):
                if state is State.THINKING:
                    self._gesture = "tilt"
                self._state = state
            case UserStopped() | Dismissed():
                self._gesture = "nod"
            case Heard():
                self._mirror = _mirrored(event.cues.emotion)
                self._mirror_until = now + MIRRORED_FOR
            case Thought(emotion):
                self._reply = _REPLY_FACES[emotion]
            case TurnFinished():
                self._reply = "neutral"

    def play(self, samples: Waveform, rate: Hertz, at: Seconds) -> None:
        """What will be heard, from `at` on."""
        step = max(1, round(_PIECE * rate))
        for start in range(0, len(samples), step):
            piece = samples[start : start + step]
            self._envelope.append((at + start / rate, len(piece) / rate, _openness(piece)))
        while self._envelope and self._envelope[0][0] < at - _KEPT:
            self._envelope.popleft()

    def drop(self, at: Seconds) -> None:
        """Nothing is heard from `at` on of what was to be."""
        while self._envelope and self._envelope[-1][0] >= at:
            self._envelope.pop()

    def frame(self, now: Seconds, at: int) -> Affect | None:
        """What to show from now for a tenth of a second; None where nothing is to be told yet.

        Args:
            now: When it is shown.
            at: The timestamp, on the wire, of the sound that is heard then.
        """
        since = now - self._last_at
        if since < STEP - 1e-9:
            return None
        face, strength = self._face(now)
        valence, arousal = _PLACES[face]
        made = Affect(
            at=at,
            state=self._state.value,
            valence=round(valence * strength, 3),
            arousal=round(arousal * strength, 3),
            emotion=face,
            gaze="away" if self._state is State.THINKING else "user",
            gesture=self._gesture,
            mouth=self._mouth(now),
        )
        is_same = self._last is not None and made == self._last.model_copy(update={"at": at})
        if is_same and since < STILL:
            return None
        self._last, self._last_at, self._gesture = made, now, "none"
        return made

    def _face(self, now: Seconds) -> tuple[FaceName, float]:
        if self._state in _SPEAKING:
            return self._reply, 1.0
        return (self._mirror, _FAINT) if now < self._mirror_until else ("neutral", 1.0)

    def _mouth(self, now: Seconds) -> float:
        """How far it is open on average until the next frame, by what is heard then.

        It does not open for what is heard in the second half of that time alone.
        """
        opened = voiced = 0.0
        is_heard = False
        for begin, length, openness in self._envelope:
            overlap = min(begin + length, now + STEP) - max(begin, now)
            if overlap > 0 and openness > 0:
                opened += overlap * openness
                voiced += overlap
                is_heard = is_heard or begin <= now
        if not is_heard and voiced < STEP / 2:
            return 0.0
        return round(min(1.0, opened / STEP), 2)


def _openness(piece: Waveform) -> float:
    """How far a mouth is open that says this: by how loud it is, as ears have it."""
    power = float(np.mean(np.square(to_float(piece))))
    if power <= 0:
        return 0.0
    return min(1.0, max(0.0, (10 * math.log10(power) - _SHUT) / (_OPEN - _SHUT)))


def _mirrored(emotion: Cue) -> FaceName:
    if not emotion.is_known or emotion.confidence < SURE:
        return "neutral"
    return _MIRRORED.get(emotion.label, "neutral")
