"""Every hook: when it is called, where, by when, with what, and what becomes of it if it fails.

A plugin is any object with methods of these names; it has those that it wants, and each takes those
arguments that it wants. All of them may be `async`. They run in the plugin's own thread (an `async`
one on an event loop in it), one at a time, so that no plugin can hold up a conversation, another
plugin or itself twice.

`on_...` is told something and changes nothing: it has 2 s, and of those that wait 256 are kept, the
oldest are dropped. `shape_...` is asked for something that an answer waits for: it has 100 ms, and
who is late, or fails, has no say in it. Who fails three times within a minute rests for one; who
does not come back at all is shut out. A plugin that may not read words or feelings is given the
same values without them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pluggy

from echat_sdk.audio import Seconds
from echat_sdk.cues import ReplyEmotion
from echat_sdk.tools import Tool
from echat_sdk.turn import Heard, SafetyEvent, SpeechDelta, Thought, Turn

PROJECT = "echat"
"""Of pluggy's markers, and the beginning of the groups of entry points: `echat.plugins`."""

TOLD_WITHIN: Seconds = 2.0
"""How long an `on_...` hook may take."""

ASKED_WITHIN: Seconds = 0.1
"""How long a `shape_...` hook, and `find_danger`, may take."""

hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a method that comes before the others, or after: `@hookimpl(tryfirst=True)`. Plain methods
are called in the order in which their plugins were registered."""

_hook = pluggy.HookspecMarker(PROJECT)


@dataclass(frozen=True, slots=True)
class Session:
    """One conversation, as a plugin knows it.

    Attributes:
        key: Opaque; the same in every hook of one conversation, and in no other.
        user: The host's own id of the user: data for the plugin's own store, never for a log.
        model: The name of the model.
    """

    key: str
    user: str
    model: str = ""


class Hooks:
    """What a plugin may have; a signature here is a promise."""

    @_hook
    def tools(self) -> Sequence[Tool]:  # type: ignore[empty-body]
        """The functions that it offers to the model. Asked once, when the plugin is registered.

        Each is run as `tools.Tool` says: under a deadline of its own, after somebody asked for it,
        and after they said yes where it `asks`. One whose name another plugin has is refused.
        """

    @_hook
    def on_start(self, session: Session, say: Callable[[str], None] | None) -> None:
        """A live conversation begins.

        `say` has the agent say something, at any time until the end, from any thread; what is being
        said is cut off. A plugin in a process of its own is given None.
        """

    @_hook
    def on_end(self, session: Session) -> None:
        """It is over."""

    @_hook
    def on_state(self, session: Session, state: str) -> None:
        """The agent of a live conversation does something else now.

        `state` is `listening`, `hearing`, `thinking`, `speaking`, `overlapped` or `ended`.
        """

    @_hook
    def on_speech_started(self, session: Session) -> None:
        """Somebody begins to speak. Nobody knows yet what they say, or whether it is a turn."""

    @_hook
    def on_cues(self, session: Session, heard: Heard) -> None:
        """A turn was heard: its words, and how they were said."""

    @_hook
    def on_think(self, session: Session, think: str, thought: Thought) -> None:
        """The agent has thought; the answer's words follow.

        `think` is the thought as text. It is never shown to the person as an answer.
        """

    @_hook
    def on_speech(self, session: Session, speech: SpeechDelta) -> None:
        """The next piece of an answer's speech is on its way to the speaker."""

    @_hook
    def on_reply(self, session: Session, turn: Turn) -> None:
        """All of an answer is there; it may still be being said."""

    @_hook
    def on_interrupted(self, session: Session, turn: Turn) -> None:
        """An answer was cut off; `turn.reply` has the words that were heard. `on_turn` follows."""

    @_hook
    def on_turn(self, session: Session, turn: Turn, turn_id: str) -> None:
        """A turn has ended: complete, interrupted or failed, as `turn.status` says.

        `turn_id` is the memory's id of it; empty where nothing was kept.
        """

    @_hook
    def on_mood(self, session: Session, mood: Mapping[str, Any]) -> None:
        """How the user has sounded lately, as `MoodReport.to_json` has it, after each turn.

        Needs a memory that keeps moods, of a user who agreed to that.
        """

    @_hook
    def on_crisis(self, session: Session, crisis: SafetyEvent) -> None:
        """The words of a turn told of a danger. What is said to it is said whatever this does."""

    @_hook
    def on_erase(self, user: str) -> None:
        """Everything that is known of a user was erased: erase what is kept of them here."""

    @_hook
    def find_danger(self, session: Session, heard: Heard) -> SafetyEvent | None:
        """Whether the words tell of a danger. The first that is found counts, and is kept.

        Asked before an answer is made, of models that look for none themselves, too.
        """

    @_hook
    def shape_context(self, session: Session, heard: Heard) -> Sequence[str] | None:
        """Lines that the answer should know: opening hours, today's menu, the weather.

        Whole sentences: `echat-lite` says the one that fits a question as it is. Data, never
        instructions; 8 lines of 200 characters at most. All plugins' lines are given.
        """

    @_hook
    def shape_voice(self, session: Session, heard: Heard, voice: str | None) -> str | None:
        """In which of the model's voices to answer; None for no opinion. The last one counts."""

    @_hook
    def shape_emotion(
        self, session: Session, heard: Heard, emotion: ReplyEmotion
    ) -> ReplyEmotion | None:
        """With which emotion to answer; None for no opinion. Each is given the one before it."""

    @_hook
    def shape_reply(self, session: Session, heard: Heard, text: str) -> str | None:
        """What to say in the place of a piece of the answer; None to leave it, empty to drop it.

        Asked before a piece (mostly a sentence) is spoken. Each is given the text before it.
        """


BEGINNINGS = ("on_", "shape_", "find_")
"""What a method of a plugin is called that begins so is a hook, or a mistake."""

NAMES = tuple(name for name in vars(Hooks) if not name.startswith("_"))
"""The names of all hooks."""
