"""The composition root of the command line: settings in, a model, a memory and an agent out."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from echat_sdk.cli import account, agreeing
from echat_sdk.config import OF_A_PLUGIN
from echat_sdk.errors import ConfigError, UnsupportedError

if TYPE_CHECKING:
    from echat_sdk.agent import Agent
    from echat_sdk.agent.rights import Manner
    from echat_sdk.audio import Seconds
    from echat_sdk.config import Settings
    from echat_sdk.hooks import Plugins
    from echat_sdk.protocols import VAD, Memory, SpeechModel, TurnEnd

_ERASING: Seconds = 5.0  # that plugins have to erase somebody


def model(settings: Settings, *, lazy: bool = True) -> SpeechModel:
    """The model that the settings name; `lazy` where a command uses only some of its parts."""
    from echat_sdk.hooks import parts
    from echat_sdk.model import load_model
    from echat_sdk.model.options import NetworkOptions

    if settings.model.startswith(OF_A_PLUGIN):
        model: SpeechModel = parts.made("model", settings.model, _options(settings, settings.model))
        return model
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


def memory(settings: Settings) -> Memory:
    """The memory of a plugin that the settings name."""
    from echat_sdk.hooks import parts

    made: Memory = parts.made("memory", settings.store, _options(settings, settings.store))
    return made


def turn_end(settings: Settings) -> TurnEnd | None:
    """Smart Turn, if it was pulled; None where a conversation goes by its pauses alone."""
    from echat_sdk.model.turn_end import open_turn_end

    return open_turn_end(threads=1)


def manner(settings: Settings) -> Manner:
    """How somebody is told what is kept of them, where their day begins, what is told again."""
    from echat_sdk.agent.rights import Manner
    from echat_sdk.config import zone_of
    from echat_sdk.disclosure import configured

    shown = f"echat memory show {shlex.quote(settings.user)}"
    return Manner(
        zone=zone_of(settings.zone),
        shown=shown,
        disclosure=partial(configured, settings.disclosure, settings.deployment),
    )


@contextmanager
def plugins(settings: Settings) -> Iterator[Plugins]:
    """The plugins that were enabled; of those that cannot be used it is told why."""
    from echat_sdk.hooks.grants import Grants
    from echat_sdk.hooks.loading import load

    found, troubles = load(Grants(settings.home / "plugins.json"), settings.plugins)
    for trouble in troubles:
        account.complain(trouble)
    with closing(found):
        yield found


def fit(found: Plugins, model: SpeechModel) -> None:
    """Leave the tools of plugins away where the model can use none; it is told."""
    from echat_sdk.agent.tool_use import ToolUse

    try:
        ToolUse.of(found.tools, model)
    except (ConfigError, UnsupportedError) as error:
        account.complain(f"the tools of plugins are not offered: {error}")
        found.tools = ()


def tell_erased(settings: Settings, user: str, purpose: str = "") -> None:
    """Tell plugins that all of a user was erased; of a refused purpose, the one it is about."""
    with plugins(settings) as found:
        found.erase(user, purpose)
        asyncio.run(found.closed(_ERASING))
        for name, health in found.health.items():
            if health.why:
                account.complain(f"the plugin {name} may still keep something: {health.why}")


def vad(settings: Settings) -> VAD:
    """What tells speech: a plugin's, Silero as it was pulled, else what is installed."""
    from echat_sdk.hooks import parts
    from echat_sdk.model import zoo
    from echat_sdk.vad import open_vad

    if settings.vad:
        made: VAD = parts.made("vad", settings.vad, _options(settings, settings.vad))
        return made
    return open_vad(silero=zoo.find_file("silero-vad"))


def _options(settings: Settings, name: str) -> Mapping[str, Any]:
    """Of a part that a plugin brings."""
    return settings.plugins.get(name.removeprefix(OF_A_PLUGIN), {})


@contextmanager
def agent(
    settings: Settings,
    *,
    speak: bool = True,
    remember: bool | None = None,
    may_ask: bool = False,
) -> Iterator[Agent]:
    """An agent with the model and the memory that the settings name; closed in the right order.

    Args:
        settings: What was configured.
        speak: Whether the user is heard and answered aloud; else both write.
        remember: What `--remember` or `--guest` said.
        may_ask: Whether the user may be asked on the terminal what may be kept of them.

    Raises:
        ConsentError: they are to be heard and did not agree to it.
    """
    from echat_sdk.agent import Agent

    # The store first: it opens in milliseconds, so one that cannot be used is told at once.
    with (
        agreeing.memory(settings, remember, by_voice=speak, may_ask=may_ask) as memory,
        plugins(settings) as company,
    ):
        settings = agreeing.heeding(settings, memory.allowed(settings.user))
        with account.working("waking up", quiet=not (may_ask and speak)):
            opened = model(settings, lazy=not speak)
        fit(company, opened)
        agent = Agent(
            opened,
            memory,
            user=settings.user,
            think=settings.think,
            lang=settings.lang,
            speak=speak,
            manner=manner(settings),
            plugins=company,
        )
        with closing(agent):
            yield agent
