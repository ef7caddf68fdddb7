"""A clock and a kitchen timer as tools: python examples/tools.py "Set a timer for an hour".

A plugin is any object with a method `tools`. Its functions are ordinary ones; the model decides
from the examples which of them somebody asks for, and says what it returns.
"""

import asyncio
import sys
from collections.abc import Sequence
from datetime import datetime

from echat_memory import SQLMemory
from echat_sdk import Agent, load_model
from echat_sdk.consent import REMEMBERED
from echat_sdk.tools import Tool, tool


@tool(examples={"What time is it?": {}, "Could you tell me the time?": {}}, looks_only=True)
def clock() -> str:
    """The time of day now."""
    return f"It is {datetime.now():%H:%M}."


@tool(
    examples={
        "Set a timer for ten minutes.": {"minutes": 10},
        "Wake me in an hour.": {"minutes": 60},
    }
)
async def set_timer(minutes: float) -> str:
    """Set a timer that rings after some minutes."""
    return f"Your timer is set for {minutes:g} minutes."


class Kitchen:
    """A plugin of two tools."""

    def tools(self) -> Sequence[Tool]:
        """Offered to the model."""
        return clock, set_timer


async def main(*said: str) -> None:
    """Answer each sentence as if it had been spoken."""
    model, memory = load_model("echat-lite"), SQLMemory("sqlite:///echat.db")
    memory.consent("ada", REMEMBERED)  # once she was asked; of a guest nothing is kept
    async with Agent(model, memory, user="ada", speak=False, plugins=[Kitchen()]) as agent:
        for words in said:
            answer = await agent.answer_text(words)
            print(answer.turn.transcript, "|", answer.turn.reply)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(*(sys.argv[1:] or ["What time is it?", "I had a really long day."])))
