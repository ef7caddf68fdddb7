"""The command that converses: through the microphone, or over files with the same loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from echat_sdk import config
from echat_sdk.cli import account, agreeing, keyboard
from echat_sdk.cli.agreeing import Recorded, RememberOption
from echat_sdk.cli.conversation import converse, kept
from echat_sdk.cli.event_json import event_as_json
from echat_sdk.cli.live_view import LiveView
from echat_sdk.cli.talk import JsonOption, LangOption, ModelOption, ThinkOption, UserOption
from echat_sdk.disclosure import configured
from echat_sdk.errors import ConfigError

if TYPE_CHECKING:
    from echat_memory import GuestMemory, SQLMemory
    from echat_sdk.agent.events import Event
    from echat_sdk.config import Settings
    from echat_sdk.io.echo import Kind as Echo
    from echat_sdk.io.echo import Noise
    from echat_sdk.protocols import AudioIO
    from echat_sdk.turn import Lang
    from echat_sdk.turn_policy import Preset

PolicyOption = Annotated[
    str, typer.Option("--policy", metavar="patient|normal|brisk|kiosk", help="How long it waits.")
]
NoiseOption = Annotated[
    str, typer.Option("--noise", metavar="keep|suppress", help="Whether steady noise is taken out.")
]
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
    patience: PolicyOption = "normal",
    greeting: Annotated[str, typer.Option("--greeting", help="What the agent says first.")] = "",
    microphone: Annotated[str | None, typer.Option("--mic", help="Part of its name.")] = None,
    speaker: Annotated[str | None, typer.Option("--speaker", help="Part of its name.")] = None,
    echo: Annotated[
        str,
        typer.Option(
            metavar="auto|cancel|guard|off", help="What is done about the agent's own voice."
        ),
    ] = "auto",
    noise: NoiseOption = "keep",
    record: Annotated[
        Path | None,
        typer.Option(help="Keep both sides in this new folder; asks for consent."),
    ] = None,
    remember: RememberOption = None,
    consent: Annotated[
        bool,
        typer.Option(
            "--consent",
            help="All who will be heard agree to be recorded; kept as the user's consent.",
        ),
    ] = False,
    types: Annotated[
        bool,
        typer.Option(
            "--type", help="Lines on standard input are turns, each taken when the agent listens."
        ),
    ] = False,
    list_devices: Annotated[bool, typer.Option("--devices", help="List them and end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Converse: speak, be answered, interrupt. Ctrl-C ends it; what was said is kept.

    At a terminal a line may be typed, too; it interrupts, as speech does.

    Example: [bold]echat talk --user ada[/]
    Example: [bold]echat talk --input question.wav --output answer.wav[/]
    Example: [bold]echat talk --record monday --consent[/]
    """
    if list_devices:
        _show_devices(as_json=as_json)
        return
    if (source is None) != (out is None):
        raise ConfigError("--input and --output go together: files, or microphone and speaker")
    settings = config.load({"user": user, "model": model, "think": think, "lang": lang})
    plan = _Plan(
        settings,
        policy_name(patience),
        _echo_kind(echo),
        noise_kind(noise),
        greeting,
        source,
        out,
        (microphone, speaker),
        record,
        None,
        types,
    )
    # Before the microphone is opened, and before anything else can be interrupted.
    with agreeing.memory(settings, remember, by_voice=True, may_ask=not as_json) as memory:
        if record is not None:
            plan = replace(plan, consent=agreeing.to_record(memory, settings.user, flag=consent))
        is_well = asyncio.run(_talk(plan, memory, as_json=as_json))
    if not is_well:
        raise typer.Exit(2)  # it was told among the events


@dataclass(frozen=True, slots=True)
class _Plan:
    """What was asked for."""

    settings: Settings
    policy: Preset
    echo: Echo
    noise: Noise
    greeting: str
    source: Path | None
    out: Path | None
    devices: tuple[str | None, str | None]
    record: Path | None
    consent: Recorded | None
    types: bool


