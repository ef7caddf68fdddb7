"""Conversations of a robot and its agent through a real broker."""

from __future__ import annotations

import ast
import asyncio
import logging
import re
from pathlib import Path

import aiomqtt
import numpy as np
import pytest

import echat_plugins.mqtt
from echat_plugins.mqtt import MQTTOptions
from echat_plugins.mqtt.frame import Frame
from echat_plugins.mqtt.messages import (
    AFFECT,
    EVENT,
    IN_CONTROL,
    OUT_CONTROL,
    PRESENCE,
    Answer,
    FailedEvent,
    HeardEvent,
    Presence,
    TextEvent,
    TurnEvent,
    read,
)
from echat_plugins.mqtt.topics import LEAVES, Address
from echat_sdk.testing import FakeModel, Line, RAMMemory
from echat_sdk.tools import tool
from tests.plugins.mqtt.broker import Mosquitto
from tests.plugins.mqtt.served import comes, robot, service, serving, voice

pytestmark = pytest.mark.slow

ASKS = Line("how are you", ("I am well, thank you very much for asking.",))


@pytest.mark.parametrize("sound", [{"codec": "pcm16"}, {"codec": "opus", "frame_ms": 60}])
async def test_what_a_robot_hears_is_answered_aloud(
    mosquitto: Mosquitto, sound: dict[str, object]
) -> None:
    options = MQTTOptions(broker=mosquitto.broker())
    async with (
        serving(options, service(FakeModel(ASKS))),
        robot(mosquitto.broker(), sound=sound) as ada,
    ):
        async with asyncio.timeout(5):
            await ada.device.ready()
        await ada.say(voice(0.8))
        await ada.say(voice(1.2) * 0)
        turn = await ada.until(TurnEvent)
        assert turn.status == "complete"
        assert turn.reply == "I am well, thank you very much for asking."
        assert (await ada.until(HeardEvent)).transcript == "how are you"
        await asyncio.sleep(0.3)
        heard = np.concatenate(ada.heard)
        loud = np.abs(heard) > 500
        assert loud.sum() / 24_000 == pytest.approx(0.45, abs=0.1)


async def test_who_speaks_over_the_agent_makes_the_robot_fall_silent(mosquitto: Mosquitto) -> None:
    long = Line(
        "tell me a story", tuple(f"Once upon a time there was part {n}." for n in range(20))
    )
    lines = long, Line("wait a moment please", ("Of course.",))
    async with (
        serving(MQTTOptions(broker=mosquitto.broker()), service(FakeModel(*lines))),
        robot(mosquitto.broker()) as ada,
    ):
        await ada.device.ready()
        await ada.device.tell("tell me a story")
        await comes(lambda: ada.device.speaker.is_speaking)
        await ada.say(voice(1.4))
        await ada.say(voice(0.6) * 0)
        cut = await ada.until(TurnEvent)
        assert cut.status == "interrupted"
        assert cut.reply.startswith("Once upon a time there was part 0.")
        assert "part 19" not in cut.reply
        said = await ada.until(TurnEvent, lambda turn: turn.status == "complete")
        assert said.reply == "Of course."


async def test_a_robot_may_interrupt_mute_and_say_goodbye(mosquitto: Mosquitto) -> None:
    long = Line("x", tuple(f"Once upon a time there was part {n}." for n in range(20)))
    async with (
        serving(MQTTOptions(broker=mosquitto.broker()), service(FakeModel(long))) as transport,
        robot(mosquitto.broker()) as ada,
    ):
        await ada.device.ready()
        await ada.device.tell("tell me a story")
        await comes(lambda: ada.device.speaker.is_speaking)
        ada.device.interrupt()
        assert (await ada.until(TurnEvent)).status == "interrupted"
        await comes(lambda: not ada.device.speaker.is_speaking, within=0.5)
        ada.events.clear()
        await ada.device.mute()
        await comes(lambda: ada.device.waiting == 0)
        (seat,) = transport._seats
        assert seat.conversation is not None
        await ada.say(voice(0.5))
        await ada.say(voice(0.5) * 0)
        assert ada.of(HeardEvent) == []
        assert seat.conversation._line._buffer._next == 0  # no sound left the robot
        await ada.device.mute(False)
        await comes(lambda: ada.device.waiting == 0)
        await ada.say(voice(0.1))
        await comes(lambda: seat.conversation._line._buffer._next == 5)
        ada.device.goodbye()
        await comes(lambda: transport.devices == 0)
        assert ada.device.welcome is None
        ada.device.hear(voice(0.02))  # somebody speaks again
        async with asyncio.timeout(3):
            await ada.device.ready()


