"""What is known of one device, whether it is in a conversation or not."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from echat_plugins.mqtt.conversation import Conversation
from echat_plugins.mqtt.messages import Hello
from echat_plugins.mqtt.once import Once
from echat_plugins.mqtt.options import Caps
from echat_plugins.mqtt.topics import Address, Leaf
from echat_sdk.server.allowance import Allowance

_REFUSALS = (1.0, 10.0)  # told a second, and at once; a flood is not answered with a flood


@dataclass(slots=True)
class Seat:
    """One device's.

    Attributes:
        tenant: Its tenant.
        device: Its name.
        frames: What it may still send of sound.
        controls: What it may still send of control messages.
        refusals: What it is still told of refusals.
        once: Its commands that were done.
        conversation: Its conversation; None while there is none.
        task: In which that is held, from a hello that is taken until all is told.
        next: A hello that came meanwhile.
    """

    tenant: str
    device: str
    frames: Allowance
    controls: Allowance
    refusals: Allowance
    once: Once = field(default_factory=Once)
    conversation: Conversation | None = None
    task: asyncio.Task[None] | None = None
    next: Hello | None = None

    def topic(self, leaf: Leaf) -> str:
        """One of its topics."""
        return str(Address(self.tenant, self.device, leaf))


class Seats:
    """The seats of all; of too many, who came longest ago and has no conversation is forgotten."""

    def __init__(self, caps: Caps, tenant: str) -> None:
        self._caps = caps
        self._tenant = tenant
        self._of: OrderedDict[str, Seat] = OrderedDict()
        self._clock = asyncio.get_running_loop().time

    def __iter__(self) -> Iterator[Seat]:
        return iter(tuple(self._of.values()))

    @property
    def taken(self) -> int:
        """How many are in a conversation."""
        return sum(seat.task is not None for seat in self._of.values())

    def find(self, device: str) -> Seat | None:
        """The seat of a device that is known."""
        return self._of.get(device)

    def of(self, device: str) -> Seat:
        """The seat of a device, from now on the one that came last."""
        seat = self._of.get(device)
        if seat is None:
            caps, clock = self._caps, self._clock
            seat = self._of[device] = Seat(
                self._tenant,
                device,
                Allowance(caps.frames_per_second, caps.frames_per_second, clock),
                Allowance(caps.controls_per_second, caps.controls_burst, clock),
                Allowance(*_REFUSALS, clock),
            )
            self._forget()
        self._of.move_to_end(device)
        return seat

    def _forget(self) -> None:
        most = max(self._caps.known, self._caps.devices + 1)
        idle = [name for name, seat in self._of.items() if seat.task is None]
        for name in idle[: max(0, len(self._of) - most)]:
            del self._of[name]
