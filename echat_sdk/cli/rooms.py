"""The composition root of the command line: settings in, a model, a memory and an agent out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from echat_sdk.cli import memory_keys

if TYPE_CHECKING:
    from echat_sdk.agent import Agent
    from echat_sdk.config import Settings
    from echat_sdk.protocols import SpeechModel, TurnEnd


def model(settings: Settings, *, lazy: bool = True) -> SpeechModel:
    """The model that the settings name; `lazy` where a command uses only some of its parts."""
    from echat_sdk.model import load_model
    from echat_sdk.model.options import NetworkOptions

    return load_model(
        settings.model,
        threads=settings.threads,
        voice=settings.voice,
        infer_emotion=settings.infer_emotion,
        infer_gender=settings.infer_gender,
        lang=settings.lang,
        lazy=lazy,
        options=NetworkOptions(
            hearing=settings.hearing,
            flow_steps=settings.flow_steps,
            vllm_url=settings.vllm_url,
            vllm_model=settings.vllm_model,
            vllm_allow_plain=settings.vllm_allow_plain,
        ),
    )


def turn_end(settings: Settings) -> TurnEnd | None:
    """Smart Turn, if it was pulled; None where a conversation goes by its pauses alone."""
    from echat_sdk.model.turn_end import open_turn_end

    return open_turn_end(threads=1)


@contextmanager
def agent(settings: Settings, *, speak: bool = True) -> Iterator[Agent]:
    """An agent with the model and the memory that the settings name; closed in the right order."""
    from echat_memory import SQLMemory
    from echat_sdk.agent import Agent

    # The store first: it opens in milliseconds, so one that cannot be used is told at once.
    encryption = memory_keys.encryption(settings)
    with closing(SQLMemory(settings.store, encryption=encryption)) as memory:
        agent = Agent(
            model(settings, lazy=not speak),
            memory,
            user=settings.user,
            think=settings.think,
            lang=settings.lang,
            speak=speak,
        )
        with closing(agent):
            yield agent
