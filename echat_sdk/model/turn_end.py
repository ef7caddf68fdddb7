"""Whether a turn sounds complete: Smart Turn v3.2 (BSD-2), a Whisper-tiny encoder with one output.

It hears the last eight seconds of a turn, the pause at their end included, and tells a sentence
that fell to its end from one that was left hanging.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from echat_sdk.audio import SAMPLE_RATE, FloatWaveform, Seconds, Waveform, to_float
from echat_sdk.errors import CheckpointError, ModelMissingError
from echat_sdk.model.cascade.features import log_mel

WINDOW: Seconds = 8.0

FILE = "smart-turn-v3.2-cpu.onnx"

_SAMPLES = round(WINDOW * SAMPLE_RATE)
_EPSILON = 1e-7  # added to the variance that the sound is divided by


class SmartTurn:
    """Smart Turn v3.2 in ONNX Runtime: 40 to 60 ms for one judgement on one thread.

    Args:
        model: The file `smart-turn-v3.2-cpu.onnx`.
        threads: Threads of the network.

    Raises:
        ModelMissingError: the file or onnxruntime is not there.
        CheckpointError: the file is damaged or another network.
    """

    def __init__(self, model: Path, *, threads: int = 1) -> None:
        if not model.is_file():
            raise ModelMissingError(f"no file {model}: echat models pull smart-turn")
        try:
            import onnxruntime
        except ImportError as error:
            raise ModelMissingError(
                "onnxruntime is not installed; pip install 'echat-sdk[lite]'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                str(model), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own errors have no base of their own
            raise CheckpointError(
                f"{model} is not Smart Turn, or damaged: echat models verify smart-turn"
            ) from error
        names = [each.name for each in self._session.get_inputs()]
        if names != ["input_features"]:
            raise CheckpointError(f"{model} takes {names}, wanted is input_features")

    def chance(self, samples: Waveform) -> float:
        """That the speaker has finished, in [0, 1]."""
        features = log_mel(_window(to_float(samples)))[None]
        (out,) = self._session.run(None, {"input_features": features})
        return float(np.clip(out.reshape(-1)[0], 0.0, 1.0))


def _window(samples: FloatWaveform) -> FloatWaveform:
    """The last eight seconds, silence before a shorter turn, at one loudness."""
    last = samples[-_SAMPLES:]
    padded = np.pad(last, (_SAMPLES - len(last), 0))
    level: FloatWaveform = (padded - padded.mean()) / np.sqrt(padded.var() + _EPSILON)
    return level


def open_turn_end(*, threads: int = 1) -> SmartTurn | None:
    """Smart Turn as it was pulled; None where it was not.

    Raises:
        CheckpointError: the file is damaged.
    """
    from echat_sdk.model import zoo

    file = zoo.find_file("smart-turn")
    return SmartTurn(file, threads=threads) if file else None
