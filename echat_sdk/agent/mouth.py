"""The agent's side of a live conversation: at most one answer, or one line of its own, is alive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from echat_sdk.agent.ear import Ear
from echat_sdk.agent.events import Failed
from echat_sdk.agent.lines import Line
from echat_sdk.agent.outbox import Outbox
from echat_sdk.agent.own_voice import OwnVoice
from echat_sdk.agent.reply import Means, Reply, allowed_now
from echat_sdk.audio import Seconds
from echat_sdk.bridge import Worker
from echat_sdk.cues import ReplyEmotion
from echat_sdk.errors import ConsentError
from echat_sdk.turn import Lang
from echat_sdk.turn_policy import TurnPolicy

Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


class Mouth:
    """Answers, and says what no turn asked for.

    Args:
        means: What answers are made with.
        store: The memory's thread.
        outbox: Takes events.
        spawn: Starts a task of this name in the conversation's group.
        on_over: Told of each answer that ended by itself, dropped ones left out.
        hangs_after: A wait for the model after which its thread is not waited for any more.
        lang: Of the agent's own lines, until somebody speaks.

    Attributes:
        mind: The model's thread; another one once it hung.
        reply: The answer that is alive, heard or not.
        own: Says the agent's own lines.
        lang: That was spoken last.
        quiet_since: When the agent last had something to say.
        late: Tasks that keep what was said in turns of which the answer was dropped.
        ending: Those, and tasks of what was dropped, as long as something may come of them.
    """

    def __init__(
        self,
        means: Means,
        store: Worker,
        outbox: Outbox,
        spawn: Spawn,
        on_over: Callable[[Reply], None],
        *,
        hangs_after: Seconds,
        lang: Lang,
    ) -> None:
        self._means = means
        self._store = store
        self._outbox = outbox
        self._spawn = spawn
        self._on_over = on_over
        self._hangs_after = hangs_after
        self._work: asyncio.Task[None] | None = None  # of the answer, or of a line
        self._knows_tools: set[Lang] = set()
        self.mind = Worker("echat-model")
        self.late: set[asyncio.Task[None]] = set()
        self.ending: set[asyncio.Task[None]] = set()
        self.reply: Reply | None = None
        self.own = OwnVoice(means.model, means.player, outbox.emit)
        self.lang: Lang = lang
        self.quiet_since: Seconds = means.clock()

    @property
    def work(self) -> asyncio.Task[None] | None:
        """The task of what is being thought or said; None while there is none."""
        return self._work

    @property
    def is_heard(self) -> bool:
        """Whether somebody could hear the agent now, a moment between two words counted."""
        is_given = self.reply is not None and self.reply.is_heard
        return self._means.player.is_speaking or is_given

    @property
    def is_dry(self) -> bool:
        """Whether all that was given to the speaker was said."""
        return self._means.player.is_dry

    async def allowed(self) -> frozenset[str] | None:
        """What the user may be used for now; None where the memory does not ask people."""
        return await allowed_now(self._means, self._store)

    def greet(self, greeting: str) -> None:
        """Say the first words, then make the lines that must not need a model later."""
        self._start(self._greet(greeting), "say")

    def say(self, text: str, emotion: ReplyEmotion) -> None:
        """Say a text of the host's, in the place of what is being said."""
        self._means.rights.other()
        self.stop()
        self._start(self.own.say(text, emotion, self.mind), "say")

    def say_line(self, line: Line) -> None:
        """Say a line of the agent's own."""
        self._means.rights.other()  # a yes to "Are you still there?" is a yes to that
        self._start(self.own.say_line(line, self.lang), "say")

    async def remind(self, text: str) -> None:
        """Say before an answer what has to be said, as a part of it."""
        await self.own.say(text, ReplyEmotion.NEUTRAL, self.mind)

    def begin(self, ear: Ear) -> Reply:
        """Begin an answer, unheard until it is released."""
        self.reply = Reply(self._means, ear, self.mind, self._store, self.late)
        self._start(self._reply_to_the_end(self.reply), "reply")
        return self.reply

    def answer(self, ear: Ear, ended_at: Seconds) -> None:
        """The turn has ended: let its answer be heard, and begin it if it was not."""
        reply = self.reply
        if reply is None or reply.ear is not ear:
            self.drop()
            reply = self.begin(ear)
        reply.release(ended_at)

    def drop_unheard(self) -> None:
        """The turn goes on: an answer that nobody heard is dropped, its turn kept open."""
        if self.reply is not None and not self.reply.is_heard:
            self.reply.goes_on = True
            self.drop()

    def stop(self) -> None:
        """Fall silent; what was heard is kept."""
        self._means.player.stop()
        self.drop()

    def drop(self) -> None:
        """Drop what is being thought or said."""
        reply = self.reply
        if reply is not None:
            reply.cut()
        if self._work is not None:
            self._work.cancel()
            self.own.unsay()
            self.ending.add(self._work)
            self._work.add_done_callback(self.ending.discard)
            if reply is not None and reply.waits_for_model > self._hangs_after:
                self.mind.abandon()  # it hangs; the next turn has another thread
                self.mind = Worker("echat-model")
            elif reply is not None and reply.is_unkept:
                late = self._spawn(_keep_late(reply, self._work), "late")
                for tasks in (self.late, self.ending):
                    tasks.add(late)
                    late.add_done_callback(tasks.discard)
        self._work = self.reply = None
        self.quiet_since = self._means.clock()

    def adapt(self, policy: TurnPolicy) -> None:
        """Wait for the model as long as another policy has it."""
        self._hangs_after = policy.hangs_after

    def close(self) -> None:
        """Leave the model's thread to end by itself."""
        self.mind.abandon()

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._work = self._spawn(work, name)
        self._work.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        if self._work is task:
            self._work = None
            self.quiet_since = self._means.clock()

    async def _greet(self, greeting: str) -> None:
        if greeting:
            await self.own.say(greeting, ReplyEmotion.HAPPY, self.mind)
        await self._prepare()

    async def _reply_to_the_end(self, reply: Reply) -> None:
        await reply.run()
        if self.reply is reply:
            self.reply = None
        self.quiet_since = self._means.clock()
        if reply.error is not None and not reply.is_released:
            return  # nobody waited for it: it is tried again at the end of the turn
        self._on_over(reply)
        if reply.error is not None:
            self._outbox.emit(Failed(reply.error))
            if isinstance(reply.error, ConsentError):  # nothing was lost: nobody listened
                return
            await self.own.say_line("sorry", self.lang)
        if reply.heard is not None:
            self.lang = reply.heard.lang
            await self._prepare()

    async def _prepare(self) -> None:
        """Make what will be needed in this language, once; nobody waits for it later."""
        await self.own.prepare(self.mind, self.lang)
        if self.lang not in self._knows_tools:
            self._knows_tools.add(self.lang)
            await self._means.tools.warm_up(self.mind, self.lang)


async def _keep_late(reply: Reply, work: asyncio.Task[None]) -> None:
    await asyncio.wait([work])  # cancelled, it says what it has to say first
    await reply.keep_late()
