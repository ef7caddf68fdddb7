"""A server of robots as a process of its own: `fake` with a script, or `real`, and a port."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from echat_plugins.mqtt import MQTT, Broker, MQTTOptions
from echat_sdk.agent.service import Service
from echat_sdk.cues import ReplyEmotion
from echat_sdk.testing import FakeModel, Line, RAMMemory
from tests.plugins.mqtt.served import ALONE, LoudVAD

REPLY = (
    "Thank you for telling me how you are,",
    " I am glad that you came to talk about it with me today.",
)


def served(kind: str) -> Service:
    if kind == "fake":
        model = FakeModel(Line("my dog died", REPLY, reply_emotion=ReplyEmotion.HAPPY))
        return Service(model, RAMMemory(), RAMMemory, LoudVAD, policy=ALONE)
    from echat_sdk import load_model
    from echat_sdk.model.turn_end import open_turn_end
    from echat_sdk.model.zoo import find_file
    from echat_sdk.vad import open_vad

    def vad() -> Any:
        return open_vad(silero=find_file("silero-vad"))

    return Service(
        load_model("echat-lite"), RAMMemory(), RAMMemory, vad, open_turn_end(), ALONE, lang="en"
    )


if __name__ == "__main__":
    options = MQTTOptions(broker=Broker(host="127.0.0.1", port=int(sys.argv[2])))
    asyncio.run(MQTT(options).run(served(sys.argv[1])))
