"""How a user has sounded of late: a line on the last turns.

Apparent, expressed emotion; never a diagnosis. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from echat_sdk.cues import ANCHORS, Emotion
from echat_sdk.turn import Lang

ENOUGH = 3
"""Fewer known emotions than this say nothing about a mood."""

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


def mood_line(labels: Sequence[str | None], lang: Lang, *, than_usual: int = 0) -> str:
    """One hedged sentence on how most turns with these emotion labels sounded.

    Empty when too few are known; or when no feeling has the majority, or most were neutral, and
    they sounded as usual.

    Args:
        labels: Of the turns; None and `unknown` where it is not known.
        lang: The language of the sentence.
        than_usual: 1 where they sound higher than is usual for them, -1 where lower, else 0.
    """
    known = [Emotion(label) for label in labels if label is not None and label in ANCHORS]
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
