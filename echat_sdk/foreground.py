"""The user's voice out of a crowd's: where the background speaks as well, the louder one counts.

A speech detector hears speech in a café all day, so that no turn would ever end. The crowd gives
itself away: it never pauses, and speech goes on where nothing stands out of it. Where both hold,
what does not rise clearly above it is no speech of the user's. Everywhere else, in a quiet room and
in noise that the detector knows for noise, the flags are those of the detector.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from echat_sdk.audio import FRAME_SECONDS, AudioFrame, power

if TYPE_CHECKING:
    from echat_sdk.protocols import VAD

Flags = npt.NDArray[np.bool_]

# What is looked at: the last seconds of speech, and as much of a silence as tells how deep it is. A
# longer one is left out, so that a crowd is known still after the agent has spoken over it.
_WINDOW = round(5.0 / FRAME_SECONDS)
_LEAST = round(2.0 / FRAME_SECONDS)  # frames of speech from which it is believed
_SILENCE = round(0.6 / FRAME_SECONDS)  # of each, in which the detector knew silence
_DIP = round(0.1 / FRAME_SECONDS)  # of each, that counts as a dip of the speech before it
_EVERY = 5  # frames from one look to the next

# The crowd's level is a low quantile: between the words of whoever speaks over it, it is heard.
_DEPTH, _BACKGROUND, _LOUD = 0.05, 0.15, 0.9

# A crowd is believed in where speech is told for a while with nobody in the foreground, twice as
# often as silence; a hall's reverberation gives half of that at most, and soft words in loud noise
# are soon followed by silence. And only where speech is nowhere so far under its loudest as one
# voice in a quiet room is between its words.
_VOICED = round(0.6 / FRAME_SECONDS)  # frames of speech with nobody in the foreground
_OFTENER = 2
_ALONE = round(0.24 / FRAME_SECONDS)  # nobody has been for so long; a detector lags by half of it
_STANDS_OUT = 4.0  # dB above the crowd; the crowd alone is hardly ever so loud
_DEEPEST = 30.0  # dB

# It is forgotten once speech dips far below it and goes on, as then nobody else is there; and once
# silence is told for long at its level, as then the detector knows it for noise.
_GONE = 15.0
_NOISE = 3.0
_GOES_ON = round(0.2 / FRAME_SECONDS)

_ABOVE = 6.5  # dB above the crowd from which it is the user
_SMOOTHED = 4  # frames over which loudness is taken
_SURE = 4  # frames in a row of the user, from which ...
_HOLD = round(0.24 / FRAME_SECONDS)  # ... so many softer ones are: the ends of words


class Foreground:
    """A speech detector that tells the user from a crowd: a few microseconds a frame.

    It takes two seconds of speech to know the crowd. Who is less than about 6 dB louder than it is
    taken for part of it.

    Args:
        vad: Tells speech.
    """

    _powers: deque[float]  # of the last frames
    _levels: deque[float]
    _silences: deque[int]  # frames since speech, of each of these
    _silent: int  # frames since speech
    _spoken: int  # frames of speech in a row
    _since_dip: int  # frames of speech since it dipped far below the crowd
    _risen: int  # frames of the user in a row
    _held: int  # softer frames that are the user's still
    _due: int  # frames of speech until the next look
    _threshold: float | None  # above which it is the user; None where there is no crowd

    def __init__(self, vad: VAD) -> None:
        self._vad = vad
        self._forget()

    def is_speech(self, frame: AudioFrame) -> bool:
        """Whether it is speech, and the user's."""
        is_speech = self._vad.is_speech(frame)
        level = self._loudness(frame)
        self._silent = 0 if is_speech else self._silent + 1
        if self._silent <= _SILENCE:
            self._levels.append(level)
            self._silences.append(self._silent)
        if self._threshold is not None and self._is_no_crowd(level, self._threshold - _ABOVE):
            self._forget()
        if not is_speech:
            self._spoken = self._since_dip = self._risen = self._held = 0
            return False
        self._spoken += 1
        self._due -= 1
        if self._due <= 0:
            self._due, self._threshold = _EVERY, self._look()
        return self._threshold is None or self._is_users(level, self._threshold)

    def reset(self) -> None:
        """Forget what was heard before."""
        self._vad.reset()
        self._forget()

    def _forget(self) -> None:
        self._powers = deque(maxlen=_SMOOTHED)
        self._levels, self._silences = deque(maxlen=_WINDOW), deque(maxlen=_WINDOW)
        self._silent = _SILENCE  # as if it had been silent for long
        self._spoken = self._since_dip = self._risen = self._held = self._due = 0
        self._threshold = None

    def _loudness(self, frame: AudioFrame) -> float:
        """Of the last frames, in dB above one step of int16."""
        self._powers.append(power(frame.samples))
        return 10 * math.log10(sum(self._powers) / len(self._powers) + 1)

    def _is_no_crowd(self, level: float, crowd: float) -> bool:
        """Whether what was taken for a crowd has left, or is none; asked of every frame."""
        if self._silent == _SILENCE:
            silence = list(self._levels)[-_SILENCE:]
            return sum(silence) / len(silence) > crowd - _NOISE
        if self._silent:
            return False
        if self._since_dip:
            self._since_dip += 1
        elif level < crowd - _GONE and self._spoken > _GOES_ON:
            self._since_dip = 1
        return self._since_dip > _GOES_ON

    def _is_users(self, level: float, threshold: float) -> bool:
        if level <= threshold:
            self._risen = 0
            self._held -= 1
            return self._held >= 0
        self._risen += 1
        if self._risen >= _SURE:
            self._held = _HOLD
        return True

    def _look(self) -> float | None:
        """The level above which it is the user; None where there is no crowd."""
        levels, silences = np.array(self._levels), np.array(self._silences)
        if np.count_nonzero(silences == 0) < _LEAST:
            return None
        dip, crowd, loud = np.quantile(levels[silences <= _DIP], (_DEPTH, _BACKGROUND, _LOUD))
        if self._threshold is None and not (
            loud - dip <= _DEEPEST and _is_voiced(levels > crowd + _STANDS_OUT, silences == 0)
        ):
            return None
        return float(crowd) + _ABOVE


def _is_voiced(stands_out: Flags, is_speech: Flags) -> bool:
    """Whether speech is told where nothing stands out, and far oftener than silence."""
    risen = np.cumsum(stands_out)
    before = np.concatenate((np.zeros(_ALONE, risen.dtype), risen[:-_ALONE]))
    told = is_speech[risen == before]
    voiced = int(np.count_nonzero(told))
    return voiced >= max(_VOICED, _OFTENER * (len(told) - voiced))
