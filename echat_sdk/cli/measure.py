"""`echat bench`: how fast it is on this machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from echat_sdk import config
from echat_sdk.cli import (
    measure_loop,
    measure_memory,
    measure_model,
    measure_serve,
    measure_turns,
    rooms,
)
from echat_sdk.turn import Lang

if TYPE_CHECKING:
    from echat_sdk.bench.reply import ReplyBench

app = typer.Typer(help="Measure, on this machine.", no_args_is_help=True)
app.command("model")(measure_model.model)
app.command("encode")(measure_model.encode)
app.command("turns")(measure_turns.turns)
app.command("loop")(measure_loop.loop)
app.command("memory")(measure_memory.memory)
app.command("serve")(measure_serve.serve)

_WIDTH = 40


@app.callback()
def _bench() -> None:
    """Measure, on this machine."""


@app.command("reply")
def reply(
    model: Annotated[str | None, typer.Option("--model", help="A model of the zoo.")] = None,
    lang: Annotated[Lang, typer.Option("--lang", help="Language that is spoken.")] = "en",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Time the main path over 22 spoken utterances: a waterfall with p50 and p95.

    Example: [bold]echat bench reply --lang zh[/]
    """
    from echat_sdk.bench import reply as bench

    settings = config.load({"model": model, "lang": lang})
    with Progress(console=Console(stderr=True), disable=as_json, transient=True) as progress:
        task = progress.add_task("answering", total=None)
        found = bench.run(
            rooms.model(settings, lazy=False),
            threads=settings.threads,
            lang=lang,
            step=lambda done, of: progress.update(task, completed=done, total=of),
        )
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
    else:
        _show(found)


@app.command("talk")
def talk(
    model: Annotated[str | None, typer.Option("--model", help="A model of the zoo.")] = None,
    lang: Annotated[Lang, typer.Option("--lang", help="Language that is spoken.")] = "en",
    turns: Annotated[int, typer.Option("--turns", min=2, max=200)] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Time the live loop, voice to voice, in the sound itself; about ten seconds a turn.

    Example: [bold]echat bench talk --turns 30[/]
    """
    from echat_sdk.bench import talk as bench

    settings = config.load({"model": model, "lang": lang})
    with Progress(console=Console(stderr=True), disable=as_json, transient=True) as progress:
        task = progress.add_task("conversing", total=None)
        found = bench.run(
            rooms.model(settings, lazy=False),
            rooms.vad(settings),
            rooms.turn_end(settings),
            turns=turns,
            lang=lang,
            step=lambda done, of: progress.update(task, completed=done, total=of),
        )
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
        return
    table = Table("seconds", "p50", "p95", box=None)
    rows = (
        ("voice_to_voice", "voice to voice"),
        ("waited", "of it, the pause that ended the turn"),
        ("model", "the model alone, to its first sound"),
    )
    for name, title in rows:
        table.add_row(title, *(f"{found.percentile(name, q):.2f}" for q in (50, 95)))
    Console(highlight=False).print(table)
    typer.echo(f"{len(found.voice_to_voice)} answered, {found.unanswered} not, or too soon")


@app.command("hear")
def hear(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Time Whisper unpadded beside Whisper padded to 30 s: same weights, same run, a ratio.

    Example: [bold]echat bench hear[/]
    """
    from echat_sdk.audio import to_float
    from echat_sdk.bench import hear as bench
    from echat_sdk.bench.reply import SENTENCES, spoken
    from echat_sdk.model import zoo
    from echat_sdk.model.cascade.transcriber import Transcriber

    settings = config.load()
    voice = rooms.model(settings)
    utterances = [to_float(spoken(voice, words, emotion)) for words, emotion in SENTENCES["en"][:8]]
    ears = Transcriber(zoo.locate("whisper-base"), threads=settings.threads)
    found = bench.run(ears, utterances)
    typer.echo(json.dumps(asdict(found), indent=2) if as_json else found.line())


def _show(found: ReplyBench) -> None:
    from echat_sdk.bench.reply import STAGES

    console = Console(highlight=False)
    whole = found.percentile("done", 50)
    table = Table("stage", "", "p50", "p95", "adds", title="seconds after the end of the utterance")
    before = 0.0
    for stage in STAGES:
        at = found.percentile(stage, 50)
        start, end = (round(x / whole * _WIDTH) for x in (before, at))
        bar = (" " * start + "█" * max(1, end - start)).ljust(_WIDTH)
        late = found.percentile(stage, 95)
        table.add_row(stage, f"[blue]{bar}[/]", f"{at:.2f}", f"{late:.2f}", f"+{at - before:.2f}")
        before = at
    console.print(table)
    mean = sum(found.utterance_seconds) / len(found.utterance_seconds)
    rtf = sorted(found.answer_rtf)
    console.print(
        f"{len(rtf)} answers to utterances of {mean:.1f} s · real-time factor of the whole answer: "
        f"median {rtf[len(rtf) // 2]:.2f}, worst {rtf[-1]:.2f}\n"
        f"cold start {found.cold_start:.1f} s · import {found.import_seconds:.2f} s · "
        f"resident memory {found.resident_mb / 1000:.2f} GB"
    )
