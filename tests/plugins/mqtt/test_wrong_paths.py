"""What must be refused and told, and must end nothing; through a real broker."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiomqtt
import numpy as np
import pytest

from echat_plugins.mqtt import MQTT, MQTTOptions
from echat_plugins.mqtt.frame import Codec, Frame
from echat_plugins.mqtt.messages import (
    OUT_CONTROL,
    Answer,
    Bye,
    Hello,
    Interrupt,
    Mute,
    Tell,
    TurnEvent,
    Welcome,
    new_id,
    read,
)
from echat_sdk.testing import FakeModel, Line
from tests.plugins.mqtt.broker import Mosquitto
from tests.plugins.mqtt.served import LoudVAD, comes, robot, service, serving, voice

pytestmark = pytest.mark.slow

NONSENSE = (
    b"{",
    b"[]",
    b"\xff\xfe",
    b'{"type":"hello"}',
    b"[" * 50_000,
    b'{"type":"x","id":"12345678"}',
)
TOPIC = "echat/v1/home/robot1"


class Raw:
    """A client that may send anything."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self.client = client

    async def send(self, leaf: str, payload: bytes, **more: Any) -> None:
        await self.client.publish(f"{TOPIC}/{leaf}", payload, qos=1, **more)

    async def told(self, within: float = 3.0) -> Any:
        async with asyncio.timeout(within):
            async for message in self.client.messages:
                if str(message.topic).endswith("out/control"):
                    assert isinstance(message.payload, bytes)
                    return read(OUT_CONTROL, message.payload)
        raise AssertionError

    async def hello(self, stream: int = 7) -> Welcome:
        await self.send("in/control", Hello(id=new_id(), stream=stream).render())
        welcome = await self.told()
        assert isinstance(welcome, Welcome)
        return welcome

    async def still_served(self) -> None:
        command = Interrupt(id=new_id())
        await self.send("in/control", command.render())
        answer = await self.told()
        assert answer == Answer(to=command.id)


@asynccontextmanager
async def raw(
    mosquitto: Mosquitto, lines: Sequence[Line] = (), **more: Any
) -> AsyncIterator[tuple[Raw, MQTT]]:
    options = MQTTOptions.model_validate({"broker": mosquitto.broker(), **more})
    async with (
        serving(options, service(FakeModel(*lines))) as transport,
        aiomqtt.Client("127.0.0.1", mosquitto.port) as client,
    ):
        await client.subscribe("echat/v1/home/server/presence", 1)
        await anext(aiter(client.messages))
        await client.subscribe(f"{TOPIC}/out/#", 1)
        yield Raw(client), transport


async def test_what_is_no_message_is_refused_and_told(mosquitto: Mosquitto) -> None:
    async with raw(mosquitto) as (client, transport):
        await client.hello()
        for count, payload in enumerate(NONSENSE, 1):
            await client.send("in/control", payload)
            answer = await client.told()
            assert (answer.ok, answer.code) == (False, "malformed")
            assert transport.refused["malformed"] == count
        await client.still_served()


@pytest.mark.parametrize("leaf", ["in/control", "in/audio"])
async def test_a_megabyte_is_refused_and_told(mosquitto: Mosquitto, leaf: str) -> None:
    async with raw(mosquitto) as (client, transport):
        await client.hello()
        await client.send(leaf, b"x" * 1_000_000)
        answer = await client.told()
        assert (answer.ok, answer.code) == (False, "too_large")
        assert transport.refused["too_large"] == 1
        await client.still_served()


async def test_a_command_that_comes_twice_is_done_once_and_answered_twice(
    mosquitto: Mosquitto,
) -> None:
    async with raw(mosquitto, [Line("x")]) as (client, _):
        hello = Hello(id=new_id(), stream=7)
        await client.send("in/control", hello.render())
        welcome = await client.told()
        await client.send("in/control", hello.render())
        assert await client.told() == welcome
        mute = Mute(id=new_id())
        await client.send("in/control", mute.render())
        await client.send("in/control", mute.render())
        assert [await client.told(), await client.told()] == [Answer(to=mute.id)] * 2


async def test_replayed_frames_are_not_heard(mosquitto: Mosquitto) -> None:
    async with raw(mosquitto) as (client, transport):
        await client.hello(stream=7)
        (seat,) = transport._seats
        assert seat.conversation is not None
        line = seat.conversation._line
        frames = [
            Frame(Codec.PCM16, 20, 7, n, 20 * n, voice(0.02).tobytes()).render() for n in range(20)
        ]
        for payload in (*frames, *frames, *frames[3:9]):
            await client.send("in/audio", payload)
        other = Frame(Codec.PCM16, 20, 8, 20, 400, voice(0.02).tobytes()).render()
        await client.send("in/audio", other)
        answer = await client.told()
        assert (answer.code, answer.message) == ("malformed", "in/audio: a frame of another stream")
        assert line.dropped == 26
        assert line._buffer._next == 20
        await client.still_served()


async def test_what_the_broker_kept_is_not_done(mosquitto: Mosquitto) -> None:
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as before:
        hello = Hello(id=new_id(), stream=7).render()
        await before.publish(f"{TOPIC}/in/control", hello, qos=1, retain=True)
    async with raw(mosquitto) as (client, transport):
        await client.hello()
        assert transport.refused["retained"] == 1
        assert transport.devices == 1


async def test_who_commands_without_a_hello_is_told(mosquitto: Mosquitto) -> None:
    async with raw(mosquitto) as (client, transport):
        tell = Tell(id=new_id(), text="hello")
        await client.send("in/control", tell.render())
        answer = await client.told()
        assert (answer.to, answer.code) == (tell.id, "no_session")
        assert transport.devices == 0
        await client.hello()
        await client.send("in/control", tell.render())
        assert await client.told() == Answer(to=tell.id)


