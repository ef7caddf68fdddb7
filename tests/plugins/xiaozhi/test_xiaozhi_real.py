"""A device's spoken turn on the real weights: understood, answered, and understood again."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soxr

from echat_memory import GuestMemory
from echat_sdk import load_model
from echat_sdk.agent.service import Service
from echat_sdk.audio import SAMPLE_RATE, frames
from echat_sdk.consent import RUN
from echat_sdk.io.wav import read_audio
from echat_sdk.vad import open_vad
from tests.plugins.xiaozhi.device import device, serving, silence

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

AUDIO = Path(__file__).parents[3] / "examples/audio"
PLAIN = jiwer.Compose(
    [
        jiwer.ToLowerCase(),
        jiwer.RemovePunctuation(),
        jiwer.RemoveMultipleSpaces(),
        jiwer.Strip(),
        jiwer.ReduceToListOfListOfWords(),
    ]
)
VOLUME = {
    "description": "Set the volume of the audio speaker.",
    "inputSchema": {
        "type": "object",
        "properties": {"volume": {"type": "integer", "minimum": 0, "maximum": 100}},
        "required": ["volume"],
    },
}


async def test_what_is_spoken_is_understood_and_the_answer_is_understood_again() -> None:
    guests = partial(GuestMemory, unasked=RUN)
    model = load_model("echat-lite")
    service = Service(model, guests(), guests, open_vad, lang="en")
    tools = {"self.audio_speaker.set_volume": VOLUME}
    async with serving(service) as port, device(port, version=3, tools=tools) as robot:
        await robot.hello(mcp=True)
        await robot.until("mcp")
        await robot.until("mcp")
        await robot.listen("start")
        said = np.concatenate((read_audio(AUDIO / "sad.wav"), silence(1.8)))
        await robot.send(said, paced=True)
        await robot.until("tts", state="stop")
        answered = robot.heard()
        sentences = [each["text"] for each in robot.of("tts") if "text" in each]
        await robot.listen("detect", text="Set the volume to seventy.")
        await robot.until("tts", state="stop")
    assert "dog" in robot.of("stt")[0]["text"].lower()
    assert robot.of("llm")[0]["emotion"] in ("relaxed", "sad", "embarrassed")

    ears = model.listen(lang="en")
    for frame in frames(soxr.resample(answered, 48_000, SAMPLE_RATE)):
        ears.push(frame)
    words, again = " ".join(sentences), ears.heard().transcript
    wer = jiwer.wer(words, again, reference_transform=PLAIN, hypothesis_transform=PLAIN)
    assert wer < 0.15, (words, again)
    assert robot.called == [{"name": "self.audio_speaker.set_volume", "arguments": {"volume": 70}}]
