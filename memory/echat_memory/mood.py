"""How a user has sounded of late: valence and arousal of a turn, and a line on the last turns.

Apparent, expressed emotion; never a diagnosis. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from echat_sdk.cues import Cue, Emotion
from echat_sdk.turn import Lang

ENOUGH = 3
"""Fewer known emotions than this say nothing about a mood."""

# (valence, arousal) of each label: Russell & Mehrabian 1977, rounded. `other` has no place.
ANCHORS = {
    Emotion.HAPPY: (0.76, 0.48),
    Emotion.ANGER: (-0.51, 0.59),
    Emotion.FEAR: (-0.64, 0.60),
    Emotion.SAD: (-0.63, -0.27),
    Emotion.DISGUST: (-0.60, 0.35),
    Emotion.SURPRISE: (0.40, 0.67),
    Emotion.NEUTRAL: (0.0, 0.0),
}
_HEAVY = {Emotion.SAD, Emotion.ANGER, Emotion.FEAR, Emotion.DISGUST}
_WORDS: dict[Lang, dict[str, str]] = {
    "en": {
        Emotion.SAD: "sad",
        Emotion.ANGER: "angry",
        Emotion.HAPPY: "happy",
        Emotion.SURPRISE: "surprised",
        Emotion.FEAR: "afraid",
        Emotion.DISGUST: "disgusted",
        "heavy": "troubled",
    },
    "zh": {
        Emotion.SAD: "难过",
        Emotion.ANGER: "生气",
        Emotion.HAPPY: "开心",
        Emotion.SURPRISE: "惊讶",
        Emotion.FEAR: "害怕",
        Emotion.DISGUST: "厌烦",
        "heavy": "心情沉重",
    },
}
_USUAL: dict[Lang, dict[int, str]] = {
    "en": {-1: "lower than is usual for them", 1: "brighter than is usual for them"},
    "zh": {-1: "似乎比平时低落一些", 1: "似乎比平时开朗一些"},
}


def affect(emotion: Cue) -> tuple[float, float] | None:
    """Valence and arousal of a turn, each in [-1, 1]; None for an emotion that is not known.

    The mean over the distribution where there is one, else the place of the label.
    """
    if not emotion.is_known:
        return None
    shares = emotion.distribution or {emotion.label: 1.0}
    placed = [(p, ANCHORS[Emotion(label)]) for label, p in shares.items() if label in ANCHORS]
    weight = sum(p for p, _ in placed)
    if weight <= 0:
        return None
    valence = sum(p * v for p, (v, _) in placed) / weight
    arousal = sum(p * a for p, (_, a) in placed) / weight
    return valence, arousal


def mood_line(labels: Sequence[str | None], lang: Lang, *, than_usual: int = 0) -> str:
    """One hedged sentence on how most turns with these emotion labels sounded.

    Empty when too few are known; or when no feeling has the majority, or most were neutral, and
    they sounded as usual.

    Args:
        labels: Of the turns; None and `unknown` where it is not known.
        lang: The language of the sentence.
        than_usual: 1 where they sound higher than is usual for them, -1 where lower, else 0.
    """
    known = [Emotion(label) for label in labels if label in ANCHORS]
    if len(known) < ENOUGH:
        return ""
    label, count = Counter(known).most_common(1)[0]
    is_heavy = 2 * sum(emotion in _HEAVY for emotion in known) > len(known)
    if 2 * count > len(known):
        feeling = _WORDS[lang].get(label, "")  # neutral has no word: there is nothing to say
    elif is_heavy:
        feeling = _WORDS[lang]["heavy"]
    else:
        feeling = ""
    usual = _USUAL[lang].get(than_usual, "")
    if usual and (than_usual > 0) == is_heavy:
        feeling = ""  # happy, but low for them: what is newer is told, and not both
    if not (feeling or usual):
        return ""
    if lang == "zh":
        told = [f"多半{feeling}"] * bool(feeling) + [usual] * bool(usual)
        return f"最近听起来，用户{'，'.join(told)}。"
    if not feeling:
        return f"Lately they have sounded a little {usual}."
    return f"Lately they have sounded {feeling} more often than not{', ' * bool(usual)}{usual}."
