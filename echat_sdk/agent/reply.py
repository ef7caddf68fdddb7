"""One answer on its way: begun unheard, then released or dropped; heard, or cut short.

Two tasks: one makes the answer as fast as the model can, one gives it out once the turn has ended.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace

from echat_sdk.agent.consenting import check_voice, read_again, without_refused
from echat_sdk.agent.ear import Ear
from echat_sdk.agent.events import (
    AnswerMade,
    Event,
    Failed,
    HeardLate,
    ToolCalled,
    ToolReturned,
    TurnFinished,
)
from echat_sdk.agent.exchange import Exchange
from echat_sdk.agent.keeper import Keeper
from echat_sdk.agent.relay import Relay
from echat_sdk.agent.reminding import Reminding
from echat_sdk.agent.requests import AT_ONCE, Request, lang_of
from echat_sdk.agent.rights import Granted, Rights, failed, forget_conversation, spoken
from echat_sdk.agent.tool_use import ToolUse
from echat_sdk.audio import Seconds
from echat_sdk.bridge import Worker
from echat_sdk.consent import Purpose
from echat_sdk.errors import EChatError, GenerationError, StoreError
from echat_sdk.playout import Player
from echat_sdk.protocols import Memory, SpeechModel
from echat_sdk.tools import ToolCall, needs_yes
from echat_sdk.turn import Delta, Heard, Lang, Recollection, SpeechDelta, ThinkStyle, TurnStatus

log = logging.getLogger(__name__)

_HELD = 64
"""Deltas that are made ahead of being given out; then the model waits."""


_Piece = Delta | ToolCalled | ToolReturned


@dataclass(frozen=True, slots=True)
class Means:
    """What every answer of a conversation is made with.

    Attributes:
        model: Thinks and speaks.
        memory: Keeps.
        player: Says aloud.
        user: Whose memory is used.
        key: Of this conversation; opaque.
        think: Form of the thought.
        speak: Whether answers are spoken.
        tools: What plugins offer.
        keeper: Completes turns in the memory.
        rights: Grants what people ask for by right.
        clock: Seconds, rising.
        emit: Takes events.
        reminding: Tells a long conversation again what it is.
        relay: Asks plugins about an answer.
    """

    model: SpeechModel
    memory: Memory
    player: Player
    user: str
    key: str
    think: ThinkStyle
    speak: bool
    tools: ToolUse
    keeper: Keeper
    rights: Rights
    clock: Callable[[], Seconds]
    emit: Callable[[Event], None]
    reminding: Reminding
    relay: Relay


class Reply:
    """One answer.

    Args:
        means: What it is made with.
        ear: What is answered.
        mind: The model's thread.
        store: The memory's thread.
        late: Tasks that still keep what was said before.

    Attributes:
        heard: What was heard, once that is known.
        error: Why it failed.
        is_heard: Whether any of it, or of what is said before it, was given to the speaker.
        goes_on: Set before a cancel: the turn is not over after all, and is kept with the next.
    """

    def __init__(
        self,
        means: Means,
        ear: Ear,
        mind: Worker,
        store: Worker,
        late: Collection[asyncio.Task[None]] = (),
    ) -> None:
        self._means = means
        self._speak = means.speak if ear.speak is None else ear.speak
        self.ear = ear
        self._mind = mind
        self._store = store
        self._late = late
        self._released = asyncio.Event()
        self._exchange = Exchange(means.model, means.clock)
        self._exchange.turn_id = ear.turn_id
        self._pieces: asyncio.Queue[tuple[_Piece, Seconds] | None] = asyncio.Queue(_HELD)
        self._waits_since: Seconds | None = None  # of the model, of the store, of a tool
        self._keeps_since: Seconds | None = None
        self._uses_since: Seconds | None = None
        self._is_begun = False  # whether there are words to keep
        self._request: Request | None = None  # what is asked for by right; such a turn is not kept
        self._is_granted = False  # whether that is being done
        self._is_aloud = False  # whether any of the answer was given to the speaker
        self._told = asyncio.Event()  # what was heard is known, or never will be
        self._call: ToolCall | None = None  # that was chosen
        self._said: str | None = None  # the words that were heard of it, once it was cut
        self.heard: Heard | None = None
        self.error: EChatError | None = None
        self.is_heard = False
        self.goes_on = False

    @property
    def is_released(self) -> bool:
        """Whether the turn has ended, so that the answer may be heard."""
        return self._released.is_set()

    @property
    def is_begun(self) -> bool:
        """Whether there were words that it answers, and its host was told so."""
        return self._is_begun

    @property
    def waits_for_model(self) -> Seconds:
        """For how long the model has been asked for something that has not come."""
        return self._since(self._waits_since)

    @property
    def waits(self) -> Seconds:
        """For how long the model, the store or a tool has been waited for."""
        return max(map(self._since, (self._waits_since, self._keeps_since, self._uses_since)))

    def _since(self, at: Seconds | None) -> Seconds:
        return 0.0 if at is None else self._means.clock() - at

    def release(self, ended_at: Seconds) -> None:
        """Let it be heard: the turn has ended.

        Args:
            ended_at: When the user fell silent; timings count from it.
        """
        self._exchange.ended(ended_at)
        self._released.set()

    async def words(self) -> Heard | None:
        """What was heard, once that is known; None where the answer ended before."""
        await self._told.wait()
        return self.heard

    def cut(self) -> None:
        """It will be cancelled: what was heard of it is known now, and not once another speaks."""
        if self._said is None and self.is_released:
            self._said = self._means.player.heard if self._is_aloud else ""

    async def run(self) -> None:
        """Make the answer and give it out; to drop or interrupt it is to cancel this.

        What goes wrong is left in `error`: it ends this answer and nothing else.
        """
        status = TurnStatus.INTERRUPTED
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._make(), name="echat-make")
                group.create_task(self._give(), name="echat-give")
            status = TurnStatus.COMPLETE
        except* Exception as errors:  # noqa: BLE001 - a model's code is a stranger's; edge of the loop
            status, self.error = TurnStatus.FAILED, translated(errors)
        finally:
            self._told.set()
            self._keep(status)

    @property
    def is_unkept(self) -> bool:
        """Whether its turn has ended, and nothing of what was said in it is kept, or done, yet."""
        is_done = self._is_begun if self._request is None else self._is_granted
        return self.is_released and not is_done and not self.goes_on

    async def keep_late(self) -> None:
        """Keep what was said in a turn whose answer was dropped before the words were known.

        What it asks to forget is forgotten, unless that has to be asked back.
        """
        try:
            allowed = await allowed_now(self._means, self._store)
            if not self.ear.is_typed:
                check_voice(allowed)
            heard = without_refused(await self.ear.heard(allowed), allowed)
        except Exception as error:  # noqa: BLE001 - a model's code is a stranger's; edge of the loop
            self._means.emit(Failed(translated(error)))
            return
        if not heard.transcript:
            return
        request = self._means.rights.asked(heard.transcript)
        if request is None:
            self._exchange.take(heard)
            self._means.emit(HeardLate(heard, self.ear))
            await self._keep_words()
            self._keep(TurnStatus.INTERRUPTED)
        elif request in AT_ONCE:
            self._means.emit(HeardLate(heard, self.ear))
            await self._forget(request, lang_of(heard.transcript), None)

    async def _recall(self, heard: Heard) -> None:
        means = self._means
        try:
            found = means.keeper.at_hand(heard.transcript)
            if found is None:
                found = await self._store.call(means.keeper.recall, heard.transcript)
        except StoreError as error:  # an answer that remembers little beats none
            means.emit(Failed(error))
            found = Recollection(turns=await self._store.call(means.keeper.held))
        self._exchange.recollection = replace(found, key=means.key)

    async def _use_tool(self, heard: Heard) -> None:
        means, found = self._means, self.ear.finding
        call = None if found else await means.tools.choose(heard, self._mind)
        if call is None:
            self._exchange.recollection = replace(self._exchange.recollection, finding=found)
            return
        self._waits_since = None
        if not call.tool.looks_only and not needs_yes(call):
            await self._released.wait()  # who has not finished speaking may mean something else
        await self._pieces.put((ToolCalled(call), means.clock()))
        self._uses_since = means.clock()
        self._call = call
        finding = await means.tools.run(call, heard.lang)
        self._uses_since = None
        await self._pieces.put((ToolReturned(finding), means.clock()))
        self._exchange.recollection = replace(self._exchange.recollection, finding=finding)

    async def _make(self) -> None:
        means = self._means
        self._waits_since = means.clock()
        means.relay.allowed = allowed = await allowed_now(means, self._store)
        if not self.ear.is_typed:
            check_voice(allowed)
        whole = await self.ear.heard(allowed)
        self.heard = heard = without_refused(whole, allowed)
        self._request = means.rights.asked(heard.transcript)
        self._told.set()
        await self._pieces.put((heard, means.clock()))
        if self._request is not None:
            await self._grant(self._request, heard, allowed)
        elif heard.transcript:
            await self._recall(heard)
            await self._use_tool(heard)
            await self._answer(heard, self.ear if heard == whole else None)
        self._waits_since = None
        await self._pieces.put(None)

    async def _grant(self, request: Request, heard: Heard, allowed: Collection[str] | None) -> None:
        """Do what is asked for by right, and make the answer that says so."""
        means, lang = self._means, lang_of(heard.transcript)
        self._waits_since = None
        await self._released.wait()  # who has not finished speaking may mean something else
        self._keeps_since = means.clock()
        if late := set(self._late):
            await asyncio.wait(late)  # what was cut off just now is kept first, then forgotten
        granted = await self._forget(request, lang, allowed)
        self._keeps_since = None
        await self._out(
            lambda: spoken(
                means.model,
                request,
                granted.sentences,
                lang,
                speak=self._speak,
                voice=self.ear.voice,
            )
        )

    async def _forget(
        self, request: Request, lang: Lang, allowed: Collection[str] | None
    ) -> Granted:
        """Do what is asked for, in the store and in what the model has read."""
        means, self._is_granted = self._means, True
        try:
            granted = await means.rights.grant(request, lang, allowed, begun=self.ear.turn_id)
        except StoreError as error:
            means.emit(Failed(error))
            return failed(lang)
        self.ear.turn_id = self._exchange.turn_id = ""
        if granted.is_forgotten:
            await self._mind.call(forget_conversation, means.model, means.key)
        return granted

    async def _answer(self, heard: Heard, ear: Ear | None) -> None:
        """Have the model answer, as plugins want it."""
        means = self._means
        await self._take(
            means.relay.answer(
                lambda: read_again(means.model, heard) if ear is None else ear,
                heard,
                self._exchange.recollection,
                model=means.model,
                mind=self._mind,
                think=means.think,
                speak=self._speak,
                voice=self.ear.voice,
            )
        )

    async def _out(self, make: Callable[[], Iterator[Delta]]) -> None:
        await self._take(self._mind.iterate(make))

    async def _take(self, made: AsyncGenerator[Delta]) -> None:
        """Take the deltas that the model's thread makes, as fast as they come."""
        self._waits_since = self._means.clock()
        async with aclosing(made) as deltas:
            async for delta in deltas:
                self._waits_since = None
                if not isinstance(delta, Heard):
                    await self._pieces.put((delta, self._means.clock()))
                self._waits_since = self._means.clock()

    async def _give(self) -> None:
        means, exchange = self._means, self._exchange
        await self._released.wait()
        while (piece := await self._pieces.get()) is not None:
            delta, at = piece
            if isinstance(delta, ToolCalled | ToolReturned):
                means.emit(delta)
                continue
            exchange.take(delta, None if isinstance(delta, SpeechDelta) else at)
            means.emit(delta)
            if isinstance(delta, Heard) and delta.transcript:
                if self._request is None:
                    means.rights.passed()
                    await self._keep_words()
                self._is_begun = True
                await self._remind(delta.lang)
            elif isinstance(delta, SpeechDelta):
                if not self._is_aloud:
                    await means.player.spoken()  # a line of the agent's own is said to its end
                    means.player.begin()
                self.is_heard = self._is_aloud = True
                await means.player.say(delta)
        if self._is_begun:
            means.emit(AnswerMade(exchange.turn, exchange.turn_id, self.ear))
        if self._is_aloud:
            means.player.finish()
            await means.player.spoken()

    async def _remind(self, lang: Lang) -> None:
        """Say what is due before the answer; who speaks over it, speaks over the agent."""
        if text := await self._means.reminding.due(lang):
            await self._means.player.spoken()
            self.is_heard = True
            await self._means.reminding.say(text)
            self.is_heard = False

    async def _keep_words(self) -> None:
        """What the user said is durable before a word of the answer is heard, if it can be."""
        means, exchange = self._means, self._exchange
        self._is_begun = True
        self._keeps_since = means.clock()

        def write() -> None:  # the id is known even where nobody waits for it any more
            exchange.turn_id = self.ear.turn_id = means.memory.remember(
                means.user, exchange.turn, turn_id=exchange.turn_id or None
            )

        try:
            await self._store.keep(write)
        except StoreError as error:  # the conversation goes on; the turn waits in RAM
            means.emit(Failed(error))
        self._keeps_since = None

    def _keep(self, status: TurnStatus) -> None:
        """Keep what was heard of it, if anything was said to it, and tell of it."""
        exchange, means = self._exchange, self._means
        if self._is_begun and self.is_released and not self.goes_on:
            means.tools.over(self._call if status is TurnStatus.COMPLETE else None)
        if not self._is_begun or not self.is_released or self.goes_on:
            return
        if status is not TurnStatus.COMPLETE and self._speak:
            self.cut()
            exchange.said(self._said or "")
        answer = exchange.answer(status)
        if self._request is None:
            means.keeper.keep(answer, lambda: exchange.turn_id)
        else:
            means.rights.over(self._request, is_whole=status is TurnStatus.COMPLETE)
        means.emit(TurnFinished(answer, self.ear))


async def allowed_now(means: Means, store: Worker) -> frozenset[str] | None:
    """What the user may be used for at this moment; None where the memory does not ask people.

    Who cannot be asked, since the store fails, is heard and not judged.
    """
    try:
        return await store.call(means.keeper.allowed)
    except StoreError as error:
        means.emit(Failed(error))
        return frozenset({Purpose.PROCESS_VOICE})


def translated(error: BaseException) -> EChatError:
    """What a model raised, as an error of ours; what is none of ours is told to the log."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, EChatError):
        return error
    kind = type(error).__name__
    # What an exception says may hold what a person said; where it was raised does not.
    where = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
    log.error(
        "the model failed: %s at %s:%s", kind, *((where.name, where.lineno) if where else ("", ""))
    )
    return GenerationError(f"the model failed with {kind}; the log says where")
