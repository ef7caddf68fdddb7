"""The user's side of a live conversation: what is heard becomes turns, and overlaps are judged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from echat_sdk.agent.consenting import without_refused
from echat_sdk.agent.ear import Ear
from echat_sdk.agent.events import Dismissed, Failed, State, TurnHeardOut, UserStarted, UserStopped
from echat_sdk.agent.mouth import Mouth, Spawn
from echat_sdk.agent.outbox import Outbox
from echat_sdk.agent.patience import Patience
from echat_sdk.agent.reply import Reply
from echat_sdk.audio import FRAME_SECONDS, AudioFrame, Seconds
from echat_sdk.bridge import Worker
from echat_sdk.consent import Purpose
from echat_sdk.cues import Cues
from echat_sdk.errors import EChatError
from echat_sdk.hesitation import ends_sentences, hangs
from echat_sdk.overlap import Act, Kind, OverlapJudge, kind_of
from echat_sdk.playout import Player
from echat_sdk.protocols import VAD, Hearing, TurnEnd
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


class Listener:
    """Hears the user out, and decides what speech over the agent's is.

    A turn that has not been answered aloud is open for more: who goes on speaking before a word was
    heard is heard out.

    Args:
        listen: Opens an utterance; called in the model's thread.
        mouth: The agent's side.
        player: Says aloud.
        outbox: Takes events.
        detector: Tells who has the floor.
        patience: How long is waited for this speaker.
        vad: Tells speech.
        turn_end: Tells whether a turn sounds complete; None waits by the clock alone.
        spawn: Starts a task of this name in the conversation's group.
        clock: Seconds, rising.
        on_speech: Told when somebody begins to speak.

    Attributes:
        answers: Whether turns are answered as they end; else the host says which and when.
        speak: Whether the answers are spoken; None as the conversation has it.
        voice: In which voice; None for the model's own.
    """

    def __init__(
        self,
        listen: Callable[[], Hearing],
        mouth: Mouth,
        player: Player,
        outbox: Outbox,
        detector: TurnDetector,
        patience: Patience,
        *,
        vad: VAD,
        turn_end: TurnEnd | None,
        spawn: Spawn,
        clock: Callable[[], Seconds],
        on_speech: Callable[[], None],
    ) -> None:
        self._listen = listen
        self._mouth = mouth
        self._player = player
        self._outbox = outbox
        self._vad = vad
        self._turn_end = turn_end
        self._policy = detector.policy
        self._spawn = spawn
        self._clock = clock
        self._on_speech = on_speech
        self._detector = detector
        self._patience = patience
        self._overlap = OverlapJudge(detector.policy)
        self._judge = Worker("echat-turn-end")
        self._judging: asyncio.Task[None] | None = None
        self._begun = 0  # answers begun unheard in this turn
        self._is_marked = False  # whether the model was seen to end sentences
        self._is_muted = False
        self._ear: Ear | None = None
        self._frames = 0  # that came, heard or not
        self.answers = True
        self.speak: bool | None = None
        self.voice: str | None = None

    @property
    def is_free(self) -> bool:
        """Whether nobody speaks, and the agent may ask why."""
        return self._ear is None and not self._is_muted

    @property
    def sound(self) -> Seconds:
        """How much came, heard or not."""
        return self._frames * FRAME_SECONDS

    @property
    def judging(self) -> asyncio.Task[None] | None:
        """The task of a judgement that is on its way."""
        return self._judging

    def hear(self, frame: AudioFrame) -> None:
        """Take the next 20 ms."""
        self._frames += 1
        if self._is_muted:
            return
        is_speech = self._vad.is_speech(frame)
        if self._player.is_speaking:
            self._act(self._overlap.push(is_speech))
        else:
            self._overlap.begin()
        for event in self._detector.push(frame, is_speech):
            self._on(event)
        self.look()

    def look(self) -> None:
        """Tell what the agent does now, if that has changed."""
        is_open = self._ear is not None and self._detector.floor is not Floor.QUIET
        if self._mouth.is_heard:
            self._outbox.go(State.OVERLAPPED if is_open else State.SPEAKING)
        elif is_open:
            self._outbox.go(State.HEARING)
        elif self._mouth.reply is not None:
            self._outbox.go(State.THINKING)
        else:
            self._outbox.go(State.LISTENING)

    def close(self) -> None:
        """No more will be heard; a turn that was open ends."""
        for event in self._detector.close():
            self._on(event)

    def take(self, ear: Ear) -> None:
        """Take a turn whose end was told, as if it had been spoken now."""
        self._detector.reset()
        self._patience.begin(None)
        self._ear = ear
        self._mouth.answer(ear, self._clock())

    def adapt(self, policy: TurnPolicy, turn_end: TurnEnd | None) -> None:
        """Be as patient as another policy from now on."""
        self._policy = self._detector.policy = policy
        self._turn_end = turn_end
        self._overlap = OverlapJudge(policy)

    def interrupted(self) -> None:
        """What was being answered is not answered any more; who speaks now begins a new turn."""
        if self._detector.floor is Floor.QUIET:
            self._ear = None

    def mute(self, is_muted: bool) -> None:
        """Stop listening, or listen again; a turn that was open is forgotten."""
        self._is_muted = is_muted
        self._detector.reset()
        self._patience.begin(None)
        self._vad.reset()
        reply = self._mouth.reply
        if reply is None or not reply.is_released:
            self._mouth.drop()
            self._ear = None

    def answered(self, reply: Reply, cues: Cues | None) -> None:
        """An answer has ended; how its turn sounded is learnt from."""
        self.forget(reply)
        if cues is not None:
            self._patience.over(cues)

    def forget(self, reply: Reply) -> None:
        """The turn of an answer is over."""
        if self._ear is reply.ear and reply.is_released:
            self._ear = None

    def stop(self) -> None:
        """Judge nothing more."""
        if self._judging is not None:
            self._judging.cancel()
        self._judge.abandon()

    # --- turns ------------------------------------------------------------------------------------

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
            case Utterance(_, pause, _) if self._ear is not None and not self.answers:
                self._outbox.emit(UserStopped(pause, at=self.sound - pause, ear=self._ear))
                self._outbox.emit(TurnHeardOut(self._ear))
                self._ear = None
            case Utterance(_, pause, _) if self._ear is not None:
                reply = self._mouth.reply
                is_alive = reply is not None and reply.ear is self._ear
                dropped = self._begun - is_alive
                self._outbox.emit(UserStopped(pause, dropped, self.sound - pause, self._ear))
                self._patience.ended(self._clock() - pause)
                if self._ear.is_over_agent:
                    self._judge_later(self._at_overlap_end, self._ear, self._clock() - pause)
                else:
                    self._mouth.answer(self._ear, self._clock() - pause)

    def _turn_begins(self, frames: Sequence[AudioFrame]) -> None:
        self._on_speech()
        ear, reply = self._ear, self._mouth.reply
        if ear is not None and ear.is_typed and not self._mouth.is_heard:
            self._mouth.drop()  # what was typed is kept; it has no sound to go on with
            ear = None
        is_new = ear is None or (reply is not None and reply.ear is ear and reply.is_heard)
        is_over_agent = self._player.is_speaking
        at = self.sound - len(frames) * FRAME_SECONDS
        self._outbox.emit(UserStarted(not is_new, is_over_agent, at))
        if ear is None or is_new:
            ear = Ear(self._listen, self._mouth.mind)
            ear.speak, ear.voice = self.speak, self.voice
            ear.is_over_agent = is_over_agent and self.answers
            self._ear, self._begun = ear, 0
            self._patience.begin(ear)
        else:
            self._drop_unheard()  # not answered yet: the turn goes on
            if not self._player.is_speaking:
                self._patience.went_on(self._clock() - self._policy.start)
        ear.push(frames)

    async def _at_pause(self, ear: Ear, revision: int) -> None:
        """Judge how complete the turn sounds, and begin an answer unheard."""
        if not self.answers:
            await self._judge_end(ear, revision)
            return
        if ear.is_over_agent and self._player.is_speaking:
            kind = await self._kind(ear)
            if kind is Kind.STOP:
                self._take_floor(ear, keeps_quiet=True)
            else:
                self._act(self._overlap.judge(kind))
            return
        if self._begun < self._policy.speculations and self._mouth.reply is None:
            self._begun += 1
            reply = self._mouth.begin(ear)
            self._detector.expect(revision)
            self._spawn(self._read(reply, revision), "read")
        await self._judge_end(ear, revision)

    async def _judge_end(self, ear: Ear, revision: int) -> None:
        """Tell the detector how complete the turn sounds."""
        if self._turn_end is not None:
            self._detector.judge(revision, await self._judge.call(self._turn_end.chance, ear.tail))

    async def _read(self, reply: Reply, revision: int) -> None:
        """Tell the detector whether the words so far hang in the air."""
        heard = await reply.words()
        if heard is None or not heard.transcript:
            self._detector.read(revision, None)
            return
        # A model that writes no full stops tells by its words who hangs, and not who has finished.
        self._is_marked = self._is_marked or ends_sentences(heard.transcript)
        does = hangs(heard.transcript, heard.lang, is_marked=self._is_marked)
        self._detector.read(revision, does if does or self._is_marked else None)

    # --- over the agent ---------------------------------------------------------------------------

    async def _at_overlap_end(self, ear: Ear, ended_at: Seconds) -> None:
        """What was said over the agent has ended: an answer to it, or none needed."""
        kind = await self._kind(ear)
        if kind is Kind.STOP:
            self._take_floor(ear, keeps_quiet=True)
        elif kind is Kind.DISTRESS and not (await ear.heard()).transcript:
            self._take_floor(ear, keeps_quiet=True)
            self._mouth.say_line("hurt")
        elif kind in (Kind.WORDS, Kind.DISTRESS):
            self._take_floor(ear)
            self._mouth.answer(ear, ended_at)
        else:
            if self._mouth.reply is not None and self._mouth.reply.ear is ear:
                self._mouth.drop()
            self._ear = None
            self._player.resume()
            self._outbox.emit(Dismissed())

    async def _kind(self, ear: Ear) -> Kind:
        allowed = await self._mouth.allowed()
        if allowed is not None and Purpose.PROCESS_VOICE not in allowed:
            return Kind.NOISE  # nobody is listened to without consent
        heard = without_refused(await ear.heard(allowed), allowed)
        spoken = ear.frames * FRAME_SECONDS - self._policy.pre_roll
        return kind_of(
            heard.transcript, spoken, own=self._player.words, event=heard.cues.events.label
        )

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
        self._mouth.stop()
        if ear is not None:
            ear.is_over_agent = False
        if keeps_quiet:
            self._ear = None
            self._detector.reset()

    # --- plumbing ---------------------------------------------------------------------------------

    def _drop_unheard(self) -> None:
        self._mouth.drop_unheard()
        if self._judging is not None:
            self._judging.cancel()

    def _judge_later(self, judge: Callable[..., Awaitable[None]], *args: Any) -> None:
        if self._judging is not None:
            self._judging.cancel()
        self._judging = self._spawn(self._judged(judge, *args), "judge")
        self._judging.add_done_callback(self._forget_judging)

    async def _judged(self, judge: Callable[..., Awaitable[None]], *args: Any) -> None:
        try:
            await judge(*args)
        except EChatError as error:
            self._outbox.emit(Failed(error))

    def _forget_judging(self, task: asyncio.Task[None]) -> None:
        if self._judging is task:
            self._judging = None
