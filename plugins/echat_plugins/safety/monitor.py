"""One conversation watched: what was said before it is answered, the answer before it is said.

Pure, so that whatever carries it (a hook, a server, a test) decides about time and threads. A fault
in here must never leave somebody in danger without an answer: where the detector itself fails, the
words are answered as a worry.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from echat_plugins.safety.reply_lint import Context, Linted, lint
from echat_plugins.safety.usage import EVERY, usage_reminder
from echat_sdk.audio import Seconds
from echat_sdk.disclosure import Reminder
from echat_sdk.safety.caring import Helplines, caring_reply, was_caring
from echat_sdk.safety.danger import Category, Danger, Level, detect, event
from echat_sdk.turn import Lang, SafetyEvent

_log = logging.getLogger(__name__)

_UNSURE = Danger(Category.SELF, Level.CONCERN)


class SafetyOptions(BaseModel):
    """What a host sets.

    Attributes:
        helplines: Who can be called where the agent is used.
        usage_every: Seconds after which a long session is told so; None for never.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    helplines: Helplines = Helplines()
    usage_every: Annotated[Seconds, Field(ge=600.0)] | None = EVERY

    def warning(self) -> str:
        """What is to be told at the start; empty for nothing."""
        return self.helplines.lack()


@dataclass(frozen=True, slots=True)
class Care:
    """A danger, the fixed reply to it, and what is written down of it."""

    danger: Danger
    reply: str
    event: SafetyEvent


class SafetyMonitor:
    """Watches one conversation.

    Args:
        options: What the host set.
        since: When the session began, in seconds on the clock that `usage` is asked with.
    """

    def __init__(self, options: SafetyOptions, *, since: Seconds = 0.0) -> None:
        self._help = options.helplines.here()
        self._since = since
        every = options.usage_every
        self._reminder = Reminder(every=every, since=since) if every else None

    def hear(self, transcript: str, lang: Lang) -> Care | None:
        """What must be answered in fixed words; None for all else. Called once for each turn.

        Args:
            transcript: What was said; no emotion has a say.
            lang: The language to answer in.
        """
        try:
            danger = detect(transcript)
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody is answered
            _log.error("safety: the detector failed (%s); answered with care", type(error).__name__)
            danger = _UNSURE
        if danger is None:
            return None
        return Care(danger, caring_reply(danger, lang, self._help), event(danger))

    def say(self, reply: str, heard: str, lang: Lang) -> Linted:
        """A reply as it may be spoken; a caring one stays as it stands."""
        return Linted(reply) if was_caring(reply) else lint(reply, Context(heard, lang))

    def usage(self, now: Seconds, lang: Lang) -> str:
        """What to say of the time that was spent; mostly nothing. Whoever is given it says it."""
        if self._reminder is None or not self._reminder.is_due(now):
            return ""
        return usage_reminder(now - self._since, lang)
