"""Converse through the microphone: python examples/live.py. Ctrl-C ends it.

Needs pip install "echat-sdk[lite,audio]", then echat models pull echat-lite. With the names of two
WAV files the same loop hears the one and writes the other.
"""

import asyncio
import sys

from echat_memory import SQLMemory
from echat_sdk import Agent, load_model, read_audio, write_audio
from echat_sdk.agent.events import TurnFinished
from echat_sdk.audio import frames
from echat_sdk.consent import REMEMBERED
from echat_sdk.io.local import LocalAudio
from echat_sdk.io.timed import TimedAudio
from echat_sdk.model.turn_end import open_turn_end
from echat_sdk.model.zoo import find_file
from echat_sdk.protocols import AudioIO
from echat_sdk.vad import open_vad


async def converse(audio: AudioIO) -> None:
    """Answer whoever speaks, and print each turn when it is over."""
    model, memory = load_model("echat-lite"), SQLMemory("sqlite:///echat.db")
    memory.consent("ada", REMEMBERED)  # once she was asked; of a guest nothing is kept
    vad = open_vad(silero=find_file("silero-vad"))
    agent = Agent(model, memory, user="ada", audio=audio, vad=vad, turn_end=open_turn_end())
    async with agent:
        async for event in agent.events():
            if isinstance(event, TurnFinished):
                turn = event.answer.turn
                print(turn.transcript, "|", turn.reply, "|", turn.status.value)  # noqa: T201


async def main(*files: str) -> None:
    """Use the two files, or this machine's microphone and speaker."""
    if files:
        question, answer = files
        audio = TimedAudio(frames(read_audio(question)), tail=6)
        await converse(audio)
        write_audio(answer, audio.recording(), audio.output_rate)
    else:
        async with LocalAudio() as local:
            await converse(local)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
