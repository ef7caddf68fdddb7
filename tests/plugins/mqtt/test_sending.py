from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from echat_plugins.mqtt.options import Caps
from echat_plugins.mqtt.seat import Seats
from echat_plugins.mqtt.sending import Sending
from echat_sdk.testing import virtual_time


class Network:
    """Is away at times."""

    def __init__(self, away: set[int] | None = None) -> None:
        self.away = away or set()
        self.tries = 0
        self.sent: list[str] = []

    async def send(self, topic: str, payload: bytes) -> bool:
        self.tries += 1
        if self.tries in self.away:
            return False
        self.sent.append(topic)
        return True


@given(st.sets(st.integers(1, 30)), st.integers(1, 12))
def test_messages_go_in_order_each_once_whenever_the_network_is_there(
    away: set[int], count: int
) -> None:
    async def main() -> None:
        network = Network(away)
        sending = Sending(network.send, 100)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(sending.run(), name="sending")
            for n in range(count):
                sending.put(str(n), b"", within=100)
            await sending.emptied()
            task.cancel()
        assert network.sent == [str(n) for n in range(count)]
        assert sending.dropped == 0

    virtual_time.run(main())


def test_of_too_many_the_oldest_are_dropped_and_what_is_too_late_is_not_sent() -> None:
    async def main() -> None:
        network = Network(set(range(1, 21)))  # away for five seconds
        sending = Sending(network.send, 3)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(sending.run(), name="sending")
            for n in range(5):
                sending.put(str(n), b"", within=1 if n == 3 else 100)
            await sending.emptied()
            task.cancel()
        assert network.sent == ["2", "4"]
        assert sending.dropped == 3

    virtual_time.run(main())


def test_of_too_many_devices_those_that_say_nothing_are_forgotten() -> None:
    async def main() -> None:
        seats = Seats(Caps(devices=2, known=4), "home")
        first = seats.of("first")
        first.task = asyncio.current_task()  # in a conversation
        for n in range(100):
            seats.of(f"robot{n}").once.begin("a")
        assert len(list(seats)) == 4
        assert seats.find("first") is first
        assert seats.find("robot99") is not None
        assert seats.find("robot1") is None
        assert seats.taken == 1
        assert first.topic("in/audio") == "echat/v1/home/first/in/audio"

    virtual_time.run(main())
