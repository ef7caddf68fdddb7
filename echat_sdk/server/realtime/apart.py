"""Responses that belong to no conversation: asked for, answered, and nothing of them is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing

from echat_sdk.agent.reply import translated
from echat_sdk.bridge import Worker
from echat_sdk.cues import Cues
from echat_sdk.errors import EChatError
from echat_sdk.protocols import SpeechModel
from echat_sdk.server.realtime.items import Item
from echat_sdk.server.realtime.writer import ResponseWriter
from echat_sdk.turn import LangChoice, Recollection, SpeechDelta, TextDelta, ThinkStyle, Turn

MOST = 4
"""At once, in one session."""


async def answer(
    model: SpeechModel,
    mind: Worker,
    items: Sequence[Item],
    writer: ResponseWriter,
    *,
    speaks: bool,
    voice: str | None,
    think: ThinkStyle,
    lang: LangChoice,
    fail: Callable[[EChatError], None],
) -> None:
    """Answer the last thing that a user says in these items, knowing those before it.

    Args:
        model: Answers.
        mind: A thread of its own.
        items: What is to be known.
        writer: Tells it.
        speaks: Whether it is spoken.
        voice: Whose voice; None for the model's own.
        think: Form of the thought.
        lang: Language that is spoken.
        fail: Takes what goes wrong.
    """
    turns = turns_of(items)
    words = next((item.text for item in reversed(items) if item.role == "user"), "")
    deltas = mind.iterate(
        lambda: model.read(words, Cues(), lang=lang).reply(
            Recollection(turns=turns), think=think, speak=speaks, voice=voice
        )
    )
    try:
        async with aclosing(deltas):
            async for delta in deltas:
                if isinstance(delta, TextDelta):
                    writer.text(delta.text)
                elif isinstance(delta, SpeechDelta):
                    writer.speech(delta)
    except Exception as raised:  # noqa: BLE001 - a model's code is a stranger's
        error = translated(raised)
        fail(error)
        told = {"type": "server_error", "code": type(error).__name__, "message": str(error)}
        writer.done("failed", error=told)
    else:
        writer.done()
    finally:
        writer.done("cancelled", "client_cancelled")


def turns_of(items: Sequence[Item]) -> tuple[Turn, ...]:
    """Items as turns: what a user said, and what was answered to it. The last word is left out."""
    turns: list[Turn] = []
    said = ""
    for item in items:
        if item.role == "user":
            if said:
                turns.append(Turn(said))
            said = item.text
        elif item.role == "assistant" and item.text:
            turns.append(Turn(said, reply=item.text))
            said = ""
    return tuple(turns)
