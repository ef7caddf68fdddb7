"""Conversations of a robot and its agent through a real broker."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from echat_plugins.mqtt import MQTTOptions
from echat_plugins.mqtt.messages import HeardEvent, TurnEvent
from echat_sdk.testing import FakeModel, Line
from tests.plugins.mqtt.broker import Mosquitto
from tests.plugins.mqtt.served import robot, service, serving, voice

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
