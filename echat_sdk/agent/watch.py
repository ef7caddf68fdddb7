"""Sees to it that every wait ends, and that silence does not last for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from echat_sdk.agent.events import Failed, SilenceBroken
from echat_sdk.agent.lines import Line
from echat_sdk.agent.mouth import Mouth
from echat_sdk.agent.outbox import Outbox
from echat_sdk.agent.reply import Reply
from echat_sdk.audio import Seconds
from echat_sdk.errors import GenerationError
from echat_sdk.turn_policy import TurnPolicy

_LOOK_EVERY: Seconds = 0.25


class Watch:
    """Looks after a conversation four times a second.

    Args:
        mouth: The agent's side.
        outbox: Takes events.
        policy: How long is waited.
        clock: Seconds, rising.
        is_free: Whether nobody speaks, and the agent may ask why.
        sound: How much was heard, from the beginning.
        on_given_up: Told of an answer that is not waited for any more.
        look: Called each time.
    """

    def __init__(
        self,
        mouth: Mouth,
        outbox: Outbox,
        policy: TurnPolicy,
        clock: Callable[[], Seconds],
        *,
        is_free: Callable[[], bool],
        sound: Callable[[], Seconds],
        on_given_up: Callable[[Reply], None],
        look: Callable[[], None] = lambda: None,
    ) -> None:
        self._mouth = mouth
        self._outbox = outbox
        self._policy = policy
        self._clock = clock
        self._is_free = is_free
        self._sound = sound
        self._on_given_up = on_given_up
        self._look = look
        self._asked = 0  # times in a row that the agent broke the silence
        self._waits_for: Reply | None = None  # who was told to wait a moment

    def adapt(self, policy: TurnPolicy) -> None:
        """Wait as long as another policy has it."""
        self._policy = policy

    def user_spoke(self) -> None:
        """Somebody is there: the agent may ask again later."""
        self._asked = 0

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            self._look()
            reply = self._mouth.reply
            if reply is not None and reply.is_released:
                await self._look_at(reply)
            elif self._mouth.work is None and self._is_free():
                self._look_at_silence()

    async def _look_at(self, reply: Reply) -> None:
        waited = reply.waits
        stopped = reply.is_heard and self._mouth.is_dry  # in the middle of what it says
        if waited > (self._policy.hangs_after if stopped else self._policy.gives_up_after):
            self._mouth.drop()
            self._on_given_up(reply)
            self._outbox.emit(Failed(GenerationError(f"no answer came within {waited:.0f} s")))
            self._mouth.say_line("sorry")
        elif waited > self._policy.hangs_after and self._waits_for is not reply:
            self._waits_for = reply
            if not self._mouth.is_heard:
                await self._mouth.own.say_line("moment", self._mouth.lang)

    def _look_at_silence(self) -> None:
        waited = self._clock() - self._mouth.quiet_since
        if waited >= self._policy.reengage_after and self._asked < self._policy.reengagements:
            self._asked += 1
            self._outbox.emit(SilenceBroken(waited, self._sound()))
            line: Line = "here" if self._asked == self._policy.reengagements else "there"
            self._mouth.say_line(line)
