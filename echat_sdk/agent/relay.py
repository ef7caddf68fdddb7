"""What plugins are told of one conversation, and what they are asked before an answer."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from echat_sdk.agent.events import (
    AnswerMade,
    Event,
    HeardLate,
    StateChanged,
    TurnFinished,
    UserStarted,
)
from echat_sdk.agent.own_voice import said_in
from echat_sdk.bridge import Worker
from echat_sdk.cues import ReplyEmotion
from echat_sdk.hooks import Plugins, Session
from echat_sdk.protocols import Account, Memory, SpeechModel
from echat_sdk.turn import (
    Delta,
    Heard,
    Recollection,
    SafetyEvent,
    SpeechDelta,
    TextDelta,
    ThinkDelta,
    ThinkStyle,
    Thought,
    TurnStatus,
)

Say = Callable[[str, ReplyEmotion], AsyncGenerator[SpeechDelta]]
"""Speaks a text."""

_ENDS = re.compile(r"(?<!\d\.)(?<=[.!?…])[\"')”’]*(?:\s+|$)|(?<=[。！？\n])[”’]*")


class Replies(Protocol):
    """What can be answered: a `Hearing`, or an `Ear` that has one."""

    def reply(
        self, recollection: Recollection, *, think: ThinkStyle, speak: bool, voice: str | None
    ) -> Iterator[Delta]:
        """As `Hearing.reply`."""
        ...


class Relay:
    """One conversation's side of its plugins. Nothing here waits for a plugin but what says so.

    Args:
        plugins: Whom it tells.
        session: Of which conversation.
        memory: Knows moods, where it does.
        store: The memory's thread.

    Attributes:
        allowed: The purposes that the user may be used for; None where nobody is asked.
    """

    def __init__(self, plugins: Plugins, session: Session, memory: Memory, store: Worker) -> None:
        self._plugins = plugins
        self._session = session
        self._memory = memory
        self._store = store
        self._think = ""
        self.allowed: frozenset[str] | None = None

    def begin(self, say: Callable[[str], None]) -> None:
        """The conversation begins; `say` says something in it, from any thread."""
        self._tell("on_start", say=say)

    def end(self) -> None:
        """It is over."""
        self._tell("on_end")

    def erased(self) -> None:
        """Everything that is known of the user was erased."""
        self._plugins.erase(self._session.user)

    def take(self, event: Event) -> None:
        """Something happened."""
        match event:
            case StateChanged(state):
                self._tell("on_state", state=state.value)
            case UserStarted():
                self._tell("on_speech_started")
            case (Heard() as heard) | HeardLate(heard) if heard.transcript:
                self._think = ""
                self._tell("on_cues", heard=heard)
            case ThinkDelta(text):
                self._think += text
            case Thought():
                self._tell("on_think", think=self._think, thought=event)
                if event.safety is not None:
                    self._tell("on_crisis", crisis=event.safety)
            case SpeechDelta():
                self._tell("on_speech", speech=event)
            case AnswerMade(turn):
                self._tell("on_reply", turn=turn)
            case TurnFinished(answer):
                if answer.turn.status is TurnStatus.INTERRUPTED:
                    self._tell("on_interrupted", turn=answer.turn)
                self._tell("on_turn", turn=answer.turn, turn_id=answer.turn_id)
                self._tell_mood()

    async def answer(
        self,
        opened: Callable[[], Replies],
        heard: Heard,
        known: Recollection,
        *,
        model: SpeechModel,
        mind: Worker,
        think: ThinkStyle,
        speak: bool,
        voice: str | None,
    ) -> AsyncGenerator[Delta]:
        """Have the model answer, as plugins want it; they are waited for, shortly.

        Args:
            opened: Gives what is answered; called in the model's thread.
            heard: The same in words.
            known: What memory gives.
            model: Answers, and speaks what was changed.
            mind: Its thread.
            think: Form of the thought.
            speak: Whether the answer is spoken.
            voice: In which voice.
        """
        plugins, session, danger = self._plugins, self._session, None
        if len(plugins):
            found = await plugins.before(session, heard, voice, self.allowed)
            known, voice, danger = (
                replace(known, context=found.context),
                found.voice,
                found.danger,
            )
        wants = plugins.wants
        changes = danger is not None or wants("shape_reply") or wants("shape_emotion")

        def reply() -> Iterator[Delta]:
            speaks = speak and not changes
            return opened().reply(known, think=think, speak=speaks, voice=voice)

        def say(text: str, emotion: ReplyEmotion) -> AsyncGenerator[SpeechDelta]:
            return mind.iterate(lambda: said_in(voice, model, text, emotion))

        async with aclosing(mind.iterate(reply)) as deltas:
            shaped = self._shaped(deltas, heard, danger, say if speak else None)
            async with aclosing(shaped if changes else deltas) as given:
                async for delta in given:
                    yield delta

    async def _shaped(
        self,
        deltas: AsyncIterator[Delta],
        heard: Heard,
        danger: SafetyEvent | None,
        say: Say | None,
    ) -> AsyncGenerator[Delta]:
        """An answer in writing as plugins want it, each sentence spoken once it is known."""
        plugins, session = self._plugins, self._session
        emotion, held = ReplyEmotion.NEUTRAL, ""

        async def told(sentence: str) -> AsyncGenerator[Delta]:
            if text := await plugins.reply(session, heard, sentence, self.allowed):
                yield TextDelta(text)
                if say is not None:
                    async with aclosing(say(text, emotion)) as speech:
                        async for piece in speech:
                            yield piece

        async for delta in deltas:
            match delta:
                case Thought():
                    wish = delta.reply_emotion
                    emotion = await plugins.emotion(session, heard, wish, self.allowed)
                    yield replace(delta, reply_emotion=emotion, safety=delta.safety or danger)
                case TextDelta(text):
                    held += text
                    while end := _ENDS.search(held):
                        sentence, held = held[: end.end()], held[end.end() :]
                        async for piece in told(sentence):
                            yield piece
                case SpeechDelta():
                    pass  # it is made of what is said in the end
                case _:
                    yield delta
        if held:
            async for piece in told(held):
                yield piece

    def _tell(self, hook: str, **values: object) -> None:
        if self._plugins.wants(hook):
            self._plugins.tell(hook, self.allowed, session=self._session, **values)

    def _tell_mood(self) -> None:
        memory = self._memory
        if not self._plugins.wants("on_mood") or not isinstance(memory, Account):
            return

        def tell() -> None:
            self._tell("on_mood", mood=memory.mood(self._session.user).to_json())

        self._store.submit(tell)
