"""Emotion and gender from the voice alone: early Whisper states pooled over speech, a linear head.

An utterance is cut to its speech, brought to one loudness and taken in windows of at most two
seconds, so that neither silence, nor gain, nor Whisper's positions reach the head. The head is
linear (trained by `python -m echat_training.voice_head`); its card is heads/CARD.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from echat_sdk.audio import SAMPLE_RATE, FloatWaveform
from echat_sdk.cues import Emotion
from echat_sdk.errors import CheckpointError
from echat_sdk.model.cascade.acoustics import MEASURES, acoustics
from echat_sdk.model.cascade.encoder import WhisperEncoder, encoder_width
from echat_sdk.model.cascade.features import HOP, log_mel
from echat_sdk.model.cascade.heads import load_head, voice_head
from echat_sdk.model.cascade.text_emotion import EMOTIONS, Distribution, softmax

Vector = npt.NDArray[np.float32]

# Emotions of the corpus that the voice head knows, and what they are among OSUM's. A bored voice is
# a flat one, and OSUM has no label for it; surprise was not recorded: only words can tell it.
CORPUS_EMOTIONS: dict[str, Emotion] = {
    "anger": Emotion.ANGER,
    "boredom": Emotion.NEUTRAL,
    "disgust": Emotion.DISGUST,
    "fear": Emotion.FEAR,
    "happy": Emotion.HAPPY,
    "neutral": Emotion.NEUTRAL,
    "sad": Emotion.SAD,
}

# The corpus was acted in equal parts; talk is not. Without this, voices unlike those of the corpus
# are too often taken for afraid, disgusted or angry (measured, speakers and sentences held out).
_IN_TALK = {"anger": 0.7, "boredom": 0.5, "disgust": 0.4, "fear": 0.4}

_WINDOW = 2 * SAMPLE_RATE
_MOST_WINDOWS = 4  # eight seconds of speech say enough about a voice; more would only cost time
_RMS = np.float32(0.08)
_SPEECH_DB = 30.0  # speech reaches this far below its loudest parts
_POOLED_DB = 25.0  # and what is this far below its mean is not pooled
_MARGIN = 5  # frames kept before and after the speech


@dataclass(frozen=True, slots=True)
class VoiceReading:
    """What a voice says.

    Attributes:
        emotion: Calibrated probabilities in the order of `EMOTIONS`. Shape [8].
        female: Probability of a female voice.
    """

    emotion: Distribution
    female: float


class VoiceFeatures:
    """An utterance to one vector: mean and deviation of encoder states, and of pitch and loudness.

    Args:
        encoder: The first layers of Whisper.
        layers: Whose states are pooled; 0 is the output of the convolutions.
    """

    def __init__(self, encoder: WhisperEncoder, layers: tuple[int, ...]) -> None:
        self._encoder = encoder
        self._layers = layers

    def __call__(self, samples: FloatWaveform) -> Vector:
        """Shape [2 * layers * D + 20].

        Args:
            samples: 16 kHz mono with speech somewhere in it. Shape [S].
        """
        speech = cut_to_speech(samples)
        pooled = [self._states(window) for window in _windows(speech)]
        parts = []
        for states in map(np.concatenate, zip(*pooled, strict=True)):
            parts += [states.mean(axis=0), states.std(axis=0)]
        return np.concatenate([*parts, acoustics(speech[: _MOST_WINDOWS * _WINDOW])])

    def _states(self, window: FloatWaveform) -> list[Vector]:
        """States of the frames with speech in them, of each wanted layer."""
        states = self._encoder(log_mel(window))
        loud = _levels(window) > 20 * np.log10(_RMS) - _POOLED_DB
        loud = np.pad(loud, (0, 2 * len(states[0]) - len(loud)))
        rows = np.flatnonzero(loud[::2] | loud[1::2])
        return [states[layer][rows if len(rows) else slice(None)] for layer in self._layers]


class VoiceCues:
    """Voice to emotion and gender.

    Args:
        whisper_dir: A CTranslate2 Whisper; only its first encoder layers are read.
        head: The head's file; None takes the packaged one that fits the encoder's width.

    Raises:
        ModelMissingError: the weights, or a head for a Whisper of this width, are not here.
        CheckpointError: they are damaged or do not fit each other.

    Attributes:
        features: What both are read from; it takes nearly all of the time.
    """

    def __init__(self, whisper_dir: Path, head: Path | None = None) -> None:
        path = head or voice_head(encoder_width(whisper_dir))
        tensors = load_head(path)
        try:
            layers = tuple(int(layer) for layer in tensors["layers"])
            self._weight = tensors["emotion_weight"].astype(np.float32)
            self._bias = tensors["emotion_bias"].astype(np.float32)
            self._gender_weight = tensors["gender_weight"].astype(np.float32)
            self._gender_bias = float(tensors["gender_bias"].item())
        except KeyError as error:
            raise CheckpointError(f"{path.name} lacks the tensor {error}") from error
        encoder = WhisperEncoder.load(whisper_dir, n_layers=max(layers))
        expected = (2 * len(layers) * encoder.dim + len(MEASURES), len(CORPUS_EMOTIONS))
        if self._weight.shape != expected:
            raise CheckpointError(
                f"{path.name} holds weights of shape {self._weight.shape}, expected {expected}"
            )
        self.features = VoiceFeatures(encoder, layers)

    def __call__(self, samples: FloatWaveform) -> VoiceReading:
        """Read a voice.

        Args:
            samples: 16 kHz mono with speech somewhere in it. Shape [S].
        """
        features = self.features(samples)
        return VoiceReading(self.emotion(features), self.female(features))

    def emotion(self, features: Vector) -> Distribution:
        """The emotion of a voice by its `features`, as `VoiceReading` has it."""
        return as_in_talk(softmax(features @ self._weight + self._bias))

    def female(self, features: Vector) -> float:
        """The probability of a female voice by its `features`."""
        score = float(features @ self._gender_weight) + self._gender_bias
        return float(1.0 / (1.0 + np.exp(-np.clip(score, -30, 30))))


def as_in_talk(acted: Distribution) -> Distribution:
    """Probabilities of the corpus's emotions to those of OSUM's, at the odds that talk has.

    Args:
        acted: In the order of `CORPUS_EMOTIONS`. Shape [..., 7].

    Returns:
        In the order of `EMOTIONS`. Shape [..., 8].
    """
    fold = np.zeros((len(CORPUS_EMOTIONS), len(EMOTIONS)), np.float32)
    for row, (name, emotion) in enumerate(CORPUS_EMOTIONS.items()):
        fold[row, EMOTIONS.index(emotion)] = _IN_TALK.get(name, 1.0)
    weighed = acted @ fold
    out: Distribution = weighed / weighed.sum(axis=-1, keepdims=True)
    return out


def cut_to_speech(samples: FloatWaveform) -> FloatWaveform:
    """The stretch from the first to the last loud frame, its loud frames at one loudness.

    A waveform without any sound comes back as it is.
    """
    level = _levels(samples)
    if not len(level) or level.max() <= -100.0:
        return samples
    top, floor = np.percentile(level, [95, 5])
    threshold = max(top - _SPEECH_DB, min(floor + 6.0, top - 12.0))
    loud = np.flatnonzero(level >= threshold)
    first = max(0, loud[0] - _MARGIN) * HOP
    last = (loud[-1] + 1 + _MARGIN) * HOP
    rms = np.sqrt(np.mean(10.0 ** (level[loud] / 10.0)))
    return np.asarray(samples[first:last] * (_RMS / rms), dtype=np.float32)


def _levels(samples: FloatWaveform) -> Vector:
    """Decibels below full scale of each 10 ms."""
    whole = len(samples) // HOP * HOP
    power = np.square(samples[:whole].reshape(-1, HOP)).mean(axis=1)
    return np.asarray(10.0 * np.log10(power + 1e-11), dtype=np.float32)


def _windows(samples: FloatWaveform) -> list[FloatWaveform]:
    """Equal windows of at most two seconds; of a very long utterance some, evenly spread."""
    count = max(1, -(-len(samples) // _WINDOW))
    size = -(-len(samples) // count // (2 * HOP)) * 2 * HOP
    windows = [samples[i * size : (i + 1) * size] for i in range(count)]
    if count > _MOST_WINDOWS:
        windows = [windows[i] for i in np.linspace(0, count - 1, _MOST_WINDOWS).round().astype(int)]
    return [window for window in windows if len(window) >= 2 * HOP] or [samples]
