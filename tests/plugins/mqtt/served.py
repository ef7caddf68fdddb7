"""A server of robots and a robot, in one process, at a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from echat_plugins.mqtt import MQTT, Broker, Device, DeviceOptions, MQTTOptions
from echat_plugins.mqtt.messages import Message
from echat_sdk.agent.service import Service
from echat_sdk.audio import SAMPLE_RATE, AudioFrame, Seconds, Waveform
from echat_sdk.protocols import SpeechModel
from echat_sdk.testing import RAMMemory
from echat_sdk.tools import Tool
from echat_sdk.turn_policy import TurnPolicy

T = TypeVar("T")
ALONE = TurnPolicy(reengagements=0)


class LoudVAD:
    """Takes what is loud for speech."""

    def is_speech(self, frame: AudioFrame) -> bool:
        return bool(np.abs(frame.samples).mean() > 200)

    def reset(self) -> None:
        """Nothing is carried."""


def voice(seconds: Seconds) -> Waveform:
    at = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (8000 * np.sin(2 * np.pi * 300 * at)).astype(np.int16)


def service(model: SpeechModel, **more: Any) -> Service:
    return Service(
        model, more.pop("memory", None) or RAMMemory(), RAMMemory, LoudVAD, policy=ALONE, **more
    )


async def comes(is_so: Callable[[], object], within: Seconds = 5) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(within):
        while not is_so():  # noqa: ASYNC110 - what is looked at tells nobody
            await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(options: MQTTOptions, served: Service) -> AsyncIterator[MQTT]:
    transport = MQTT(options)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(transport.run(served), name="server")
        try:
            yield transport
        finally:
            task.cancel()


@dataclass
class Robot:
    """A device, and all that it was told.

    Attributes:
        heard: What its speaker played, 20 ms at a time.
    """

    device: Device
    events: list[Message] = field(default_factory=list)
    heard: list[Waveform] = field(default_factory=list)
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        async for event in self.device.events():
            self.events.append(event)
            self._more.set()

    async def play(self) -> None:
        async for samples in self.device.sound():
            self.heard.append(samples)

    async def say(self, sound: Waveform) -> None:
        step = SAMPLE_RATE // 50
        due = asyncio.get_running_loop().time()
        for start in range(0, len(sound), step):
            self.device.hear(sound[start : start + step])
            due += 0.02
            await asyncio.sleep(due - asyncio.get_running_loop().time())

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(
        self, kind: type[T], is_it: Callable[[T], bool] = lambda _: True, within: Seconds = 8
    ) -> T:
        try:
            async with asyncio.timeout(within):
                while True:
                    for event in self.of(kind):
                        if is_it(event):
                            return event
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            told = [type(event).__name__ for event in self.events]
            raise AssertionError(f"no such {kind.__name__} among {told}") from None


@asynccontextmanager
async def robot(
    broker: Broker,
    name: str = "robot1",
    *,
    tools: Sequence[Tool] = (),
    kind: type[Device] = Device,
    **more: Any,
) -> AsyncIterator[Robot]:
    options = DeviceOptions.model_validate({"broker": broker, "device": name, **more})
    async with kind(options, tools=tools) as device, asyncio.TaskGroup() as group:
        made = Robot(device)
        tasks = [
            group.create_task(made.listen(), name="events"),
            group.create_task(made.play(), name="speaker"),
        ]
        try:
            yield made
        finally:
            for task in tasks:
                task.cancel()
