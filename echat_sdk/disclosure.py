"""What a person is told before they are heard: that this is an AI, what it infers, what it keeps.

Only what is active is told. Pure: who says it, and when, is the host's; `Reminder` knows when a
long session is due to hear it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from echat_sdk.audio import Seconds
from echat_sdk.config import Deployment
from echat_sdk.consent import Purpose
from echat_sdk.turn import Lang

VERSION = "1"
"""Of the texts below; raised whenever their meaning changes."""

EVERY: Seconds = 3 * 3600.0
"""How often a companion reminds of what it is (New York General Business Law, article 47)."""

_AI: dict[Lang, str] = {
    "en": "I am an AI, not a person.",
    "zh": "我是人工智能，不是真人。",
}
_INFERS: dict[Lang, dict[str, str]] = {
    "en": {
        Purpose.INFER_EMOTION: "how you feel",
        Purpose.INFER_GENDER: "your gender",
        Purpose.INFER_AGE: "your age group",
    },
    "zh": {
        Purpose.INFER_EMOTION: "情绪",
        Purpose.INFER_GENDER: "性别",
        Purpose.INFER_AGE: "年龄段",
    },
}
_KEEPS: dict[Lang, dict[str, str]] = {
    "en": {
        Purpose.STORE_TRANSCRIPT: "your words",
        Purpose.STORE_EMOTION: "how you sounded",
        Purpose.STORE_AUDIO: "a recording of your voice",
    },
    "zh": {
        Purpose.STORE_TRANSCRIPT: "你说的话",
        Purpose.STORE_EMOTION: "你说话时的情绪",
        Purpose.STORE_AUDIO: "你的录音",
    },
}
_ASKS: dict[Lang, dict[str, str]] = {
    "en": {
        Purpose.PROCESS_VOICE: "listen to you",
        Purpose.INFER_EMOTION: "judge from your voice how you feel",
        Purpose.INFER_AGE: "guess your age group from your voice",
        Purpose.INFER_GENDER: "guess your gender from your voice",
        Purpose.STORE_TRANSCRIPT: "keep your words and the answers to them",
        Purpose.STORE_EMOTION: "keep how you sounded",
        Purpose.STORE_AUDIO: "keep the sound of your voice",
        Purpose.LONG_TERM_MEMORY: "remember you the next time",
        Purpose.TRAIN: "let models learn from what is kept",
    },
    "zh": {
        Purpose.PROCESS_VOICE: "听你说话",
        Purpose.INFER_EMOTION: "从你的声音判断你的心情",
        Purpose.INFER_AGE: "从你的声音猜测你的年龄段",
        Purpose.INFER_GENDER: "从你的声音猜测你的性别",
        Purpose.STORE_TRANSCRIPT: "保存你的话和对它们的回答",
        Purpose.STORE_EMOTION: "保存你说话时的情绪",
        Purpose.STORE_AUDIO: "保存你的声音",
        Purpose.LONG_TERM_MEMORY: "下次仍记得你",
        Purpose.TRAIN: "让模型从保存的内容中学习",
    },
}
ANSWERS: dict[Lang, str] = {
    "en": "Please say yes or no.",
    "zh": "请说我同意，或者我不同意。",  # short answers are heard less well
}
"""How to answer a question aloud."""


@dataclass(frozen=True, slots=True)
class Disclosure:
    """What is told, and which text that is.

    Attributes:
        text: To be said or shown before the microphone opens; empty for nothing.
        version: To be kept with what is agreed to after it.
    """

    text: str
    version: str


def disclosure(
    lang: Lang, allowed: Collection[str], *, own: str = "", is_asked: bool = False
) -> Disclosure:
    """What to tell somebody.

    Args:
        lang: Language of the text.
        allowed: The purposes that they are used for, as `Consents.allowed` gives them.
        own: A host's own words in its place.
        is_asked: Whether they are asked to agree to it, so that nothing is inferred yet.
    """
    if own:
        return Disclosure(own, hashlib.sha256(own.encode()).hexdigest()[:12])
    infers = [words for purpose, words in _INFERS[lang].items() if purpose in allowed]
    keeps = [words for purpose, words in _KEEPS[lang].items() if purpose in allowed]
    if Purpose.LONG_TERM_MEMORY not in allowed:
        keeps = [words for words in keeps if words == _KEEPS[lang][Purpose.STORE_AUDIO]]
    in_words = _in_english if lang == "en" else _in_chinese
    return Disclosure(_AI[lang] + in_words(infers, keeps, is_asked=is_asked), VERSION)


def question(lang: Lang, purposes: Collection[str], *, is_again: bool = False) -> str:
    """What is asked of somebody who is to answer by voice.

    Args:
        lang: Language of the text.
        purposes: What they are to agree to; of `consent.Purpose`.
        is_again: Whether they gave no answer to it before.
    """
    asks = [words for purpose, words in _ASKS[lang].items() if purpose in purposes]
    if lang == "en":
        asked = f"May I {_listed(asks, ', and ')}?"
        return f"Sorry, I did not get that. {asked}" if is_again else asked
    asked = f"我可以{_listed(asks, '，并', '，')}吗？"
    return f"对不起，我没听清。{asked}" if is_again else asked


def configured(setting: str, deployment: Deployment, lang: Lang, allowed: Collection[str]) -> str:
    """What the setting `disclosure` comes to: `auto`, `off` or a text.

    `auto` tells whoever did not start the agent themselves; on one's own machine one knows.
    """
    if setting == "off" or (setting == "auto" and deployment == "private"):
        return ""
    return disclosure(lang, allowed, own="" if setting == "auto" else setting).text


def _in_english(infers: list[str], keeps: list[str], *, is_asked: bool) -> str:
    judged = f" From your voice I judge {_listed(infers, ' and ')}." if infers else ""
    if is_asked and infers:
        judged = f" If you agree, I judge {_listed(infers, ' and ')} from your voice."
    if keeps:
        return f"{judged} I keep {_listed(keeps, ' and ')}; you can have it erased at any time."
    return f"{judged} When we are done I keep nothing."


def _in_chinese(infers: list[str], keeps: list[str], *, is_asked: bool) -> str:
    judged = f"我会从你的声音判断你的{'、'.join(infers)}。" if infers else ""
    if is_asked and infers:
        judged = f"如果你同意，{judged}"
    if keeps:
        return f"{judged}我会保存{'、'.join(keeps)}，你随时可以要求删除。"
    return f"{judged}谈话结束后，我什么都不保存。"


def _listed(words: list[str], last: str, comma: str = ", ") -> str:
    return last.join([*([comma.join(words[:-1])] if words[1:] else []), words[-1]])


class Reminder:
    """When a session is due to be told again.

    Args:
        every: After how long.
        since: When it was told last, on the clock that `is_due` is asked with.
    """

    def __init__(self, *, every: Seconds = EVERY, since: Seconds = 0.0) -> None:
        self._every = every
        self._told = self._before = since

    def is_due(self, now: Seconds) -> bool:
        """Whether to tell it now; whoever is told yes tells it."""
        if now - self._told < self._every:
            return False
        self._before, self._told = self._told, now
        return True

    def untold(self) -> None:
        """It was cut off: it is due again."""
        self._told = self._before
