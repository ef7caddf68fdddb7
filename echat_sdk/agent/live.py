"""The live loop: listen, answer unheard, be heard, be interrupted, remember.

    listening ──▶ hearing ──SoftEnd──▶ (answer begins, unheard) ──Utterance──▶ thinking ──▶ speaking
        ▲            ▲                        │ SpeechResumed: dropped                          │
        │            └────────────────────────┴──────────── overlapped ◀── somebody speaks ─────┤
        └───────────────────────────────────────────────────────────────── said to its end ─────┘

What happens here happens on the event loop and takes no time; what takes time is a task that can be
cancelled at any point. At most one answer is alive. A turn that has not been answered aloud is open
for more: who goes on speaking before a word was heard is heard out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any

from echat_sdk.agent.ear import Ear
from echat_sdk.agent.events import (
    Event,
    Failed,
    State,
    StateChanged,
    UserStarted,
    UserStopped,
)
from echat_sdk.agent.lines import is_farewell
from echat_sdk.agent.mouth import Mouth
from echat_sdk.agent.outbox import Outbox
from echat_sdk.agent.patience import Patience
from echat_sdk.agent.reply import Means, Reply
from echat_sdk.agent.watch import Watch
from echat_sdk.audio import FRAME_SECONDS, AudioFrame, Seconds
from echat_sdk.bridge import Worker
from echat_sdk.cues import Cues, ReplyEmotion
from echat_sdk.errors import AudioDeviceError, EChatError
from echat_sdk.overlap import Act, Kind, OverlapJudge, kind_of
from echat_sdk.playout import Player
from echat_sdk.protocols import VAD, AudioIO, Memory, SpeechModel, TurnEnd
from echat_sdk.turn import LangChoice, ThinkStyle
from echat_sdk.turn_detector import (
    Floor,
    SoftEnd,
    SpeechGoesOn,
    SpeechResumed,
    SpeechStarted,
    TurnDetector,
    TurnEvent,
    Utterance,
)
from echat_sdk.turn_policy import TurnPolicy


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
        store: The memory's thread.
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
        store: Worker,
    ) -> None:
        self._model = model
        self._audio = audio
        self._vad = vad
        self._turn_end = turn_end
        self._policy = policy
        self._lang: LangChoice = lang
        self._judge = Worker("echat-turn-end")
        self._player = Player(audio)
        self._detector = TurnDetector(policy)
        self._overlap = OverlapJudge(policy)
        self._clock = asyncio.get_running_loop().time
        self._outbox = Outbox()
        self._group = asyncio.TaskGroup()
        self._mouth = Mouth(
            Means(
                model, memory, self._player, user, key, think, True, self._clock, self._outbox.emit
            ),
            store,
            self._outbox,
            self._spawn,
            self._over,
            hangs_after=policy.hangs_after,
            lang="zh" if lang == "zh" else "en",
        )
        self._is_muted = False
        self._watch = Watch(
            self._mouth,
            self._outbox,
            policy,
            self._clock,
            is_free=lambda: self._ear is None and not self._is_muted,
            on_given_up=self._forget_ear,
        )
        self._ear: Ear | None = None
        self._judging: asyncio.Task[None] | None = None
        self._patience = Patience(memory, store, user, self._detector, self._outbox.emit)
        self._begun = 0  # answers begun unheard in this turn
        self._ended = asyncio.Event()

    # --- for the host -----------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """What the agent is doing."""
        return self._outbox.state

    def events(self) -> AsyncIterator[Event]:
        """What happens, until the conversation has ended. For one reader."""
        return self._outbox.events()

    async def run(self, greeting: str = "") -> None:
        """Converse until `end`, a farewell, or the end of the sound."""
        try:
            async with self._group:
                tasks = [
                    self._spawn(self._listen(), "ears"),
                    self._spawn(self._speak(), "mouth"),
                    self._spawn(self._watch.run(), "watch"),
                    self._spawn(self._patience.load(), "patience"),
                ]
                self._outbox.emit(StateChanged(self.state))
                self._mouth.greet(greeting)
                await self._ended.wait()
                self.interrupt()
                for task in tasks:
                    task.cancel()
                if self._judging is not None:
                    self._judging.cancel()
        finally:
            self._patience.close()
            self._outbox.end()
            self._mouth.close()
            self._judge.abandon()
            await self._audio.close()

    def say(self, text: str, emotion: ReplyEmotion = ReplyEmotion.NEUTRAL) -> None:
        """Say something of the host's own; what is being said is cut off."""
        self._mouth.say(text, emotion)

    def tell(self, text: str, cues: Cues | None = None) -> None:
        """Take a typed turn, as if it had been spoken."""
        self.interrupt()
        self._detector.reset()
        self._patience.begin(None)
        read, lang = self._model.read, self._lang
        self._ear = Ear(lambda: read(text, cues or Cues(), lang=lang), self._mouth.mind)
        self._mouth.answer(self._ear, self._clock())

    def interrupt(self) -> None:
        """Stop what is being said or thought, at once; what was heard of it is kept."""
        self._mouth.stop()

    def mute(self, is_muted: bool = True) -> None:
        """Stop listening, or listen again; a turn that was open is forgotten."""
        self._is_muted = is_muted
        self._detector.reset()
        self._patience.begin(None)
        self._vad.reset()
        reply = self._mouth.reply
        if reply is None or not reply.is_released:
            self._mouth.drop()
            self._ear = None

    def end(self) -> None:
        """End the conversation; what was heard is kept."""
        self._ended.set()

    # --- the user's side --------------------------------------------------------------------------

    async def _listen(self) -> None:
        try:
            async for frame in self._audio.frames():
                if not self._is_muted:
                    self._hear(frame)
        except AudioDeviceError as error:
            self._outbox.emit(Failed(error))
        for event in self._detector.close():
            self._on(event)
        while busy := [task for task in (self._mouth.work, self._judging) if task is not None]:
            await asyncio.wait(busy)
        self._ended.set()

    def _hear(self, frame: AudioFrame) -> None:
        is_speech = self._vad.is_speech(frame)
        if self._player.is_speaking:
            self._act(self._overlap.push(is_speech))
        else:
            self._overlap.begin()
        for event in self._detector.push(frame, is_speech):
            self._on(event)
        self._look()

    def _on(self, event: TurnEvent) -> None:
        match event:
            case SpeechStarted(frames):
                self._turn_begins(frames)
            case SpeechGoesOn(frame) if self._ear is not None:
                self._ear.push((frame,))
            case SoftEnd(revision) if self._ear is not None:
                self._judge_later(self._at_pause, self._ear, revision)
            case SpeechResumed(frames, pause) if self._ear is not None:
                self._drop_unheard()
                self._ear.push(frames)
                if not self._player.is_speaking:
                    self._patience.paused(pause)
            case Utterance(_, pause, _) if self._ear is not None:
                self._outbox.emit(UserStopped(pause))
                self._patience.ended(self._clock() - pause)
                if self._ear.is_over_agent:
                    self._judge_later(self._at_overlap_end, self._ear, self._clock() - pause)
                else:
                    self._mouth.answer(self._ear, self._clock() - pause)

    def _turn_begins(self, frames: Iterable[AudioFrame]) -> None:
        self._begun = 0
        self._watch.user_spoke()
        self._outbox.emit(UserStarted())
        ear, reply = self._ear, self._mouth.reply
        if ear is None or (reply is not None and reply.ear is ear and reply.is_heard):
            ear = Ear(lambda: self._model.listen(lang=self._lang), self._mouth.mind)
            ear.is_over_agent = self._player.is_speaking
            self._ear = ear
            self._patience.begin(ear)
        else:
            self._drop_unheard()  # not answered yet: the turn goes on
            if not self._player.is_speaking:
                self._patience.went_on(self._clock() - self._policy.start)
        ear.push(frames)

    async def _at_pause(self, ear: Ear, revision: int) -> None:
        """Judge how complete the turn sounds, and begin an answer unheard."""
        if ear.is_over_agent and self._player.is_speaking:
            kind = await self._kind(ear)
            if kind is Kind.STOP:
                self._take_floor(ear, keeps_quiet=True)
            else:
                self._act(self._overlap.judge(kind))
            return
        if self._begun < self._policy.speculations and self._mouth.reply is None:
            self._begun += 1
            self._mouth.begin(ear)
        if self._turn_end is not None:
            self._detector.judge(revision, await self._judge.call(self._turn_end.chance, ear.tail))

    async def _at_overlap_end(self, ear: Ear, ended_at: Seconds) -> None:
        """What was said over the agent has ended: an answer to it, or none needed."""
        kind = await self._kind(ear)
        if kind is Kind.STOP:
            self._take_floor(ear, keeps_quiet=True)
        elif kind is Kind.WORDS:
            self._take_floor(ear)
            self._mouth.answer(ear, ended_at)
        else:
            if self._mouth.reply is not None and self._mouth.reply.ear is ear:
                self._mouth.drop()
            self._ear = None
            self._player.resume()

    async def _kind(self, ear: Ear) -> Kind:
        heard = await ear.heard()
        spoken = ear.frames * FRAME_SECONDS - self._policy.pre_roll
        return kind_of(heard.transcript, spoken, own=self._player.words)

    def _act(self, acts: Iterable[Act]) -> None:
        for act in acts:
            match act:
                case Act.DUCK:
                    self._player.duck(self._policy.duck_decibels)
                case Act.PAUSE:
                    self._player.pause()
                    if self._ear is not None and self._judging is None:
                        self._judge_later(self._at_pause, self._ear, 0)
                case Act.RESUME:
                    self._player.resume()
                case Act.INTERRUPT:
                    self._take_floor(self._ear)

    def _take_floor(self, ear: Ear | None, *, keeps_quiet: bool = False) -> None:
        """The agent stops for whoever spoke over it."""
        self.interrupt()
        if ear is not None:
            ear.is_over_agent = False
        if keeps_quiet:
            self._ear = None
            self._detector.reset()

    # --- the agent's side -------------------------------------------------------------------------

    def _over(self, reply: Reply) -> None:
        """An answer has ended; what it was to is learnt from."""
        self._forget_ear(reply)
        heard = reply.heard
        if heard is not None:
            self._patience.over(heard.cues)
            if is_farewell(heard.transcript):
                self._ended.set()

    def _forget_ear(self, reply: Reply) -> None:
        if self._ear is reply.ear and reply.is_released:
            self._ear = None

    async def _speak(self) -> None:
        try:
            await self._player.run()
        except AudioDeviceError as error:
            self._outbox.emit(Failed(error))
            self._ended.set()

    def _drop_unheard(self) -> None:
        self._mouth.drop_unheard()
        if self._judging is not None:
            self._judging.cancel()

    # --- plumbing ---------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self._group.create_task(work, name=f"echat-{name}")
        task.add_done_callback(self._forget)
        return task

    def _judge_later(self, judge: Callable[..., Awaitable[None]], *args: Any) -> None:
        if self._judging is not None:
            self._judging.cancel()
        self._judging = self._spawn(self._judged(judge, *args), "judge")

    async def _judged(self, judge: Callable[..., Awaitable[None]], *args: Any) -> None:
        try:
            await judge(*args)
        except EChatError as error:
            self._outbox.emit(Failed(error))

    def _forget(self, task: asyncio.Task[None]) -> None:
        if self._judging is task:
            self._judging = None

    def _look(self) -> None:
        is_open = self._ear is not None and self._detector.floor is not Floor.QUIET
        if self._mouth.is_heard:
            self._outbox.go(State.OVERLAPPED if is_open else State.SPEAKING)
        elif is_open:
            self._outbox.go(State.HEARING)
        elif self._mouth.reply is not None:
            self._outbox.go(State.THINKING)
        else:
            self._outbox.go(State.LISTENING)
