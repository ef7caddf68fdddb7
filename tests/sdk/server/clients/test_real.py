"""Real weights hear, answer aloud, are interrupted and use a function, through OpenAI's client."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soxr
from openai import AsyncOpenAI

from echat_sdk import load_model
from echat_sdk.cues import ReplyEmotion
from echat_sdk.protocols import SpeechModel
from tests.sdk.server.clients.dialogue import (
    CLEAR,
    DETECTION,
    WEATHER,
    Dialogue,
    Pause,
    Send,
    Steps,
    Until,
    say,
)
from tests.sdk.server.clients.leading import lead
from tests.sdk.server.clients.served import USER, served, speech

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

HEARD = 1.0  # seconds of the answer, before it is interrupted
EXAMPLES = {"What's the weather like in Rome?": {"town": "Rome"}}


def spoken(model: SpeechModel, text: str) -> bytes:
    """A sentence in the model's own voice, as a client sends it."""
    pieces = [delta.samples for delta in model.say(text, emotion=ReplyEmotion.NEUTRAL)]
    sound = soxr.resample(np.concatenate(pieces), model.sample_rate, 24_000)
    return np.asarray(sound, "<i2").tobytes()


def first(dialogue: Dialogue, asked: bytes) -> Steps:
    """What is found out is in the dialogue."""
    found = dialogue.found
    tools = [{**WEATHER, "echat": {"examples": EXAMPLES}}]
    session = {"type": "realtime", "audio": {"input": {"turn_detection": DETECTION}}}
    yield Send({"type": "session.update", "session": {**session, "tools": tools}})

    yield from say(speech("happy"))
    heard = yield Until("conversation.item.input_audio_transcription.completed")
    done = yield Until("response.done")
    (item,) = done["response"]["output"]
    found["heard"], found["cues"] = heard["transcript"], heard["echat"]["cues"]
    found["told"] = item["content"][0]["transcript"]
    found["seconds"], found["sound"] = dialogue.seconds(), dialogue.sound()
    yield Pause(HEARD)

    yield from say(speech("sad"))
    yield Until("input_audio_buffer.speech_started", 2)
    cut = {"item_id": item["id"], "content_index": 0, "audio_end_ms": round(1000 * HEARD)}
    yield Send({"type": "conversation.item.truncate", **cut})
    yield Until("conversation.item.truncated")
    yield Send({"type": "conversation.item.retrieve", "item_id": item["id"]})
    kept = yield Until("conversation.item.retrieved")
    found["kept"] = kept["item"]["content"][0]["transcript"]
    before = dialogue.seconds()
    yield Until("response.done", 2)
    yield Pause(dialogue.seconds() - before + 0.5)

    yield from say(asked)
    call = yield Until("response.function_call_arguments.done")
    ended = len(dialogue.of("response.done")) + 1
    yield Until("response.done", ended)
    found["called"] = call["arguments"]
    given = {"type": "function_call_output", "call_id": call["call_id"], "output": CLEAR}
    since = len(dialogue.told)
    yield Send({"type": "conversation.item.create", "item": given})
    yield Send({"type": "response.create"})
    yield Until("response.done", ended + 1)
    found["result"] = dialogue.words(since)
    found["errors"] = dialogue.of("error")


async def test_the_real_weights_through_the_official_client(tmp_path: Path) -> None:
    model, dialogue = load_model("echat-lite"), Dialogue()
    asked = spoken(model, "What is the weather like in Oslo?")
    with served(tmp_path, model) as server:
        async with (
            AsyncOpenAI(api_key=server.key, base_url=server.http) as client,
            client.realtime.connect(model="echat") as connection,
        ):
            await lead(connection, first(dialogue, asked), dialogue.told)
        kept = {each.turn.transcript: each.turn for each in server.memory.show(USER)}
    found = dialogue.found
    assert found["errors"] == []
    assert "got the job" in found["heard"]
    assert found["cues"]["emotion"]["label"] in ("happy", "angry", "unknown")
    assert 1 < found["seconds"] < 20
    assert np.abs(np.frombuffer(found["sound"], "<i2")).max() > 1000
    assert found["told"].startswith(found["kept"])
    assert 0 < len(found["kept"]) < len(found["told"])
    assert kept[found["heard"]].reply == found["kept"]
    assert "Oslo" in found["called"]
    assert "clear" in found["result"]
