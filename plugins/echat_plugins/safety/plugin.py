"""Safety as a plugin: a danger gets the fixed reply of any model, and no reply holds anybody."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from echat_plugins.safety.monitor import Care, SafetyMonitor, SafetyOptions
from echat_sdk.errors import ConfigError
from echat_sdk.hooks import Session
from echat_sdk.safety.danger import detect
from echat_sdk.turn import Heard, SafetyEvent, Turn

ECHAT_PLUGIN = {"needs": ["read_transcript", "shape"]}

_MOST_SESSIONS = 4096  # conversations that ended unseen must not pile up; the oldest go

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Watched:
    """One conversation: what is answered now, and whether anything was said of it yet."""

    monitor: SafetyMonitor
    say: Callable[[str], None] | None = None
    care: Care | None = None
    has_spoken: bool = False
    heard: str | None = None


class Safety:
    """Looks for danger in what is said, and for hooks in what is answered.

    Args:
        clock: Seconds, rising.
        options: As `SafetyOptions` has them: `helplines`, `usage_every`.

    Raises:
        ConfigError: an option is unknown or out of its bounds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, **options: Any) -> None:
        try:
            self._options = SafetyOptions.model_validate(options)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ConfigError(f"plugins.safety.{where}: {first['msg']}") from error
        self._clock = clock
        self._sessions: dict[str, _Watched] = {}
        detect("ok, 好")  # the rules of both languages; a hook has no time to read them
        if warning := self._options.warning():
            _log.warning(warning)

    def on_start(self, session: Session, say: Callable[[str], None] | None) -> None:
        """Know how to speak of one's own accord, for a word after hours."""
        self._of(session).say = say

    def on_end(self, session: Session) -> None:
        """Forget the conversation."""
        self._sessions.pop(session.key, None)

    def find_danger(self, session: Session, heard: Heard) -> SafetyEvent | None:
        """Look at the words, and at nothing else of what was heard."""
        watched = self._of(session)
        watched.care = watched.monitor.hear(heard.transcript, heard.lang)
        watched.has_spoken, watched.heard = False, heard.transcript
        return watched.care.event if watched.care else None

    def shape_reply(self, session: Session, heard: Heard, text: str) -> str | None:
        """The fixed reply in the place of the first piece, or a piece without its hooks."""
        watched = self._of(session)
        if watched.heard != heard.transcript:  # it was asked too late, and had no say
            self.find_danger(session, heard)
        is_first, watched.has_spoken = not watched.has_spoken, True
        if watched.care is not None:
            return watched.care.reply if is_first else ""
        linted = watched.monitor.say(text, heard.transcript, heard.lang)
        if not linted.hooks:
            return None
        # A plain line stands for a whole answer, not for each of its sentences.
        return linted.text if is_first or linted.text in text else ""

    def on_turn(self, session: Session, turn: Turn) -> None:
        """After hours, a word."""
        watched = self._of(session)
        if watched.say and (word := watched.monitor.usage(self._clock(), turn.lang)):
            watched.say(word)

    def _of(self, session: Session) -> _Watched:
        if session.key not in self._sessions:
            while len(self._sessions) >= _MOST_SESSIONS:
                self._sessions.pop(next(iter(self._sessions)))
            monitor = SafetyMonitor(self._options, since=self._clock())
            self._sessions[session.key] = _Watched(monitor)
        return self._sessions[session.key]
