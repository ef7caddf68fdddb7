"""All that is heard beside the words: the voice's reading and the words' reading, fused."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from threadpoolctl import ThreadpoolController

from echat_sdk.audio import FloatWaveform, Seconds
from echat_sdk.cues import Cue, Cues
from echat_sdk.model.cascade.fusion import emotion_cue, gender_cue
from echat_sdk.model.cascade.heads import TEXT
from echat_sdk.model.cascade.text_emotion import TextEmotion
from echat_sdk.model.cascade.voice_cues import VoiceCues
from echat_sdk.turn import Lang

_NO_CLASSIFIER = Cue(why="no measured classifier")
_OFF = Cue(why="switched off")


class CueHearer:
    """Hears how something is said.

    Emotion comes from the voice and the words, gender from the voice. Age, events and style are
    always unknown: there is no classifier for them whose error was measured.

    Args:
        whisper_dir: A CTranslate2 Whisper; only its first encoder layers are read.

    Raises:
        ModelMissingError: weights, or a head that fits them, are not here.
        CheckpointError: they are damaged.
    """

    def __init__(self, whisper_dir: Path) -> None:
        self._voice = VoiceCues(whisper_dir)
        self._text = TextEmotion(TEXT)
        self._blas = ThreadpoolController()

    def hear(
        self,
        samples: FloatWaveform,
        *,
        words: str,
        lang: Lang,
        speech_seconds: Seconds,
        snr_db: float | None,
        infer: Collection[str] = ("emotion", "gender"),
    ) -> Cues:
        """The cues of an utterance.

        Args:
            samples: 16 kHz mono in [-1, 1]. Shape [S].
            words: What was said.
            lang: Language of the words.
            speech_seconds: How much of the utterance was speech.
            snr_db: Speech over noise in decibels; None if it could not be measured.
            infer: The cues that may be inferred; no classifier runs for the others.
        """
        emotion = gender = _OFF
        if not {"emotion", "gender"} & set(infer):
            return Cues(emotion, gender, _NO_CLASSIFIER, _NO_CLASSIFIER, _NO_CLASSIFIER)
        # Matrices of 150 frames are too small to share out: with a second thread, which meets the
        # other networks' threads on the same cores, this takes five times as long.
        with self._blas.limit(limits=1, user_api="blas"):
            voice = self._voice.features(samples)
        if "emotion" in infer:
            emotion = emotion_cue(
                self._voice.emotion(voice),
                self._text(words, lang),
                speech_seconds=speech_seconds,
                snr_db=snr_db,
            )
        if "gender" in infer:
            female = self._voice.female(voice)
            gender = gender_cue(female, speech_seconds=speech_seconds, snr_db=snr_db)
        return Cues(emotion, gender, _NO_CLASSIFIER, _NO_CLASSIFIER, _NO_CLASSIFIER)
