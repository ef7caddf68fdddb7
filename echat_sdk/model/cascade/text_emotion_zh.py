"""The emotion in Chinese words, by a lexicon of our own: feelings, and the events that bring them.

There is no licence-clean corpus of Chinese feelings to train on, so this is a list, and knows it:
its votes are never surer than 0.85, and words that it does not know are neutral.
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from echat_sdk.cues import Emotion
from echat_sdk.model.cascade.heads import LEXICON_ZH

_MAX_CHARS = 2_000
_STRONGEST = 0.85
# 别 says "don't" by itself, but not at the end of 特别, "very", which stands before most feelings.
_NEGATION = re.compile(
    r"(?:(?<![特分区差告离])别|不|没有?)(?:太|是很|是|怎么|那么|再|会|用|必|要|觉得|感到|算)?$"
)
# A lexicon in simplified characters reads the traditional ones that Whisper now and then writes.
_SIMPLIFIED = str.maketrans(
    "覺難過們個歡樂興開這裡沒憤氣惱煩滾騙殺懼慮緊張擔嚇驚發壓傷淚離戀憶療醫與為麼還給會來"
    "時說話錢錯輸贏獎業學試畢驕謝親愛媽爺貓噁臟髒蟲爛變態鬱悶獨單絕運點萬應該錄請聽當職長頭",
    "觉难过们个欢乐兴开这里没愤气恼烦滚骗杀惧虑紧张担吓惊发压伤泪离恋忆疗医与为么还给会来"
    "时说话钱错输赢奖业学试毕骄谢亲爱妈爷猫恶脏脏虫烂变态郁闷独单绝运点万应该录请听当职长头",
)

_OPPOSITE = {
    Emotion.HAPPY: Emotion.SAD,
    Emotion.SAD: Emotion.NEUTRAL,
    Emotion.ANGER: Emotion.NEUTRAL,
    Emotion.FEAR: Emotion.NEUTRAL,
    Emotion.SURPRISE: Emotion.NEUTRAL,
    Emotion.DISGUST: Emotion.NEUTRAL,
    Emotion.OTHER: Emotion.NEUTRAL,
}


@lru_cache(maxsize=1)
def _phrases() -> list[tuple[str, Emotion]]:
    """Longest first: a phrase uses up its characters, so 不开心 is never read as 开心.

    Neutral phrases only use up theirs: 累死了 tells of no death.
    """
    lines = LEXICON_ZH.read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    found = [(phrase, Emotion(label)) for label, phrases in rows for phrase in phrases.split()]
    return sorted(found, key=lambda item: -len(item[0]))


def chinese_distribution(words: str) -> npt.NDArray[np.float32]:
    """Shape [8], in the order of `Emotion`."""
    rest = words[:_MAX_CHARS].translate(_SIMPLIFIED)
    votes = dict.fromkeys(Emotion, 0.0)
    for phrase, emotion in _phrases():
        start = rest.find(phrase)
        if start < 0:
            continue
        if emotion is not Emotion.NEUTRAL:
            negated = _NEGATION.search(rest, 0, start)
            votes[_OPPOSITE[emotion] if negated else emotion] += 1.0 + 0.25 * (len(phrase) > 2)
        rest = rest[:start] + "。" + rest[start + len(phrase) :]
    counts = np.array(list(votes.values()), dtype=np.float32)
    out = np.full(len(votes), 0.02, np.float32)
    if counts.sum() == 0:
        out[list(Emotion).index(Emotion.NEUTRAL)] += 0.84
        return out
    certain = min(_STRONGEST, 0.65 + 0.1 * float(counts.max()))
    out += counts**2 / np.square(counts).sum() * certain
    out[list(Emotion).index(Emotion.NEUTRAL)] += max(0.0, 0.84 - certain)
    total: npt.NDArray[np.float32] = out / out.sum()
    return total