async def test_every_message_is_one_that_is_described_and_presence_alone_is_retained(
    mosquitto: Mosquitto,
) -> None:
    @tool(examples={"wave": {}})
    async def wave() -> str:
        """Wave."""
        return "I waved."

    seen: list[tuple[Address, bytes, bool]] = []
    lines = Line("wave", calls="wave"), ASKS

    async def watch(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            address = Address.of(str(message.topic))
            assert address is not None
            assert isinstance(message.payload, bytes)
            seen.append((address, message.payload, message.retain))

    async with (
        aiomqtt.Client("127.0.0.1", mosquitto.port) as client,
        asyncio.TaskGroup() as group,
    ):
        await client.subscribe("#", 1)
        watching = group.create_task(watch(client), name="watch")
        async with (
            serving(MQTTOptions(broker=mosquitto.broker()), service(FakeModel(*lines))),
            robot(mosquitto.broker(), tools=[wave]) as ada,
        ):
            await ada.device.ready()
            await ada.device.tell("wave")
            await ada.until(TurnEvent)
            await ada.say(voice(0.8))
            await ada.say(voice(1.2) * 0)
            await ada.until(TurnEvent, lambda turn: "well" in turn.reply)
        await asyncio.sleep(0.1)
        watching.cancel()
    readers = {
        "in/control": IN_CONTROL,
        "out/control": OUT_CONTROL,
        "out/event": EVENT,
        "out/affect": AFFECT,
        "presence": PRESENCE,
    }
    for address, payload, _ in seen:
        if address.leaf.endswith("audio"):
            Frame.parse(payload)
        else:
            read(readers[address.leaf], payload)
    assert {address.leaf for address, _, _ in seen} == set(LEAVES)
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as late:
        await late.subscribe("#", 1)
        kept = [await anext(aiter(late.messages)) for _ in range(2)]
        await asyncio.sleep(0.2)
        assert len(late.messages) == 0
    for message in kept:
        assert str(message.topic).endswith("/presence")
        assert isinstance(message.payload, bytes)
        assert read(PRESENCE, message.payload) == Presence(online=False)


async def test_no_log_tells_who_spoke_or_what_was_said(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    broken = Line("my secret words", ("An answer that is secret.",), error=RuntimeError("secret"))
    options = MQTTOptions(broker=mosquitto.broker(), users={"robot1": "ada.secret"})
    async with (
        serving(options, service(FakeModel(broken))),
        robot(mosquitto.broker(), "robot1") as ada,
        aiomqtt.Client("127.0.0.1", mosquitto.port) as client,
    ):
        await ada.device.ready()
        await ada.device.tell("something secret")
        await ada.until(FailedEvent)
        topic = "echat/v1/home/robot1/in/control"
        for payload in (b'{"secret"', b'{"type":"tell","id":"secret_12","text":1}'):
            await client.publish(topic, payload, qos=1)
        await ada.until(Answer, lambda answer: answer.code == "malformed")
        await asyncio.to_thread(mosquitto.stop)
        await comes(lambda: ada.device.welcome is None)
        await asyncio.to_thread(mosquitto.start)
        async with asyncio.timeout(6):
            await ada.device.ready()
    ours = "\n".join(each.getMessage() for each in caplog.records if "echat" in each.name)
    assert "secret" not in ours
    assert "robot1" not in ours
    assert "away" in ours


async def test_a_device_speaks_for_its_user_and_any_other_for_a_guest(mosquitto: Mosquitto) -> None:
    memory = RAMMemory()
    options = MQTTOptions(broker=mosquitto.broker(), users={"robot1": "ada"})
    async with (
        serving(options, service(FakeModel(Line("x")), memory=memory)),
        robot(mosquitto.broker(), "robot1") as ada,
        robot(mosquitto.broker(), "robot2") as guest,
    ):
        for each in (ada, guest):
            await each.device.ready()
            await each.device.tell(f"hello from {each.device._options.device}")
            await each.until(TurnEvent)
    assert [turn.transcript for turn in memory.recall("ada").turns] == ["hello from robot1"]
    assert list(memory._turns) == ["ada"]


async def test_who_did_not_agree_is_not_heard_and_the_robot_is_told(mosquitto: Mosquitto) -> None:
    class Asking(RAMMemory):
        def allowed(self, user: str) -> frozenset[str]:
            return frozenset()

    options = MQTTOptions(broker=mosquitto.broker(), users={"robot1": "ada"})
    async with (
        serving(options, service(FakeModel(ASKS), memory=Asking())),
        robot(mosquitto.broker()) as ada,
    ):
        await ada.device.ready()
        await ada.say(voice(0.8))
        await ada.say(voice(0.8) * 0)
        assert (await ada.until(FailedEvent)).error == "ConsentError"
        assert ada.of(HeardEvent) == []


async def test_people_are_told_first_what_they_talk_to(mosquitto: Mosquitto) -> None:
    served = service(FakeModel(), disclosure=lambda lang: f"I am a machine ({lang}).")
    async with (
        serving(MQTTOptions(broker=mosquitto.broker()), served),
        robot(mosquitto.broker(), lang="zh") as ada,
    ):
        assert (await ada.device.ready()).disclosure == "I am a machine (zh)."
        assert "machine" in (await ada.until(TextEvent)).text
        await comes(lambda: ada.device.speaker.is_speaking)


async def test_the_device_of_the_readme_works(mosquitto: Mosquitto) -> None:
    readme = Path(echat_plugins.mqtt.__file__).with_name("README.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", readme, re.S)
    block = re.sub(
        r"Broker\(.*?\)", f'Broker(host="127.0.0.1", port={mosquitto.port})', block, flags=re.S
    )
    block = block.replace(" as device:\n", " as device:\n    await device.ready()\n")
    played: list[object] = []
    names = {"samples": voice(0.02), "speaker": played.append, "face": played.append}
    code = compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    async with serving(MQTTOptions(broker=mosquitto.broker()), service(FakeModel())) as transport:
        await eval(code, names)
        await comes(lambda: transport.devices == 1)
    assert len(played) == 2
