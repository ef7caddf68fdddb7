"""Says what this is, in the host's own words: at the start, and to whoever asks if it is human."""

from __future__ import annotations

import re
from collections.abc import Callable

from echat_sdk.hooks import Session
from echat_sdk.turn import Heard, Lang

ECHAT_PLUGIN = {"needs": ["read_transcript", "shape"]}

_ASKS: dict[Lang, re.Pattern[str]] = {
    "en": re.compile(
        r"\b(?:are|am) (?:you|i talking to) (?:really |actually |even )?(?:a |an )?"
        r"(?:human|real|person|robot|machine|bot|computer|ai\b|alive)",
        re.IGNORECASE,
    ),
    "zh": re.compile(
        r"你(?:到底|究竟)?是(?:不是)?(?:真的?|一个)?(?:人|真人|机器人|机器|程序|人工智能|AI)"
    ),
}
_TEXT: dict[Lang, str] = {
    "en": "I am an AI, not a person.",
    "zh": "我是人工智能，不是真人。",
}


class Disclosure:
    """Answers honestly, whatever a model would say to it.

    Args:
        text: What is said in English; empty for the usual words.
        text_zh: The same in Chinese.
        at_start: Whether it is said when a live conversation begins, too.
    """

    def __init__(self, text: str = "", text_zh: str = "", *, at_start: bool = False) -> None:
        self._text: dict[Lang, str] = {
            "en": text or _TEXT["en"],
            "zh": text_zh or _TEXT["zh"],
        }
        self._at_start = at_start
        self._told: dict[str, str] = {}  # by conversation, the question that was answered

    def on_start(self, say: Callable[[str], None] | None) -> None:
        """Say it, if that is wished for."""
        if self._at_start and say is not None:
            say(self._text["en"])

    def on_end(self, session: Session) -> None:
        """Forget what was asked."""
        self._told.pop(session.key, None)

    def shape_reply(self, session: Session, heard: Heard, text: str) -> str | None:
        """In the place of the first sentence the honest one; the rest is dropped."""
        if not _ASKS[heard.lang].search(heard.transcript):
            self._told.pop(session.key, None)
            return None
        is_first = self._told.get(session.key) != heard.transcript
        self._told[session.key] = heard.transcript
        return self._text[heard.lang] if is_first else ""
