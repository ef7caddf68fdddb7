"""What a device can do, as tools of its agent."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Literal

import pytest

from echat_plugins.mqtt import Device, DeviceOptions, MQTTOptions
from echat_plugins.mqtt.device_tools import CallRefusedError, DeviceTools
from echat_plugins.mqtt.messages import Answer, Call, Offer, ToolEvent, TurnEvent
from echat_plugins.mqtt.skills import Skills
from echat_sdk.errors import ConfigError
from echat_sdk.testing import FakeModel, Line, virtual_time
from echat_sdk.tools import Tool, tool
from tests.plugins.mqtt.broker import Mosquitto
from tests.plugins.mqtt.served import robot, service, serving


def arms(waved: list[int]) -> Tool:
    @tool(examples={"wave at me": {}, "wave three times": {"times": 3}})
    async def wave(times: int = 1, arm: Literal["left", "right"] | None = None) -> str:
        """Wave an arm."""
        waved.append(times)
        return f"I waved {times} times."

    return wave


def test_a_function_is_told_as_json_and_becomes_a_tool_again() -> None:
    (offer,) = Skills([arms([])]).offers
    assert offer.parameters == {
        "type": "object",
        "properties": {
            "times": {"default": 1, "title": "Times", "type": "integer"},
            "arm": {"enum": ["left", "right"], "type": "string"},
        },
    }

    async def main() -> None:
        (made,) = DeviceTools(lambda call: None, 30).made([offer])
        assert (made.name, made.description) == ("wave", "Wave an arm.")
        assert made.examples == (("wave at me", {}), ("wave three times", {"times": 3}))
        assert made.check({"times": 2}) == {"times": 2, "arm": None}

    virtual_time.run(main())


def called(
    answers: dict[str, Answer], calls: list[Call], **more: Any
) -> tuple[DeviceTools, list[Tool]]:
    def send(call: Call) -> None:
        calls.append(call)
        if call.name in answers:
            found = answers[call.name].model_copy(update={"to": call.id})
            asyncio.get_running_loop().call_later(0.01, tools.take, found)

    tools = DeviceTools(send, 30)
    return tools, tools.made([Offer(name="wave", parameters={}, **more)])


def test_what_a_device_answers_is_what_the_tool_found() -> None:
    async def main() -> None:
        calls: list[Call] = []
        _, (wave,) = called({"wave": Answer(to="", output='{"waved": 2}')}, calls)
        assert await wave.function() == {"waved": 2}  # type: ignore[misc]
        _, (wave,) = called({"wave": Answer(to="", output="I waved.")}, calls)
        assert await wave.function() == "I waved."  # type: ignore[misc]
        _, (wave,) = called({"wave": Answer(to="")}, calls)
        assert await wave.function() is None  # type: ignore[misc]
        assert calls[0].within == 5.0
        assert len({call.id for call in calls}) == 3

    virtual_time.run(main())


def test_what_a_device_could_not_do_fails_without_its_words() -> None:
    async def main() -> None:
        answer = Answer(to="", ok=False, code="failed", message="somebody's secret")
        _, (wave,) = called({"wave": answer}, [])
        with pytest.raises(CallRefusedError) as error:
            await wave.function()  # type: ignore[misc]
        assert "secret" not in str(error.value)

    virtual_time.run(main())


def test_no_tool_is_called_more_often_than_its_device_allows() -> None:
    async def main() -> None:
        calls: list[Call] = []
        _, (wave,) = called({"wave": Answer(to="")}, calls, calls_per_minute=3)
        for _ in range(3):
            await wave.function()  # type: ignore[misc]
        with pytest.raises(CallRefusedError, match="3 calls a minute"):
            await wave.function()  # type: ignore[misc]
        await asyncio.sleep(21)
        await wave.function()  # type: ignore[misc]
        assert len(calls) == 4

    virtual_time.run(main())


def test_what_is_no_function_is_refused() -> None:
    async def main() -> None:
        for bad in ("look up", "", "x" * 64 + "y"):
            with pytest.raises((ConfigError, ValueError)):
                DeviceTools(lambda call: None, 30).made([Offer(name=bad)])

    virtual_time.run(main())


async def test_a_robot_that_can_do_too_much_is_told_so() -> None:
    @tool(examples={"nothing": {}})
    async def nothing() -> None:
        """Do nothing."""

    names = (replace(nothing, name=f"nothing{n}") for n in range(33))
    with pytest.raises(ConfigError, match="33 tools"):
        Device(DeviceOptions(device="robot1"), tools=list(names))
    big = {"x" * 4000 + str(n): {} for n in range(6)}
    wide = [replace(nothing, name=f"wide{n}", examples=tuple(big.items())) for n in range(4)]
    with pytest.raises(ConfigError, match="at most 65536"):
        Device(DeviceOptions(device="robot1"), tools=wide)
    with pytest.raises(ConfigError, match="rename one"):
        Device(DeviceOptions(device="robot1"), tools=[nothing, nothing])


@pytest.mark.slow
async def test_a_robot_waves_when_it_is_asked_to(mosquitto: Mosquitto) -> None:
    asks = Line("wave three times", calls="wave", arguments={"times": 3})
    waved: list[int] = []
    async with (
        serving(MQTTOptions(broker=mosquitto.broker()), service(FakeModel(asks))),
        robot(mosquitto.broker(), tools=[arms(waved)]) as ada,
    ):
        assert (await ada.device.ready()).tools == ["wave"]
        await ada.device.tell("wave three times")
        turn = await ada.until(TurnEvent)
        assert turn.reply == "I waved 3 times."
        assert [event.stage for event in ada.of(ToolEvent)] == ["called", "returned"]
        assert waved == [3]


@pytest.mark.slow
async def test_a_function_that_hangs_or_fails_ends_no_turn(mosquitto: Mosquitto) -> None:
    @tool(examples={"sleep": {}}, deadline=0.3)
    async def nap() -> str:
        """Sleep."""
        await asyncio.sleep(60)
        return "never"

    @tool(examples={"fall": {}})
    async def fall() -> str:
        """Fall over."""
        raise RuntimeError("a secret")

    lines = Line("sleep", calls="nap"), Line("fall", calls="fall"), Line("x")
    async with (
        serving(MQTTOptions(broker=mosquitto.broker()), service(FakeModel(*lines))),
        robot(mosquitto.broker(), tools=[nap, fall]) as ada,
    ):
        await ada.device.ready()
        for wish, why in (("sleep", "late"), ("fall", "CallRefusedError")):
            ada.events.clear()
            await ada.device.tell(wish)
            assert (await ada.until(TurnEvent)).reply in (why, "CallRefusedError")
            assert [event.stage for event in ada.of(ToolEvent)] == ["called", "failed"]
