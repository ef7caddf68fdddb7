"""Kokoro-82M: Chinese speech and more English voices, from one network and a small file a voice.

It is cut between its plan (pitch and energy, a frame of 12.5 ms) and the sound made from that, as
hibari's network is, which was taught by Kokoro: one table of prosody serves both.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from echat_sdk.audio import FloatWaveform, Hertz
from echat_sdk.errors import CheckpointError, ModelMissingError
from echat_sdk.model.cascade.english import english_phonemizer, vocabulary
from echat_sdk.model.cascade.mandarin import mandarin_sounds
from echat_sdk.model.cascade.matrix_convolution import (
    as_matrix_products,
    multiplies_signed_bytes_fast,
)
from echat_sdk.model.cascade.onnx_cut import OnnxNetwork, open_network
from echat_sdk.model.cascade.prosody import VOICED_HERTZ, FloatCurve, Prosody, shape_pitch, stretch

_FRAME_SECONDS = 0.0125
_CONTENT, _PITCH, _ENERGY = (
    "/encoder/MatMul_1_output_0", "/encoder/Reshape_output_0", "/encoder/Reshape_1_output_0"
)  # fmt: skip
_SILENCE = -6.0  # energy; measured on all voices: what can be heard is above, silence near -9
_MARGIN = 3  # frames of content (25 ms each) kept around speech: what its convolutions look at
_MOST_SOUNDS = 509  # a voice file has one style for each length up to 510


class KokoroVoice:
    """Speaks clauses in any of the vendored Kokoro voices; about as fast as the speech lasts.

    Args:
        model: The file `kokoro-v1.0.int8.onnx`.
        threads: Threads of the network.

    Raises:
        ModelMissingError: the file or onnxruntime is not there.
        CheckpointError: the file is damaged or another network.
    """

    sample_rate: Hertz = 24_000

    def __init__(self, model: Path, *, threads: int = 1) -> None:
        if not model.is_file():
            raise ModelMissingError(f"no file {model}: echat models pull kokoro-82m")
        seam = (_CONTENT, _PITCH, _ENERGY)
        try:
            rewrite = as_matrix_products if multiplies_signed_bytes_fast() else None
            network = OnnxNetwork(model.read_bytes(), rewrite=rewrite)
            head = network.cut(inputs=("tokens", "style", "speed"), outputs=seam)
            tail = network.cut(inputs=(*seam, "style"), outputs=("audio",))
            self._plan, self._sound = (open_network(n, threads=threads) for n in (head, tail))
        except CheckpointError as error:
            raise CheckpointError(
                f"{model} is not Kokoro-82M, or damaged: echat models verify kokoro-82m"
            ) from error
        self._ids = vocabulary()

    def speak(self, text: str, prosody: Prosody, *, voice: str) -> FloatWaveform:
        """The sound of a clause, with some silence at either end. Shape [S], 24 kHz.

        Args:
            text: Cleaned words, in the language of the voice.
            prosody: How it is said; breath is not heeded.
            voice: Name of a vendored voice, such as `zf_xiaoxiao`.
        """
        if voice.startswith("z"):
            sounds = mandarin_sounds(text)
        else:
            sounds = english_phonemizer(british=voice.startswith("b"))(text)
        ids = [self._ids[c] for c in sounds if c in self._ids][:_MOST_SOUNDS]
        if not ids:
            return np.zeros(0, np.float32)
        style = voice_styles(voice)[len(ids) - 1][None]
        content, pitch, energy = self._plan.run(
            (_CONTENT, _PITCH, _ENERGY),
            {
                "tokens": np.array([[0, *ids, 0]], np.int64),
                "style": style,
                "speed": np.ones(1, np.float32),
            },
        )
        content, pitch, energy = without_silence(content, pitch, energy)
        frames = round(content.shape[-1] / prosody.rate)
        content = stretch(content, frames)
        pitch, energy = stretch(pitch, 2 * frames), stretch(energy, 2 * frames)
        (wave,) = self._sound.run(
            ("audio",),
            {
                _CONTENT: content,
                _PITCH: shape_pitch(pitch[0], prosody, frame=_FRAME_SECONDS)[None],
                _ENERGY: energy + np.float32(prosody.effort),
                "style": style,
            },
        )
        return np.asarray(wave, np.float32)


def without_silence(
    content: FloatCurve, pitch: FloatCurve, energy: FloatCurve
) -> tuple[FloatCurve, FloatCurve, FloatCurve]:
    """A plan without the silence that it begins and ends with: about a third of the work.

    Args:
        content: One frame for two of the others. Shape [1, C, F / 2].
        pitch: Hertz. Shape [1, F].
        energy: In the network's own unit. Shape [1, F].
    """
    speech = np.flatnonzero((energy[0] > _SILENCE) | (pitch[0] > VOICED_HERTZ))
    if not speech.size:
        return content, pitch, energy
    first = max(0, speech[0] // 2 - _MARGIN)
    last = speech[-1] // 2 + 1 + _MARGIN
    both = slice(2 * first, 2 * last)
    return content[..., first:last], pitch[:, both], energy[:, both]


@lru_cache(maxsize=4)
def voice_styles(voice: str) -> npt.NDArray[np.float32]:
    """The style vectors of a vendored voice, one for each count of sounds. Shape [510, 256]."""
    from safetensors.numpy import load_file

    with as_file(files("echat_sdk.model.cascade") / "voices" / f"{voice}.safetensors") as path:
        styles: npt.NDArray[np.float32] = load_file(path)["style"].astype(np.float32)
    return styles
