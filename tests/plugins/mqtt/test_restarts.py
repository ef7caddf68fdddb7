"""The broker goes away and comes back, and so do the server and the robot."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from echat_plugins.mqtt import Device, MQTTOptions
from echat_plugins.mqtt.messages import Answer, TurnEvent
from echat_plugins.mqtt.outbox import Outbox
from echat_sdk.agent.ear import Ear
from echat_sdk.agent.live import Live
from echat_sdk.testing import FakeModel, Line
from tests.plugins.mqtt.broker import Mosquitto
from tests.plugins.mqtt.old_broker import old_broker
from tests.plugins.mqtt.served import comes, robot, service, serving, voice


class Stutterer(Device):
    """Says many things twice."""

    async def _send_control(self, payload: bytes) -> bool:
        done = await super()._send_control(payload)
        if random.random() < 0.4:
            await super()._send_control(payload)
        return done


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What agents were told in writing: each as often as it was done."""
    done: list[str] = []
    typed = Live.typed

    def listening(live: Live, text: str, *rest: Any) -> Ear:
        done.append(text)
        return typed(live, text, *rest)

    monkeypatch.setattr(Live, "typed", listening)
    return done


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "times",
    [
        pytest.param(2, marks=pytest.mark.slow),
        pytest.param(100, marks=pytest.mark.endurance),
    ],
)
async def test_no_command_is_lost_or_done_twice_while_the_broker_comes_and_goes(
    mosquitto: Mosquitto, tmp_path: Path, told: list[str], times: int
) -> None:
    loop, waits, said = asyncio.get_running_loop(), [], []
    more = {"outbox": tmp_path / "out", "most_commands": 64}
    async with (
        serving(MQTTOptions(broker=mosquitto.broker()), service(FakeModel(Line("x", ())))),
        robot(mosquitto.broker(), kind=Stutterer, **more) as ada,
    ):
        await ada.device.ready()

        async def say(count: int) -> None:
            for _ in range(count):
                said.append(f"words {len(said)}")
                await ada.device.tell(said[-1])

        for n in range(times):
            await say(3)
            if n % 2:
                await asyncio.sleep(random.uniform(0, 0.05))  # some are on their way
            await asyncio.to_thread(mosquitto.stop, kill=n % 3 == 2)
            await comes(lambda: ada.device.welcome is None)
            await say(3)
            await asyncio.sleep(random.uniform(0, 0.3))
            await asyncio.to_thread(mosquitto.start)
            began = loop.time()
            await say(1)
            async with asyncio.timeout(10):
                await ada.device.ready()
            waits.append(loop.time() - began)
            await comes(lambda: ada.device.waiting == 0, within=20)
        assert told == said
        assert max(waits) <= 5.0
        print(f"{times} restarts: {len(said)} commands; back within {max(waits):.1f} s at most")  # noqa: T201


@pytest.mark.slow
async def test_a_conversation_goes_on_after_the_broker_was_away(mosquitto: Mosquitto) -> None:
    lines = Line("one", ("I heard one.",)), Line("two", ("I heard two.",))
    async with (
        serving(MQTTOptions(broker=mosquitto.broker()), service(FakeModel(*lines))),
        robot(mosquitto.broker()) as ada,
    ):
        before = await ada.device.ready()
        await ada.device.tell("one")
        await ada.until(TurnEvent)
        await asyncio.to_thread(mosquitto.stop)
        await comes(lambda: ada.device.welcome is None)
        ada.device.hear(voice(0.1))  # of no use, and no harm
        await asyncio.to_thread(mosquitto.start)
        async with asyncio.timeout(6):
            after = await ada.device.ready()
        assert after.session == before.session
        await ada.say(voice(0.8))
        await ada.say(voice(1.0) * 0)
        assert (await ada.until(TurnEvent, lambda turn: "two" in turn.reply)).status == "complete"


@pytest.mark.slow
async def test_a_server_that_was_started_anew_is_greeted_anew(mosquitto: Mosquitto) -> None:
    options = MQTTOptions(broker=mosquitto.broker())
    async with robot(mosquitto.broker()) as ada:
        async with serving(options, service(FakeModel(Line("x")))):
            first = await ada.device.ready()
        await comes(lambda: ada.device.welcome is None)
        async with serving(options, service(FakeModel(Line("x")))):
            second = await ada.device.ready()
            assert second.session != first.session
            await ada.device.tell("are you there?")
            assert (await ada.until(TurnEvent)).status == "complete"


@pytest.mark.slow
async def test_what_waited_when_a_robot_was_switched_off_is_done_when_it_is_on(
    mosquitto: Mosquitto, tmp_path: Path, told: list[str]
) -> None:
    out = {"outbox": tmp_path / "out"}
    async with robot(mosquitto.broker(), **out) as ada:  # nobody serves
        await ada.device.tell("good morning")
        await ada.device.tell("how are you")
    assert len(Outbox(tmp_path / "out", tmp_path / "outbox.key").open()) == 2
    async with (
        serving(MQTTOptions(broker=mosquitto.broker()), service(FakeModel(Line("x", ())))),
        robot(mosquitto.broker(), **out) as ada,
    ):
        await comes(lambda: len(ada.of(Answer)) == 2)
    assert told == ["good morning", "how are you"]
    assert Outbox(tmp_path / "out", tmp_path / "outbox.key").open() == []


@pytest.mark.slow
async def test_a_robot_that_is_gone_for_long_is_not_waited_for(mosquitto: Mosquitto) -> None:
    options = MQTTOptions.model_validate({"broker": mosquitto.broker(), "caps": {"away": 0.3}})
    async with serving(options, service(FakeModel())) as transport:
        async with robot(mosquitto.broker()) as ada:
            await ada.device.ready()
            assert transport.devices == 1
        await comes(lambda: transport.devices == 0)


async def test_a_broker_that_speaks_mqtt_3_alone_is_talked_to_in_it() -> None:
    async with old_broker() as old, robot(old.broker) as ada:
        await comes(lambda: len(old.versions) >= 2)
        await comes(lambda: ada.device.link.is_up)
        assert old.versions[:2] == [5, 4]
        assert not ada.device.link.speaks_5
