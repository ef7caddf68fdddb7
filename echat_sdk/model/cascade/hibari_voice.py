"""The default English voice: hibari, with its pitch, effort and voice quality in our hands.

hibari's network says first how a text is to be spoken (a pitch and an energy a frame of 12.5 ms)
and then what sound that is. We cut it between the two: the prosody of a reply emotion is put in
there, and the second half makes the sound that belongs to it, which is far more natural than
bending a finished sound.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from echat_sdk.audio import FloatWaveform, Hertz
from echat_sdk.model.cascade.english import english_phonemizer, hibari_asset, vocabulary
from echat_sdk.model.cascade.onnx_cut import OnnxNetwork, open_network
from echat_sdk.model.cascade.prosody import VOICED_HERTZ, Prosody, shape_pitch, stretch

_FRAME_SECONDS = 0.0125
_CONTENT, _PITCH, _ENERGY = "/Reshape_42_output_0", "f0", "/Mul_62_output_0"
_SPECTRA = ("lh", "theta", "ln", "lr", "phi")
_BREATH_HERTZ = 1500.0  # breath is heard above the first formants

Spectrum = npt.NDArray[np.float32]


class HibariVoice:
    """Speaks English clauses; about 60 times faster than it lasts, on one core.

    Raises:
        ModelMissingError: hibari-tts or onnxruntime is not installed.
        CheckpointError: hibari's network is not the one that this was written for.
    """

    sample_rate: Hertz = 24_000

    def __init__(self, *, threads: int = 1) -> None:
        network = OnnxNetwork(hibari_asset("hibari.onnx").read_bytes())
        seam = (_CONTENT, _PITCH, _ENERGY)
        head = network.cut(inputs=("ids", "speed"), outputs=seam)
        tail = network.cut(inputs=seam, outputs=_SPECTRA)
        self._plan, self._sound = (open_network(n, threads=threads) for n in (head, tail))
        self._ids = vocabulary()
        self._phonemize = english_phonemizer()

    def speak(self, text: str, prosody: Prosody) -> FloatWaveform:
        """The sound of a clause, with about 0.3 s of silence at either end. Shape [S], 24 kHz."""
        sounds = self._phonemize(text)
        ids = [0, *(self._ids[c] for c in sounds if c in self._ids), 0]
        if len(ids) < 3:
            return np.zeros(0, np.float32)
        content, pitch, energy = self._plan.run(
            (_CONTENT, _PITCH, _ENERGY),
            {"ids": np.array([ids], np.int64), "speed": np.ones(1, np.float32)},
        )
        frames = round(pitch.shape[-1] / prosody.rate)
        content, pitch, energy = (stretch(track, frames) for track in (content, pitch, energy))
        pitch = shape_pitch(pitch[0], prosody, frame=_FRAME_SECONDS)
        spectra = self._sound.run(
            _SPECTRA,
            {_CONTENT: content, _PITCH: pitch[None], _ENERGY: energy + np.float32(prosody.effort)},
        )
        return self._wave([part[0] for part in spectra], pitch, prosody)

    def _wave(
        self, spectra: list[Spectrum], pitch: npt.NDArray[np.float32], prosody: Prosody
    ) -> FloatWaveform:
        from hibari import dsp

        harmonic, theta, noise, rest, phase = spectra
        if prosody.breath:
            # Noise in the shape of the voiced sound's own spectrum, so that it is heard as breath
            # of the same mouth and not as hiss beside it.
            first = int(_BREATH_HERTZ / (self.sample_rate / 2) * len(noise))
            voiced = pitch > VOICED_HERTZ
            breath = np.logaddexp(harmonic, rest) + np.float32(np.log(prosody.breath))
            noise = noise.copy()
            noise[first:, voiced] = np.logaddexp(noise[first:, voiced], breath[first:, voiced])
        # The noise is drawn from a fixed seed: the same words in the same emotion sound the same.
        rng = np.random.default_rng(0)
        wave: FloatWaveform = dsp.synth(harmonic, theta, noise, rest, phase, pitch, rng)
        return wave
