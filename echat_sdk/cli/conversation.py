"""A conversation with the model that the settings name: live, or recorded and run again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from echat_sdk.cli import account, interrupts, rooms
from echat_sdk.errors import AudioDeviceError

if TYPE_CHECKING:
    from echat_sdk.agent import Agent
    from echat_sdk.agent.events import Event
    from echat_sdk.config import Settings
    from echat_sdk.cues import Cues
    from echat_sdk.protocols import AudioIO, Memory
    from echat_sdk.turn_policy import Preset

Typed = AsyncIterator[tuple[str, "Cues"]]
"""Turns that are typed: words, and the cues that stand in for a voice."""


async def converse(
    settings: Settings,
    policy: Preset,
    audio: AudioIO,
    memory: Memory,
    tell: Callable[[Event], None],
    greeting: str = "",
    *,
    quiet: bool,
    typed: Typed | None = None,
    takes_turns: bool = False,
) -> bool:
    """Converse until the sound or the conversation ends.

    Args:
        settings: The model, and how it thinks.
        policy: How patient the agent is.
        audio: What is heard and said.
        memory: What is kept of the user.
        tell: Takes each event.
        greeting: What the agent says first.
        quiet: Do not tell that the model is being opened.
        typed: Turns that are handed in beside what is spoken; each interrupts, as speech does.
        takes_turns: A typed turn waits until the agent listens, instead.

    Returns:
        Whether it ended in order, and not because a device was lost.
    """
    from echat_sdk.agent import Agent
    from echat_sdk.agent.events import Failed
    from echat_sdk.turn_policy import TurnPolicy

    with account.working("waking up", quiet=quiet):
        model = rooms.model(settings, lazy=False)
        turn_end = rooms.turn_end(settings)
    floor, is_lost = _Floor(), False
    with rooms.plugins(settings) as plugins:
        rooms.fit(plugins, model)
        agent = Agent(
            model,
            memory,
            user=settings.user,
            think=settings.think,
            lang=settings.lang,
            audio=audio,
            vad=rooms.vad(settings),
            turn_end=turn_end,
            policy=TurnPolicy.of(policy),
            greeting=greeting,
            manner=rooms.manner(settings),
            plugins=plugins,
        )
        async with agent:
            with interrupts.taken_by(agent.end), _alone():
                async with asyncio.TaskGroup() as group:
                    typing = typed and group.create_task(
                        _hand_in(agent, typed, floor if takes_turns else None), name="echat-typed"
                    )
                    async for event in agent.events():
                        floor.take(event)
                        tell(event)
                        is_lost |= isinstance(event, Failed) and isinstance(
                            event.error, AudioDeviceError
                        )
                    if typing:
                        typing.cancel()
    return not is_lost


async def kept(typed: Typed, keep: Callable[[dict[str, object]], None] | None) -> Typed:
    """Typed turns, each written down where a conversation is kept."""
    async for text, cues in typed:
        if keep is not None:
            keep({"event": "typed", "text": text, "cues": cues.to_json()})
        yield text, cues


class _Floor:
    """Whether the agent is free for a typed turn."""

    def __init__(self) -> None:
        self._is_free = asyncio.Event()

    def take(self, event: Event) -> None:
        """What happened."""
        from echat_sdk.agent.events import Failed, State, StateChanged, TurnFinished

        match event:
            case StateChanged(State.LISTENING) | TurnFinished() | Failed():
                self._is_free.set()
            case StateChanged():
                self._is_free.clear()

    async def taken(self) -> None:
        """Wait until it is, and take it."""
        await self._is_free.wait()
        self._is_free.clear()


async def _hand_in(agent: Agent, typed: Typed, floor: _Floor | None) -> None:
    from echat_sdk.agent.events import State

    async for text, cues in typed:
        if floor is not None:
            await floor.taken()
        if agent.state is State.ENDED:
            return
        agent.tell(text, cues)


@contextmanager
def _alone() -> Iterator[None]:
    """What goes wrong in a group of tasks comes out as itself: its kind decides the exit code."""
    try:
        yield
    except BaseExceptionGroup as errors:
        error: BaseException = errors
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
