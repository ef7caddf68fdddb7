"""Answer one recording: python examples/hello.py examples/audio/sad.wav answer.wav.

Needs the default model: pip install "echat-sdk[lite]", then echat models pull echat-lite.
"""

import asyncio
import sys

from echat_memory import SQLMemory
from echat_sdk import Agent, load_model, read_audio, write_audio
from echat_sdk.consent import REMEMBERED


async def main(question: str, answer_path: str) -> None:
    """Hear `question`, print what was said and the reply, write the spoken answer."""
    model, memory = load_model("echat-lite"), SQLMemory("sqlite:///echat.db")
    memory.consent("ada", REMEMBERED)  # once she was asked; of a guest nothing is kept
    async with Agent(model, memory, user="ada") as agent:
        answer = await agent.answer(read_audio(question))
        print(answer.turn.transcript, "|", answer.turn.cues.emotion.label)  # noqa: T201
        print(answer.turn.reply, "|", answer.turn.reply_emotion.word)  # noqa: T201
        write_audio(answer_path, answer.speech, answer.sample_rate)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
