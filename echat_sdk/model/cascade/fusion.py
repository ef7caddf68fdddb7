"""How the voice's emotion and the words' become one: a written rule, and when to say nothing.

1. The voice carries the emotion. Its distribution v is the start.
2. Words vote only as far as they are emotional: their strength s rises from 0 where their strongest
   feeling (neutral and other are none) has a probability of 0.35, to 1 at 0.65. Neutral words do
   not vote, so they never drag a moved voice to neutral.
3. The more neutral the voice, the more the words count: their share of the result is
   w = 0.7 * s * (1 - 0.65 * (1 - v[neutral])). A flat voice with strong words takes the words'
   feeling, at a lower confidence; a clearly moved voice keeps its label against any words.
4. The result is (1 - w) * v + w * t, where t is the words' distribution over feelings. When voice
   and words differ, both stay visible in it.
5. Unknown, with the reason: less than 0.8 s of speech; noise louder than the speech; the first two
   labels less than 0.10 apart. (At 0 dB three quarters of seven acted emotions are still heard.)
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from echat_sdk.audio import Seconds
from echat_sdk.cues import Cue, Emotion, Gender
from echat_sdk.model.cascade.text_emotion import EMOTIONS, Distribution

LEAST_SPEECH: Seconds = 0.8
LEAST_SNR_DB = 0.0
LEAST_MARGIN = 0.10
SURE_OF_GENDER = 0.65

_WORDS_START, _WORDS_FULL = 0.35, 0.65
_MOST_SHARE = 0.7
_VOICE_HOLDS = 0.65
_NEUTRAL = EMOTIONS.index(Emotion.NEUTRAL)
_FEELINGS = np.array([e not in (Emotion.NEUTRAL, Emotion.OTHER) for e in EMOTIONS])


def fuse(voice: Distribution, words: Distribution) -> Distribution:
    """One distribution from two, all in the order of `EMOTIONS`. Shape [8]."""
    feelings = np.where(_FEELINGS, words, 0.0)
    strength = (feelings.max() - _WORDS_START) / (_WORDS_FULL - _WORDS_START)
    if strength <= 0.0:
        return voice
    moved = 1.0 - voice[_NEUTRAL]
    share = _MOST_SHARE * min(strength, 1.0) * (1.0 - _VOICE_HOLDS * moved)
    out: Distribution = ((1.0 - share) * voice + share * feelings / feelings.sum()).astype(
        np.float32
    )
    return out


def emotion_cue(
    voice: Distribution,
    words: Distribution,
    *,
    speech_seconds: Seconds,
    snr_db: float | None,
) -> Cue:
    """The emotion of an utterance, or unknown with the reason.

    Args:
        voice: From the voice. Shape [8].
        words: From the words. Shape [8].
        speech_seconds: How much of the utterance was speech.
        snr_db: Speech over noise in decibels; None if it could not be measured.
    """
    poor = _poor_audio(speech_seconds, snr_db)
    if poor:
        return Cue(why=poor)
    fused = fuse(voice, words)
    distribution = MappingProxyType(
        {emotion.value: float(p) for emotion, p in zip(EMOTIONS, fused, strict=True)}
    )
    second, first = np.argsort(fused)[-2:]
    if fused[first] - fused[second] < LEAST_MARGIN:
        return Cue(
            distribution=distribution,
            why=f"{EMOTIONS[first]} and {EMOTIONS[second]} are equally likely",
        )
    return Cue(EMOTIONS[first].value, float(fused[first]), distribution)


def gender_cue(female: float, *, speech_seconds: Seconds, snr_db: float | None) -> Cue:
    """The gender of a voice from the probability that it is female, or unknown with the reason."""
    poor = _poor_audio(speech_seconds, snr_db)
    if poor:
        return Cue(why=poor)
    distribution = MappingProxyType({Gender.FEMALE.value: female, Gender.MALE.value: 1.0 - female})
    label = Gender.FEMALE if female >= 0.5 else Gender.MALE
    confidence = max(female, 1.0 - female)
    if confidence < SURE_OF_GENDER:
        return Cue(distribution=distribution, why="the voice could be either")
    return Cue(label.value, confidence, distribution)


def _poor_audio(speech_seconds: Seconds, snr_db: float | None) -> str:
    if speech_seconds < LEAST_SPEECH:
        return f"speech shorter than {LEAST_SPEECH} s"
    if snr_db is not None and snr_db < LEAST_SNR_DB:
        return "noise louder than the speech"
    return ""
