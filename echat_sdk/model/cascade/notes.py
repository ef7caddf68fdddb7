"""What plugins know, said to who asks for it: as it is, the line that shares most with a question.

The small model answers from notes too freely: asked for what they do not hold, it makes it up.
"""

from __future__ import annotations

from collections.abc import Sequence

from echat_sdk.model.cascade.words import content_words
from echat_sdk.turn import Lang

_STEM = 4  # letters that two forms of a word share: "open", "opening", "opens"
_FEW = 4  # pairs of a Chinese question of which one that is shared is enough


def fitting(words: str, lines: Sequence[str], lang: Lang) -> str:
    """The line that answers a question; empty where none has to do with it.

    Args:
        words: The question.
        lines: Sentences that can be said as they are.
        lang: Language of both.
    """
    asked = _terms(words, lang)
    least = 2 if lang == "zh" and len(asked) > _FEW else 1
    shared = {line: len(asked & _terms(line, lang)) for line in lines}
    best = max(lines, key=lambda line: shared[line], default="")
    return best if best and shared[best] >= least else ""


def _terms(text: str, lang: Lang) -> set[str]:
    return {word if lang == "zh" else word[:_STEM] for word in content_words(text, lang)}