async def _talk(plan: _Plan, memory: SQLMemory | GuestMemory, *, as_json: bool) -> bool:
    allowed = memory.allowed(plan.settings.user)
    settings = agreeing.heeding(plan.settings, allowed)
    lang: Lang = "zh" if settings.lang == "zh" else "en"
    told = configured(settings.disclosure, settings.deployment, lang, allowed)
    async with AsyncExitStack() as stack:
        audio, keep = await _recorded(stack, plan, await _open_audio(stack, plan))
        view = LiveView(audio, _title(plan), quiet=as_json)

        def tell(event: Event) -> None:
            if keep is not None:
                keep(event_as_json(event, settings.user))
            if as_json:
                account.write_json(event_as_json(event, settings.user), indent=None)
            else:
                view.show(event)

        lines = _typed_lines(plan, view, as_json=as_json)
        with view:
            is_well = await converse(
                settings,
                plan.policy,
                view.audio,
                memory,
                tell,
                f"{told} {plan.greeting}".strip(),
                quiet=as_json,
                typed=None if lines is None else kept(keyboard.typed_turns(lines), keep),
                takes_turns=plan.types,
            )
    if plan.record is not None and not as_json:
        account.say_where(plan.record)
    return is_well


def _title(plan: _Plan) -> str:
    """Who converses with what; and that it is recorded, which nobody shall overlook."""
    recorded = [] if plan.record is None else [f"recorded in {plan.record}"]
    title = " · ".join([plan.settings.user, plan.settings.model, *recorded])
    return account.printable(title)


def _typed_lines(plan: _Plan, view: LiveView, *, as_json: bool) -> AsyncIterator[str] | None:
    """Lines that may be typed: by hand at a terminal, by a program where that was asked for."""
    if plan.types:
        return keyboard.lines_of_pipe()
    if as_json or not keyboard.is_at_terminal():
        return None
    if view.is_drawn:
        return keyboard.lines_of_terminal(view.typing)
    return keyboard.lines_of_pipe()


async def _open_audio(stack: AsyncExitStack, plan: _Plan) -> AudioIO:
    from echat_sdk.io.echo import without_echo

    if plan.source is None or plan.out is None:
        from echat_sdk.io.local import LocalAudio

        microphone, speaker = plan.devices
        local = await stack.enter_async_context(LocalAudio(microphone=microphone, speaker=speaker))
        return without_echo(local, plan.echo, plan.noise)
    from echat_sdk.audio import frames
    from echat_sdk.io.timed import TimedAudio
    from echat_sdk.io.wav import check_writable, read_audio, write_audio

    out = plan.out
    check_writable(out)
    heard = read_audio(plan.source, max_seconds=600)
    audio = TimedAudio(frames(heard), tail=_TAIL)
    stack.callback(lambda: write_audio(out, audio.recording(), audio.output_rate))
    # In a recording there is no echo of an answer that has not been given.
    return without_echo(audio, "off" if plan.echo == "auto" else plan.echo, plan.noise)


async def _recorded(
    stack: AsyncExitStack, plan: _Plan, audio: AudioIO
) -> tuple[AudioIO, Callable[[dict[str, object]], None] | None]:
    """The audio, kept where that was asked for and agreed to, and where events are kept."""
    if plan.record is None or plan.consent is None:
        return audio, None
    from echat_sdk.io.echo import kind_of
    from echat_sdk.io.recorder import SessionRecorder
    from echat_sdk.io.session import SessionSettings

    settings = plan.settings
    recorder = await stack.enter_async_context(
        SessionRecorder(
            audio,
            plan.record,
            SessionSettings(
                started=datetime.now(UTC).isoformat(timespec="seconds"),
                consent=plan.consent,
                model=settings.model,
                lang=settings.lang,
                think=settings.think,
                policy=plan.policy,
                echo=kind_of(audio),
                noise=plan.noise,
                greeting=plan.greeting,
            ),
        )
    )
    return recorder, recorder.tell


def _echo_kind(name: str) -> Echo:
    from echat_sdk.io.echo import Kind

    if name not in get_args(Kind):
        raise ConfigError(f"no --echo {name!r}; one of {', '.join(get_args(Kind))}")
    kind: Echo = name  # type: ignore[assignment]
    return kind


def noise_kind(name: str) -> Noise:
    """What is done about noise, by its name, or a complaint that names all."""
    from echat_sdk.io.echo import Noise

    if name not in get_args(Noise):
        raise ConfigError(f"no --noise {name!r}; one of {', '.join(get_args(Noise))}")
    kind: Noise = name  # type: ignore[assignment]
    return kind


def policy_name(name: str) -> Preset:
    """A policy by its name, or a complaint that names all."""
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