async def test_who_sends_too_much_is_slowed_down_and_served_again(mosquitto: Mosquitto) -> None:
    caps = {"controls_per_second": 20, "controls_burst": 5}
    async with raw(mosquitto, caps=caps) as (client, transport):
        await client.hello()
        for _ in range(60):
            await client.send("in/control", Interrupt(id=new_id()).render())
        answers = [await client.told() for _ in range(8)]
        assert {answer.code for answer in answers} == {None, "too_many"}
        assert transport.refused["too_many"] > 10
        await asyncio.sleep(0.5)
        late = Interrupt(id=new_id())
        await client.send("in/control", late.render())
        while (answer := await client.told()).to != late.id:
            pass
        assert answer.ok


async def test_a_flood_of_frames_is_capped(mosquitto: Mosquitto) -> None:
    async with raw(mosquitto) as (client, transport):
        await client.hello(stream=7)
        silence = np.zeros(320, np.int16).tobytes()
        for n in range(300):
            payload = Frame(Codec.PCM16, 20, 7, n, 20 * n, silence).render()
            await client.client.publish(f"{TOPIC}/in/audio", payload, qos=0)
        await client.still_served()
        assert transport.refused["too_many"] >= 200


async def test_one_device_more_than_may_is_told_so(mosquitto: Mosquitto) -> None:
    options = MQTTOptions.model_validate({"broker": mosquitto.broker(), "caps": {"devices": 1}})
    async with (
        serving(options, service(FakeModel())) as transport,
        robot(mosquitto.broker(), "robot1") as first,
    ):
        await first.device.ready()
        async with robot(mosquitto.broker(), "robot2") as second:
            answer = await second.until(Answer)
            assert (answer.ok, answer.code) == (False, "full")
        assert transport.devices == 1
        assert first.device.welcome is not None


async def test_a_device_that_is_not_known_is_refused_where_guests_are_not_served(
    mosquitto: Mosquitto,
) -> None:
    more = {"users": {"robot1": "ada"}, "guests": False}
    options = MQTTOptions.model_validate({"broker": mosquitto.broker(), **more})
    async with (
        serving(options, service(FakeModel())),
        robot(mosquitto.broker(), "robot1") as known,
        robot(mosquitto.broker(), "robot2") as unknown,
    ):
        await known.device.ready()
        assert (await unknown.until(Answer)).code == "refused"


async def test_who_says_nothing_for_long_is_told_goodbye_and_may_come_back(
    mosquitto: Mosquitto,
) -> None:
    options = MQTTOptions.model_validate({"broker": mosquitto.broker(), "caps": {"idle": 0.4}})
    async with (
        serving(options, service(FakeModel(Line("x")))) as transport,
        robot(mosquitto.broker()) as ada,
    ):
        await ada.device.ready()
        assert (await ada.until(Bye)).reason == "idle"
        await asyncio.sleep(0.1)
        assert (transport.devices, ada.device.welcome) == (0, None)
        ada.events.clear()
        await ada.device.tell("are you there?")
        assert (await ada.until(TurnEvent)).status == "complete"


async def test_who_takes_anothers_client_id_is_told_of_and_nobody_dies(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    broker = mosquitto.broker(client_id="robot1")
    async with (
        serving(MQTTOptions(broker=mosquitto.broker()), service(FakeModel(Line("x")))),
        robot(broker, "robot1") as first,
    ):
        await first.device.ready()
        async with robot(broker, "robot2") as second:
            links = first.device.link, second.device.link
            await comes(lambda: any(link.taken_over for link in links), within=10)
            assert "another client seems to have our client id" in caplog.text
        async with asyncio.timeout(8):
            await first.device.ready()
        await first.device.tell("are you there?")
        await first.until(TurnEvent)


async def test_what_was_not_done_when_a_conversation_ended_is_done_in_the_next(
    mosquitto: Mosquitto,
) -> None:
    async with raw(mosquitto, [Line("x", ())]) as (client, _):
        await client.hello()
        bye, tells = Bye(id=new_id()), [Tell(id=new_id(), text=f"words {n}") for n in range(5)]
        for command in (bye, *tells):
            await client.send("in/control", command.render())
        answers = [await client.told() for _ in range(6)]
        assert answers[0] == Answer(to=bye.id)
        assert {answer.code for answer in answers[1:]} <= {"no_session", "too_many"}
        await client.hello()
        for tell in tells:
            await client.send("in/control", tell.render())
            assert await client.told() == Answer(to=tell.id)


async def test_a_hello_that_comes_while_another_is_taken_is_not_forgotten(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoudVAD, "__init__", lambda self: time.sleep(0.2))  # in a thread
    async with raw(mosquitto) as (client, transport):
        hellos = [Hello(id=new_id(), stream=n) for n in range(3)]
        for hello in hellos:
            await client.send("in/control", hello.render())
        told = [await client.told() for _ in range(3)]
        codes = {answer.to: getattr(answer, "code", None) for answer in told}
        assert codes == {hellos[0].id: None, hellos[1].id: "refused", hellos[2].id: None}
        assert transport.devices == 1
        await client.still_served()


async def test_a_conversation_that_cannot_be_held_is_told_of_and_others_go_on(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: LoudVAD) -> None:
        raise RuntimeError("a secret path")

    async with raw(mosquitto) as (client, transport):
        with monkeypatch.context() as patched:
            patched.setattr(LoudVAD, "__init__", broken)
            hello = Hello(id=new_id(), stream=1)
            await client.send("in/control", hello.render())
            answer = await client.told()
            assert (answer.to, answer.code) == (hello.id, "failed")
            assert "secret" not in str(answer.message)
        await client.hello()
        assert transport.devices == 1
