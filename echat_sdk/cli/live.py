"""The command that converses: through the microphone, or over files with the same loop."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echat_sdk import config
from echat_sdk.cli import account, rooms
from echat_sdk.cli.live_view import LiveView, event_as_json
from echat_sdk.cli.talk import JsonOption, LangOption, ModelOption, ThinkOption, UserOption
from echat_sdk.errors import ConfigError

if TYPE_CHECKING:
    from echat_sdk.config import Settings
    from echat_sdk.protocols import AudioIO
    from echat_sdk.turn_policy import Preset

_TAIL = 6.0  # seconds after the end of a file, or of the last answer, until the conversation ends


def talk(
    source: Annotated[
        Path | None, typer.Option("--input", help="A recording in place of the microphone.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--output", help="WAV of the agent's side, in place of the speaker."),
    ] = None,
    user: UserOption = None,
    model: ModelOption = None,
    think: ThinkOption = None,
    lang: LangOption = None,
    patience: Annotated[
        str,
        typer.Option("--policy", metavar="patient|normal|brisk|kiosk", help="How long it waits."),
    ] = "normal",
    greeting: Annotated[str, typer.Option("--greeting", help="What the agent says first.")] = "",
    microphone: Annotated[str | None, typer.Option("--mic", help="Part of its name.")] = None,
    speaker: Annotated[str | None, typer.Option("--speaker", help="Part of its name.")] = None,
    list_devices: Annotated[bool, typer.Option("--devices", help="List them and end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Converse: speak, be answered, interrupt. Ctrl-C ends it; what was said is kept.

    Example: [bold]echat talk --user ada[/]
    Example: [bold]echat talk --input question.wav --output answer.wav[/]
    """
    if list_devices:
        _show_devices(as_json=as_json)
        return
    if (source is None) != (out is None):
        raise ConfigError("--input and --output go together: files, or microphone and speaker")
    settings = config.load({"user": user, "model": model, "think": think, "lang": lang})
    asyncio.run(
        _converse(
            settings,
            _policy_name(patience),
            source=source,
            out=out,
            greeting=greeting,
            devices=(microphone, speaker),
            as_json=as_json,
        )
    )


async def _converse(
    settings: Settings,
    policy: Preset,
    *,
    source: Path | None,
    out: Path | None,
    greeting: str,
    devices: tuple[str | None, str | None],
    as_json: bool,
) -> None:
    from echat_memory import SQLMemory
    from echat_sdk.agent import Agent
    from echat_sdk.turn_policy import TurnPolicy
    from echat_sdk.vad import open_vad

    async with AsyncExitStack() as stack:
        audio = await _open_audio(stack, settings, source, out, devices)
        view = LiveView(audio, quiet=as_json)
        memory = stack.enter_context(closing(SQLMemory(settings.store)))
        with account.working("waking up", quiet=as_json):
            model = rooms.model(settings, lazy=False)
            turn_end = rooms.turn_end(settings)
        agent = await stack.enter_async_context(
            Agent(
                model,
                memory,
                user=settings.user,
                think=settings.think,
                lang=settings.lang,
                audio=view.audio,
                vad=open_vad(),
                turn_end=turn_end,
                policy=TurnPolicy.of(policy),
                greeting=greeting,
            )
        )
        with view:
            async for event in agent.events():
                if as_json:
                    account.write_json(event_as_json(event, settings.user), indent=None)
                else:
                    view.show(event)


async def _open_audio(
    stack: AsyncExitStack,
    settings: Settings,
    source: Path | None,
    out: Path | None,
    devices: tuple[str | None, str | None],
) -> AudioIO:
    if source is None or out is None:
        from echat_sdk.io.local import LocalAudio

        microphone, speaker = devices
        return await stack.enter_async_context(LocalAudio(microphone=microphone, speaker=speaker))
    from echat_sdk.audio import frames
    from echat_sdk.io.timed import TimedAudio
    from echat_sdk.io.wav import check_writable, read_audio, write_audio

    check_writable(out)
    heard = read_audio(source, max_seconds=600)
    audio = TimedAudio(frames(heard), tail=_TAIL)
    stack.callback(lambda: write_audio(out, audio.recording(), audio.output_rate))
    return audio


def _policy_name(name: str) -> Preset:
    from echat_sdk.turn_policy import PRESETS

    if name not in PRESETS:
        raise ConfigError(f"no policy {name!r}; one of {', '.join(PRESETS)}")
    return name


def _show_devices(*, as_json: bool) -> None:
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from echat_sdk.io.portaudio import devices

    found = devices()
    if as_json:
        account.write_json([asdict(each) for each in found])
        return
    table = Table("", "device", "hears", "plays", "rate", box=None)
    for each in found:
        hears, plays = ("yes" if n else "" for n in (each.inputs, each.outputs))
        table.add_row(str(each.index), account.printable(each.name), hears, plays, f"{each.rate:,}")
    Console(highlight=False).print(table if found else "no sound device")
