"""Speaks a recording to `echat serve` through OpenAI's own client, and writes down the answer.

echat keys new mine                       # shows a key, once
echat serve --port 8080
OPENAI_API_KEY=echat_... python examples/realtime.py examples/audio/sad.wav answer.wav
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys

import numpy as np
import soundfile
import soxr
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection

RATE = 24_000
STEP = RATE // 25  # 40 ms


async def speak(server: AsyncRealtimeConnection, voice: np.ndarray) -> None:
    """Send what a microphone hears, as time passes; then silence, as microphones do."""
    for start in range(0, len(voice) + 4 * RATE, STEP):
        piece = voice[start : start + STEP].tobytes().ljust(2 * STEP, b"\0")
        await server.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
        await asyncio.sleep(STEP / RATE)


async def main(question: str, answer: str, url: str) -> None:
    """One question, one answer."""
    voice, rate = soundfile.read(question, dtype="int16")
    voice = soxr.resample(voice, rate, RATE).astype(np.int16)
    client = AsyncOpenAI(base_url=url, api_key=os.environ["OPENAI_API_KEY"])
    said: list[bytes] = []
    async with client.realtime.connect(model="echat-lite") as server, asyncio.TaskGroup() as group:
        speaking = group.create_task(speak(server, voice), name="microphone")
        async for event in server:
            if event.type == "conversation.item.input_audio_transcription.completed":
                beside = (event.model_extra or {})["echat"]
                print("you    ", event.transcript, "|", beside["cues"]["emotion"]["label"])  # noqa: T201
            elif event.type == "response.output_audio.delta":
                said.append(base64.b64decode(event.delta))
            elif event.type == "response.output_audio_transcript.done":
                print("answer ", event.transcript)  # noqa: T201
            elif event.type == "error":
                print("error  ", event.error.message, file=sys.stderr)  # noqa: T201
            elif event.type == "response.done":
                break
        speaking.cancel()
    soundfile.write(answer, np.frombuffer(b"".join(said), np.int16), RATE)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3], url=(sys.argv[3:] or ["http://127.0.0.1:8080/v1"])[0]))
