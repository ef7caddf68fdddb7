"""The agent: hears an utterance, recalls, answers while thinking, and remembers.

It knows only protocols; models, stores and devices are given to it. With a device it converses
live; without, it answers one utterance at a time.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import Self

from echat_sdk.agent.consenting import (
    allowed_of,
    check_voice,
    heard_by,
    read_again,
    without_refused,
)
from echat_sdk.agent.events import AnswerMade, Event, State, TurnFinished
from echat_sdk.agent.exchange import Answer, Exchange
from echat_sdk.agent.live import Live
from echat_sdk.agent.relay import Relay
from echat_sdk.agent.requests import Request, lang_of
from echat_sdk.agent.rights import Manner, Rights, forget_conversation, spoken
from echat_sdk.agent.tool_use import ToolUse
from echat_sdk.audio import Seconds, Waveform, frames
from echat_sdk.bridge import Worker
from echat_sdk.cues import Cues, ReplyEmotion
from echat_sdk.errors import ConfigError
from echat_sdk.hooks import Plugins, Session
from echat_sdk.protocols import VAD, AudioIO, Hearing, Memory, SpeechModel, TurnEnd
from echat_sdk.tools import Tool
from echat_sdk.turn import (
    Delta,
    Heard,
    LangChoice,
    ThinkStyle,
    TurnStatus,
)
from echat_sdk.turn_policy import TurnPolicy

log = logging.getLogger(__name__)

_CLOSING: Seconds = 2.0  # for both threads


class Agent:
    """One user's conversation with a model and a memory.

    ```python
    async with Agent(load_model(), SQLMemory("sqlite:///echat.db"), user="ada") as agent:
        answer = await agent.answer(read_audio("question.wav"))
    ```

    Live, through a microphone and a speaker:

    ```python
    async with Agent(model, memory, user="ada", audio=audio, vad=vad) as agent:
        async for event in agent.events():
            print(event)
    ```

    Args:
        model: Hears, thinks and answers.
        memory: What is kept of the user.
        user: The host's own id of the user.
        think: Form of the thought.
        lang: Language that is spoken, or `auto`.
        speak: Whether answers are spoken; without, only their words are made.
        voice: In which voice, out of `Voiced.voices`; None for the model's own.
        audio: Where a live conversation is heard and spoken; None for none.
        vad: Tells speech; a live conversation needs one.
        turn_end: Tells whether a turn sounds complete; None waits by the clock alone.
        policy: How patient a live agent is.
        greeting: What it says first.
        plugins: What extends it: objects with hooks (see `echat_sdk.hooks`), or `Plugins` that
            several agents share, and whose host closes them.
        manner: How it grants what people ask for by right: to be told what is kept, to forget it.
        ends_on_farewell: Whether a goodbye ends a live conversation; else its host does.
        clock: Seconds, rising; timings are read from it.
    """

    def __init__(
        self,
        model: SpeechModel,
        memory: Memory,
        *,
        user: str,
        think: ThinkStyle = "tag",
        lang: LangChoice = "auto",
        speak: bool = True,
        voice: str | None = None,
        audio: AudioIO | None = None,
        vad: VAD | None = None,
        turn_end: TurnEnd | None = None,
        policy: TurnPolicy | None = None,
        greeting: str = "",
        plugins: Sequence[object] | Plugins = (),
        manner: Manner | None = None,
        ends_on_farewell: bool = True,
        clock: Callable[[], Seconds] = time.perf_counter,
    ) -> None:
        self._model = model
        self._memory = memory
        self._user = user
        self._think: ThinkStyle = think
        self._lang: LangChoice = lang
        self._speak = speak
        self._voice = voice
        self._clock = clock
        self._key = secrets.token_hex(16)  # of this agent's conversation, and of no person
        self._mind = Worker("echat-model")
        self._store = Worker("echat-memory")
        self._audio = audio
        self._vad = vad
        self._turn_end = turn_end
        self._policy = policy or TurnPolicy()
        self._greeting = greeting
        self._owns_plugins = not isinstance(plugins, Plugins)
        self._plugins = plugins if isinstance(plugins, Plugins) else Plugins.of(plugins)
        self._tools = ToolUse.of(self._plugins.tools, model)
        session = Session(self._key, user, model.name)
        self._relay = Relay(self._plugins, session, memory, self._store)
        self._manner = manner or Manner()
        self._ends_on_farewell = ends_on_farewell
        self._rights = Rights(
            memory, self._store, user, clock, self._manner, on_all=self._relay.erased
        )
        self._live: Live | None = None
        self._group = asyncio.TaskGroup()
        if audio is not None and vad is None:
            raise ConfigError("a live agent needs a VAD; got audio without one: open_vad()")

    async def __aenter__(self) -> Self:
        if self._audio is not None and self._vad is not None:
            await self._group.__aenter__()
            self._live = Live(
                self._model,
                self._memory,
                self._audio,
                vad=self._vad,
                turn_end=self._turn_end,
                policy=self._policy,
                user=self._user,
                key=self._key,
                think=self._think,
                lang=self._lang,
                voice=self._voice,
                store=self._store,
                tools=self._tools,
                plugins=self._plugins,
                manner=self._manner,
                ends_on_farewell=self._ends_on_farewell,
            )
            self._group.create_task(self._live.run(self._greeting), name="echat-live")
            await self._live.begun()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._live is not None:
                self._live.end()
                await self._group.__aexit__(None, None, None)
        finally:
            self._tools.close()
            if self._owns_plugins:
                await self._plugins.closed(_CLOSING / 2)
            is_kept, began = False, time.monotonic()
            try:
                await self._mind.closed(_CLOSING / 2)
                is_kept = await self._store.closed(_CLOSING - (time.monotonic() - began))
            finally:
                if not is_kept:
                    self._store.let_go()  # who was cancelled has not come to it
                    log.error("the memory does not come back; the last turn may not be kept")

    # --- live -------------------------------------------------------------------------------------

    def events(self) -> AsyncIterator[Event]:
        """What happens in the live conversation, until it has ended. For one reader.

        A reader that falls 1,000 events behind loses the oldest.
        """
        return self.conversation.events()

    @property
    def state(self) -> State:
        """What the live agent is doing."""
        return self.conversation.state

    def say(self, text: str, emotion: ReplyEmotion = ReplyEmotion.NEUTRAL) -> None:
        """Say something of the host's own; what is being said is cut off."""
        self.conversation.say(text, emotion)

    def tell(self, text: str, cues: Cues | None = None) -> None:
        """Take a typed turn into the live conversation, as if it had been spoken."""
        self.conversation.tell(text, cues)

    def interrupt(self) -> None:
        """Stop what is being said or thought, at once; what was heard of it is kept."""
        self.conversation.interrupt()

    def mute(self, is_muted: bool = True) -> None:
        """Stop listening, or listen again; a turn that was open is forgotten."""
        self.conversation.mute(is_muted)

    def end(self) -> None:
        """End the live conversation; `events` ends as well."""
        self.conversation.end()

    @property
    def conversation(self) -> Live:
        """The live conversation itself, for a host that decides itself what is answered when.

        Raises:
            ConfigError: there is none.
        """
        if self._live is None:
            raise ConfigError("this agent has no audio, or was not entered with `async with`")
        return self._live

    def offer(self, tools: Sequence[Tool]) -> None:
        """Use these tools from now on, beside those of plugins.

        Raises:
            ConfigError: two have one name, or the model cannot choose any.
            UnsupportedError: the model would choose wrongly.
        """
        self._tools.offer((*self._plugins.tools, *tools), self._model)

    @property
    def awaits_yes(self) -> bool:
        """Whether it asked if it shall forget everything, so that a yes now does it."""
        return self._rights.awaits_yes

    # --- one utterance at a time ------------------------------------------------------------------

    def close(self) -> None:
        """Finish what is being kept and end the agent's threads. Model and memory stay open.

        What hangs in one of them is left behind after a moment, so that this always ends.
        """
        self._tools.close()
        if self._owns_plugins:
            self._plugins.close()
        self._mind.close(within=_CLOSING)
        self._store.close(within=_CLOSING)

    async def answer(self, utterance: Waveform) -> Answer:
        """Answer one recorded utterance (int16 mono, 16 kHz) and remember the exchange."""
        return await _last(self.stream(utterance))

    async def answer_text(self, text: str, cues: Cues | None = None) -> Answer:
        """Answer typed words; `cues` stand in for the voice that was not heard."""
        return await _last(self.stream_text(text, cues))

    def stream(self, utterance: Waveform) -> AsyncGenerator[Delta | Answer]:
        """Answer one recorded utterance piece by piece; the last piece is the whole `Answer`.

        Closing the generator early is an interruption: the turn is kept with what was given out.
        """

        def hear() -> Hearing:
            hearing = self._model.listen(lang=self._lang)
            for frame in frames(utterance):
                hearing.push(frame)
            return hearing

        return self._exchange(hear, by_voice=True)

    def stream_text(self, text: str, cues: Cues | None = None) -> AsyncGenerator[Delta | Answer]:
        """As `stream`, for typed words."""
        return self._exchange(
            lambda: self._model.read(text, cues or Cues(), lang=self._lang), by_voice=False
        )

    async def _exchange(
        self, hear: Callable[[], Hearing], *, by_voice: bool
    ) -> AsyncGenerator[Delta | Answer]:
        self._relay.allowed = allowed = await self._store.call(allowed_of, self._memory, self._user)
        if by_voice:
            check_voice(allowed)
        hearing = await self._mind.call(hear)
        exchange = Exchange(self._model, self._clock)
        heard = await self._mind.call(heard_by, hearing, allowed)
        if (kept := without_refused(heard, allowed)) != heard:
            hearing, heard = await self._mind.call(read_again, self._model, kept), kept
        exchange.take(heard)
        if not heard.transcript:
            yield heard
            yield exchange.answer(TurnStatus.COMPLETE)
            return
        if (request := self._rights.asked(heard.transcript)) is not None:
            async with aclosing(self._grant(request, heard, allowed, exchange)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        self._rights.passed()
        recollection = await self._store.call(
            lambda: self._memory.recall(self._user, query=heard.transcript)
        )
        exchange.recollection = replace(recollection, key=self._key)
        # What the user said is durable before a word of the answer is given out.
        exchange.turn_id = await self._store.call(self._memory.remember, self._user, exchange.turn)
        status, call = TurnStatus.INTERRUPTED, None
        try:
            self._relay.take(heard)
            yield heard
            if (call := await self._tools.choose(heard, self._mind)) is not None:
                found = await self._tools.run(call, heard.lang)
                exchange.recollection = replace(exchange.recollection, finding=found)
            deltas = self._relay.answer(
                lambda: hearing,
                heard,
                exchange.recollection,
                model=self._model,
                mind=self._mind,
                think=self._think,
                speak=self._speak,
                voice=self._voice,
            )
            async with aclosing(deltas):
                async for delta in deltas:
                    if not isinstance(delta, Heard):
                        exchange.take(delta)
                        self._relay.take(delta)
                        yield delta
            self._relay.take(AnswerMade(exchange.turn, exchange.turn_id))
            status = TurnStatus.COMPLETE
        except Exception:
            status = TurnStatus.FAILED
            raise
        finally:
            answer = exchange.answer(status)
            self._tools.over(call if status is TurnStatus.COMPLETE else None)
            self._relay.take(TurnFinished(answer))
            if status is not TurnStatus.COMPLETE:
                self._store.submit(self._keep, answer)
        await self._store.call(self._keep, answer)
        yield answer

    async def _grant(
        self,
        request: Request,
        heard: Heard,
        allowed: frozenset[str] | None,
        exchange: Exchange,
    ) -> AsyncGenerator[Delta | Answer]:
        """Do what is asked for by right, and say so; nothing of it is kept."""
        yield heard
        lang = lang_of(heard.transcript)
        granted = await self._rights.grant(request, lang, allowed)
        if granted.is_forgotten:
            await self._mind.call(forget_conversation, self._model, self._key)
        deltas = self._mind.iterate(
            lambda: spoken(
                self._model,
                request,
                granted.sentences,
                lang,
                speak=self._speak,
                voice=self._voice,
            )
        )
        async with aclosing(deltas):
            async for delta in deltas:
                exchange.take(delta)
                yield delta
        self._rights.over(request, is_whole=True)
        yield exchange.answer(TurnStatus.COMPLETE)

    def _keep(self, answer: Answer) -> None:
        self._memory.remember(self._user, answer.turn, turn_id=answer.turn_id)


async def _last(pieces: AsyncGenerator[Delta | Answer]) -> Answer:
    async with aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, Answer):
                return piece
    raise AssertionError("an exchange ends with its answer")
