"""The live loop: listen, answer unheard, be heard, be interrupted, remember.

    listening ──▶ hearing ──SoftEnd──▶ (answer begins, unheard) ──Utterance──▶ thinking ──▶ speaking
        ▲            ▲                        │ SpeechResumed: dropped                          │
        │            └────────────────────────┴──────────── overlapped ◀── somebody speaks ─────┤
        └───────────────────────────────────────────────────────────────── said to its end ─────┘

The user's side is a `Listener`, the agent's a `Mouth`, and a `Watch` sees that neither sticks. What
happens here happens on the event loop and takes no time; what takes time is a task that can be
cancelled at any point. At most one answer is alive.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from echat_sdk.agent.consenting import check_voice, without_refused
from echat_sdk.agent.ear import Ear
from echat_sdk.agent.events import Event, Failed, Settled, State, StateChanged, Unanswered
from echat_sdk.agent.keeper import Keeper
from echat_sdk.agent.lines import is_farewell
from echat_sdk.agent.listener import Listener
from echat_sdk.agent.mouth import Mouth
from echat_sdk.agent.outbox import Outbox
from echat_sdk.agent.patience import Patience
from echat_sdk.agent.relay import Relay
from echat_sdk.agent.reminding import Reminding
from echat_sdk.agent.reply import Means, Reply, translated
from echat_sdk.agent.rights import Manner, Rights
from echat_sdk.agent.tool_use import ToolUse
from echat_sdk.agent.watch import Watch
from echat_sdk.audio import Seconds
from echat_sdk.bridge import Worker
from echat_sdk.cues import Cues, ReplyEmotion
from echat_sdk.errors import AudioDeviceError
from echat_sdk.hooks import Plugins, Session
from echat_sdk.playout import Player
from echat_sdk.protocols import VAD, AudioIO, Memory, SpeechModel, TurnEnd
from echat_sdk.turn import Heard, LangChoice, ThinkStyle, Turn
from echat_sdk.turn_detector import TurnDetector
from echat_sdk.turn_policy import TurnPolicy

T = TypeVar("T")

_CLOSING: Seconds = 2.2  # for a device
_MOST_SAID = 500  # characters of what a plugin says of its own accord
_LATE: Seconds = 0.7  # for words that were said and are not known yet


class Live:
    """One live conversation. `run` it in a task; the rest is called from the same event loop.

    Args:
        model: Hears, thinks and speaks.
        memory: Keeps.
        audio: Microphone and speaker.
        vad: Tells speech.
        turn_end: Tells whether a turn sounds complete; None waits by the clock alone.
        policy: How patient the agent is.
        user: Whose memory is used.
        key: Of this conversation; opaque.
        think: Form of the thought.
        lang: Language that is spoken, or `auto`.
        voice: In which answers are spoken; None for the model's own.
        store: The memory's thread.
        tools: What plugins offer; None for nothing.
        plugins: What extends it; None for nothing.
        manner: How rights are granted.
        ends_on_farewell: Whether a goodbye ends it; else its host does.
    """

    def __init__(
        self,
        model: SpeechModel,
        memory: Memory,
        audio: AudioIO,
        *,
        vad: VAD,
        turn_end: TurnEnd | None,
        policy: TurnPolicy,
        user: str,
        key: str,
        think: ThinkStyle,
        lang: LangChoice,
        voice: str | None = None,
        store: Worker,
        tools: ToolUse | None = None,
        plugins: Plugins | None = None,
        manner: Manner | None = None,
        ends_on_farewell: bool = True,
    ) -> None:
        self._ends_on_farewell = ends_on_farewell
        self._model = model
        self._memory = memory
        self._store = store
        self._user = user
        self._audio = audio
        self._lang: LangChoice = lang
        self._player = Player(audio)
        session = Session(key, user, model.name)
        self._relay = Relay(plugins or Plugins(), session, memory, store)
        self._outbox = Outbox(self._relay.take)
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_begun = asyncio.Event()
        self._ended = asyncio.Event()
        clock = asyncio.get_running_loop().time
        detector = TurnDetector(policy)
        self._patience = Patience(memory, store, user, detector, self._outbox.emit)
        manner = manner or Manner()
        self._keeper = Keeper(memory, store, user, manner.now)
        means = Means(
            model=model,
            memory=memory,
            player=self._player,
            user=user,
            key=key,
            think=think,
            speak=True,
            tools=tools or ToolUse(),
            keeper=self._keeper,
            rights=Rights(memory, store, user, clock, manner, self._keeper, on_all=self._forgotten),
            clock=clock,
            emit=self._emit,
            reminding=Reminding(
                manner, clock, lambda: self._mouth.allowed(), lambda text: self._mouth.remind(text)
            ),
            relay=self._relay,
        )
        self._mouth = Mouth(
            means,
            store,
            self._outbox,
            self._spawn,
            self._over,
            hangs_after=policy.hangs_after,
            lang="zh" if lang == "zh" else "en",
        )
        self._listener = Listener(
            lambda: model.listen(lang=self._lang),
            self._mouth,
            self._player,
            self._outbox,
            detector,
            self._patience,
            vad=vad,
            turn_end=turn_end,
            spawn=self._spawn,
            clock=clock,
            on_speech=self._user_begins,
        )
        self.speak_as(voice, lang)
        self._watch = Watch(
            self._mouth,
            self._outbox,
            policy,
            clock,
            is_free=lambda: self._listener.is_free,
            sound=lambda: self._listener.sound,
            on_given_up=self._listener.forget,
            look=self._listener.look,
        )

    @property
    def state(self) -> State:
        """What the agent is doing."""
        return self._outbox.state

    @property
    def said(self) -> str:
        """What was heard so far of what is being said, or was said last."""
        return self._player.heard

    def events(self) -> AsyncIterator[Event]:
        """What happens, until the conversation has ended. For one reader."""
        return self._outbox.events()

    async def begun(self) -> None:
        """Wait until something can be said."""
        await self._is_begun.wait()

    async def run(self, greeting: str = "") -> None:
        """Converse until `end`, a farewell, or the end of the sound."""
        try:
            self._relay.begin(partial(self._say_later, asyncio.get_running_loop()))
            async with self._group:
                self._spawn(self._hear(), "ears")
                self._spawn(self._speak(), "mouth")
                self._spawn(self._watch.run(), "watch")
                self._spawn(self._patience.load(), "patience")
                self._is_begun.set()
                self._outbox.emit(StateChanged(self.state))
                self._mouth.greet(greeting)
                await self._ended.wait()
                self._listener.close()  # who was speaking is kept as far as they were heard
                self.interrupt()
                if self._mouth.late:
                    await asyncio.wait(self._mouth.late, timeout=_LATE)
                for task in self._tasks:
                    task.cancel()
        finally:
            self._keeper.close()
            self._patience.close()
            self._outbox.end()
            self._relay.end()
            self._mouth.close()
            self._listener.stop()
            with contextlib.suppress(TimeoutError):  # a driver that hangs is left behind
                async with asyncio.timeout(_CLOSING):
                    await self._audio.close()

    def say(self, text: str, emotion: ReplyEmotion = ReplyEmotion.NEUTRAL) -> None:
        """Say something of the host's own; what is being said is cut off."""
        if not self._ended.is_set():
            self._mouth.say(text, emotion)

    def tell(self, text: str, cues: Cues | None = None) -> None:
        """Take a typed turn, as if it had been spoken."""
        self.answer(self.typed(text, cues))

    def typed(self, text: str, cues: Cues | None = None) -> Ear:
        """Words that can be answered as if they had been spoken."""
        ear = Ear(lambda: self._model.read(text, cues or Cues(), lang=self._lang), self._mouth.mind)
        ear.is_typed, ear.voice = True, self._listener.voice
        return ear

    def spoken(self, lang: LangChoice | None = None) -> Ear:
        """An utterance that its host hears out: it is pushed, and its end is told by `answer`.

        Args:
            lang: Language that is spoken; None as the conversation has it.
        """
        ear = Ear(lambda: self._model.listen(lang=lang or self._lang), self._mouth.mind)
        ear.voice = self._listener.voice
        return ear

    def answer(self, ear: Ear) -> None:
        """Answer an utterance now; what is being said is cut off."""
        if not self._ended.is_set():
            self.interrupt()
            self._listener.take(ear)

    async def heard(self, ear: Ear) -> Heard:
        """What is heard in an utterance so far, as far as its speaker agreed to that.

        Raises:
            ConsentError: they do not agree to be heard.
            EChatError: the model failed.
        """
        allowed = await self._mouth.allowed()
        if not ear.is_typed:
            check_voice(allowed)
        try:
            return without_refused(await ear.heard(allowed), allowed)
        except Exception as error:
            raise translated(error) from error

    def recount(self, turns: tuple[Turn, ...]) -> None:
        """These were said elsewhere, before: every answer knows them, and no memory keeps them."""
        self._keeper.told = turns

    async def kept(self, function: Callable[..., T], *args: Any) -> T:
        """Run something in the memory's thread, after all that is to be kept there."""
        return await self._store.keep(function, *args)

    def adapt(
        self,
        policy: TurnPolicy,
        turn_end: TurnEnd | None = None,
        *,
        answers: bool = True,
        speak: bool | None = None,
    ) -> None:
        """Be as patient as another policy from now on; nobody should be speaking.

        Args:
            policy: How patient.
            turn_end: Tells whether a turn sounds complete; None waits by the clock alone.
            answers: Whether turns are answered as they end; else each is given to the host, as
                `TurnHeardOut`.
            speak: Whether answers to these turns are spoken; None as the conversation has it.
        """
        self._listener.adapt(policy, turn_end)
        self._listener.answers, self._listener.speak = answers, speak
        self._mouth.adapt(policy)
        self._watch.adapt(policy)

    def speak_as(self, voice: str | None, lang: LangChoice) -> None:
        """From now on speak in another voice, and expect another language.

        Args:
            voice: Out of `Voiced.voices`; None for the model's own.
            lang: Language that is spoken, or `auto`.
        """
        self._lang = lang
        self._listener.voice = self._mouth.own.voice = voice
        if lang != "auto":
            self._mouth.lang = lang

    def interrupt(self) -> None:
        """Stop what is being said or thought, at once; what was heard of it is kept."""
        self._mouth.stop()
        self._listener.interrupted()

    async def settled(self) -> None:
        """Wait until nothing more comes of what was interrupted, if that does not hang; tell so."""
        if self._mouth.ending:
            await asyncio.wait(self._mouth.ending, timeout=_LATE)
        self._outbox.emit(Settled())

    def mute(self, is_muted: bool = True) -> None:
        """Stop listening, or listen again; a turn that was open is forgotten."""
        self._listener.mute(is_muted)

    def end(self) -> None:
        """End the conversation; what was heard is kept."""
        self._ended.set()

    # --- tasks ------------------------------------------------------------------------------------

    async def _hear(self) -> None:
        try:
            async for frame in self._audio.frames():
                self._listener.hear(frame)
        except AudioDeviceError as error:
            self._outbox.emit(Failed(error))
        self._listener.close()
        while busy := [t for t in (self._mouth.work, self._listener.judging) if t is not None]:
            await asyncio.wait(busy)
        self._ended.set()

    async def _speak(self) -> None:
        try:
            await self._player.run()
        except AudioDeviceError as error:
            self._outbox.emit(Failed(error))
            self._ended.set()

    def _user_begins(self) -> None:
        """Somebody begins to speak: what will be recalled is made ready meanwhile."""
        self._watch.user_spoke()
        self._store.submit(self._memory.prefetch, self._user)

    def _say_later(self, loop: asyncio.AbstractEventLoop, text: str) -> None:
        """Say a text of a plugin's, from its thread; after the end, nothing."""
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self.say, text[:_MOST_SAID])

    def _forgotten(self) -> None:
        """Everything that is known of the user was erased, as they asked."""
        self._patience.forget()
        self._relay.erased()

    def _emit(self, event: Event) -> None:
        """What happens to an answer changes what the agent does, whether frames come or not."""
        self._outbox.emit(event)
        self._listener.look()

    def _over(self, reply: Reply) -> None:
        """An answer has ended; a farewell ends the conversation with it."""
        heard = reply.heard
        if not reply.is_begun:
            self._outbox.emit(Unanswered(reply.error))
        self._listener.answered(reply, None if heard is None else heard.cues)
        self._listener.look()
        if self._ends_on_farewell and heard is not None and is_farewell(heard.transcript):
            self._ended.set()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self._group.create_task(work, name=f"echat-{name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
