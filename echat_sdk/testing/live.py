"""Live conversations on virtual time: who speaks when goes in, what was said and kept comes out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

import numpy as np

from echat_sdk.agent.events import Aside, Event
from echat_sdk.agent.live import Live
from echat_sdk.agent.tool_use import ToolUse
from echat_sdk.audio import FRAME_LEN, FRAME_SECONDS, AudioFrame, Seconds
from echat_sdk.bridge import Worker
from echat_sdk.hooks import Plugins
from echat_sdk.protocols import Memory, SpeechModel, TurnEnd
from echat_sdk.testing import RAMMemory, virtual_time
from echat_sdk.testing.audio import FakeAudio, ScriptedVAD
from echat_sdk.turn import Turn
from echat_sdk.turn_policy import TurnPolicy

SPEECH = AudioFrame(np.full(FRAME_LEN, 1000, np.int16))
"""A frame that `ScriptedVAD` takes for speech."""
SILENCE = AudioFrame(np.zeros(FRAME_LEN, np.int16))
ALONE = TurnPolicy(reengagements=0)
"""A policy that leaves who says nothing in peace, so that what is heard is the answers."""

Part = tuple[Literal["speech", "quiet"], Seconds]
"""A stretch of what a microphone hears."""

M = TypeVar("M", bound=SpeechModel)
T = TypeVar("T")


def plain(event: Event) -> object:
    """An event, or the delta of an aside."""
    return event.delta if isinstance(event, Aside) else event


def schedule(*parts: Part) -> Iterator[AudioFrame]:
    """What a microphone hears of somebody who speaks and pauses."""
    for what, seconds in parts:
        for _ in range(round(seconds / FRAME_SECONDS)):
            yield SPEECH if what == "speech" else SILENCE


@dataclass(slots=True)
class Conversation(Generic[M]):
    """What came of a conversation.

    Attributes:
        model: Heard and answered.
        audio: Played the script, and wrote down what was said.
        events: What happened, and when.
        turns: What is remembered: the last six.
        seconds: How long it took.
    """

    model: M
    audio: FakeAudio
    events: list[tuple[Seconds, Event]] = field(default_factory=list)
    turns: tuple[Turn, ...] = ()
    seconds: Seconds = 0.0

    def of(self, kind: type[T]) -> list[T]:
        """The events of a kind, and what was said of that kind in no answer."""
        return [said for _, event in self.events if isinstance(said := plain(event), kind)]

    def voiced(self) -> list[tuple[Seconds, Seconds]]:
        """When the agent was audible: stretches apart by 0.1 s or more."""
        sound = np.abs(self.audio.recording()) > 50
        at = np.flatnonzero(sound) / self.audio.output_rate
        if not at.size:
            return []
        cuts = np.flatnonzero(np.diff(at) > 0.1)
        return list(zip(at[np.r_[0, cuts + 1]], at[np.r_[cuts, -1]], strict=True))


@contextmanager
def opened(
    model: SpeechModel,
    audio: FakeAudio,
    *,
    memory: Memory | None = None,
    policy: TurnPolicy = ALONE,
    turn_end: TurnEnd | None = None,
    company: Plugins | None = None,
    user: str = "ada",
) -> Iterator[Live]:
    """A conversation in English, on the running event loop; it is yours to run."""
    store, company = Worker("echat-memory"), company or Plugins()
    tools = ToolUse.of(company.tools, model)
    try:
        yield Live(
            model,
            memory or RAMMemory(),
            audio,
            vad=ScriptedVAD(),
            turn_end=turn_end,
            policy=policy,
            user=user,
            key="k",
            think="tag",
            lang="en",
            store=store,
            tools=tools,
            plugins=company,
        )
    finally:
        tools.close()
        company.close()
        store.close()


def converse(
    model: M,
    audio: FakeAudio,
    *,
    memory: Memory | None = None,
    policy: TurnPolicy = ALONE,
    turn_end: TurnEnd | None = None,
    greeting: str = "",
    plugins: Sequence[object] = (),
    company: Plugins | None = None,
    script: Callable[[Live], object] = lambda _: None,
    at: Seconds = 0.0,
    on_event: Callable[[Event], None] | None = None,
    within: Seconds = 3600.0,
    user: str = "ada",
) -> Conversation[M]:
    """Run a conversation to its end, on virtual time.

    Args:
        model: Hears and answers.
        audio: What is heard; the conversation ends with it.
        memory: Keeps; a `RAMMemory` of its own if None.
        policy: How patient the agent is.
        turn_end: Judges turns, if anything does.
        greeting: What the agent says first.
        plugins: What extends the agent.
        company: The same as `Plugins`, in their place.
        script: What the host does.
        at: When it does so.
        on_event: Takes the events, which are kept in the outcome if None.
        within: How long it may take.
        user: Who speaks.

    Raises:
        TimeoutError: it took longer.
    """
    memory = memory or RAMMemory()
    outcome = Conversation(model, audio)

    async def main() -> None:
        now = asyncio.get_running_loop().time
        with opened(
            model,
            audio,
            memory=memory,
            policy=policy,
            turn_end=turn_end,
            company=company or Plugins.of(plugins),
            user=user,
        ) as live:
            take = on_event or (lambda event: outcome.events.append((now(), event)))

            async def read() -> None:
                async for event in live.events():
                    take(event)

            async def later() -> None:
                await asyncio.sleep(at)
                script(live)

            async with asyncio.timeout(within), asyncio.TaskGroup() as group:
                group.create_task(read(), name="reader")
                group.create_task(later(), name="host")
                await live.run(greeting)
            outcome.seconds = now()

    virtual_time.run(main())
    outcome.turns = memory.recall(user).turns
    return outcome
