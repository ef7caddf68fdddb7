"""What a live conversation tells its host: events, and the state among them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from echat_sdk.agent.events import Event, State, StateChanged

MOST_EVENTS = 1000
"""Events that wait for a reader; beyond that the oldest are dropped."""


class Outbox:
    """Events on their way to the one who reads them.

    Args:
        on_event: Told of each as it happens.

    Attributes:
        state: What the agent is doing.
    """

    def __init__(self, on_event: Callable[[Event], None] = lambda event: None) -> None:
        self._on_event = on_event
        self._events: asyncio.Queue[Event | None] = asyncio.Queue(MOST_EVENTS)
        self.state = State.LISTENING

    async def events(self) -> AsyncIterator[Event]:
        """What happens, until the conversation has ended. For one reader."""
        while (event := await self._events.get()) is not None:
            yield event

    def emit(self, event: Event) -> None:
        """Tell what happened."""
        self._put(event)

    def go(self, state: State) -> None:
        """Tell what the agent does now, if it is something else."""
        if state is not self.state:
            self.state = state
            self._put(StateChanged(state))

    def end(self) -> None:
        """Nothing will happen any more."""
        self.go(State.ENDED)
        self._put(None)

    def _put(self, event: Event | None) -> None:
        if event is not None:
            self._on_event(event)
        if self._events.full():
            self._events.get_nowait()
        self._events.put_nowait(event)
