"""A spoken turn through Wyoming on the real weights, as Home Assistant's pipeline takes it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jiwer
import pytest
import soxr
from wyoming.asr import Transcribe
from wyoming.tts import Synthesize

from echat_memory import GuestMemory
from echat_sdk import load_model
from echat_sdk.agent.service import Service
from echat_sdk.audio import SAMPLE_RATE
from echat_sdk.consent import RUN
from echat_sdk.io.wav import read_audio
from echat_sdk.vad import open_vad
from tests.plugins.wyoming.serving import said, send, serving, sound_of, until, utterance

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


async def test_what_is_spoken_is_understood_answered_and_said_so_that_it_is_understood() -> None:
    guests = partial(GuestMemory, unasked=RUN)
    service = Service(load_model("echat-lite"), guests(), guests, open_vad, lang="en")
    async with serving(service) as client_of:
        async with client_of() as client:
            await send(client, Transcribe(language="en"))
            await send(client, *utterance(read_audio(AUDIO / "sad.wav")))
            heard = (await until(client, "transcript"))[-1].data["text"]
        async with client_of() as client:
            await send(client, said(heard, "a"))
            events = await until(client, "handled")
        answer = events[-1].data["text"]
        async with client_of() as client:
            await send(client, Synthesize(answer))
            events = await until(client, "audio-stop")
        sound = soxr.resample(sound_of(events), events[0].data["rate"], SAMPLE_RATE)
        async with client_of() as client:
            await send(client, Transcribe(language="en"), *utterance(sound))
            again = (await until(client, "transcript"))[-1].data["text"]
    assert "dog" in heard.lower()
    wer = jiwer.wer(answer, again, reference_transform=PLAIN, hypothesis_transform=PLAIN)
    assert wer < 0.15, (answer, again)
