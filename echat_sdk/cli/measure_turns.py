"""`echat bench turns`: end of turn and barge-in on clips with a known truth."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from echat_sdk import config
from echat_sdk.errors import ModelMissingError
from echat_sdk.turn import Lang
from echat_sdk.turn_policy import Preset, TurnPolicy

if TYPE_CHECKING:
    from echat_sdk.bench.turns import OverlapRow, TurnBench

_SET = {"tuned": "clips that were tuned on", "held-out": "clips never tuned on"}
_ECHO = {
    "off": "left in",
    "guard": "muted",
    "cancel": "cancelled",
    "suppress": "cancelled,\nno noise",
}


def turns(
    preset: Annotated[Preset, typer.Option("--policy", help="Whose delays are ours.")] = "normal",
    which: Annotated[
        Literal["tuned", "held-out"],
        typer.Option("--set", help="Clips on which our numbers were tuned, or never were."),
    ] = "held-out",
    lang: Annotated[
        Lang | None, typer.Option("--lang", help="Clips of one language; all that can be spoken.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    picture: Annotated[
        Path | None, typer.Option("--plot", dir_okay=False, help="Draw the trade-off: FILE.png.")
    ] = None,
) -> None:
    """Cut-offs, waiting and barge-ins, beside plain voice detection and Smart Turn alone.

    Example: [bold]echat bench turns --plot turns.png[/]
    """
    from echat_sdk.bench import turns as bench
    from echat_sdk.model.turn_end import open_turn_end
    from echat_sdk.model.zoo import find_file
    from echat_sdk.vad import SileroVAD

    turn_end = open_turn_end()
    if turn_end is None:
        raise ModelMissingError("Smart Turn is not here; get it: echat models pull smart-turn")
    if picture is not None:
        _can_draw()
    clips, langs = bench.SETS[which], (lang,) if lang else bench.languages()
    if clips.voices and "zh" not in bench.languages():
        raise ModelMissingError("these clips need more voices: echat models pull kokoro-82m")
    with Progress(console=Console(stderr=True), disable=as_json, transient=True) as progress:
        task = progress.add_task("opening models", total=None)
        threads = config.load().threads
        found = bench.run(
            bench.open_voice(threads=threads),
            clips,
            clips.plans(langs),
            vad=SileroVAD(find_file("silero-vad")),
            turn_end=turn_end,
            transcribe=bench.open_ears(threads=threads),
            policy=TurnPolicy.of(preset),
            step=lambda what, done, of: progress.update(
                task, description=what, completed=done, total=of
            ),
        )
    if picture is not None:
        from echat_sdk.bench.turn_plot import plot

        plot(found, picture)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
    else:
        _show(found)
    if "zh" not in langs and lang is None and not as_json:
        Console(stderr=True).print("Chinese clips need a voice: echat models pull kokoro-82m")


def _can_draw() -> None:
    """Say that there will be no picture before the clips are made, not after."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise ModelMissingError("--plot needs matplotlib; pip install 'echat-sdk[training]'")


def _show(found: TurnBench) -> None:
    from echat_sdk.bench.turn_runs import JUDGED_AFTER, READ_AFTER, TOLD_AFTER

    console = Console(highlight=False)
    for table in (_ends(found), _groups(found), _noises(found), _overlaps(found), _echoes(found)):
        console.print(table)
    for name, false in found.false_barge_ins.items():
        missed = found.missed_barge_ins[name]
        console.print(f"echo {_ECHO[name]}: false barge-ins {false:.0%}, missed {missed:.0%}")
    console.print(
        "Answer: from the end of speech until the turn has ended and its words are known. "
        f"Taken for granted: a judgement of Smart Turn comes {JUDGED_AFTER} s after it was asked "
        f"for, a transcript after {READ_AFTER} s; the words over the agent's voice, which are the "
        f"clip's own, after {TOLD_AFTER} s."
    )


def _ends(found: TurnBench) -> Table:
    table = Table(
        "end of turn",
        "cut off\n@300 ms",
        "cut off\n@600 ms",
        "delay\n@5 %",
        "cut off\nas set",
        "delay\np50",
        "delay\np95",
        "answer\np50",
        "never\nended",
        title=f"{_SET[found.set]}: {found.clips} turns, {found.pauses} pauses; delays in seconds",
    )
    for row in found.turns:
        table.add_row(
            row.system,
            f"{row.cutoffs_300:.0%}",
            f"{row.cutoffs_600:.0%}",
            "-" if row.latency_at_5 is None else f"{row.latency_at_5:.2f}",
            f"{row.cutoffs:.0%}",
            f"{row.median:.2f}",
            f"{row.p95:.2f}",
            f"{row.answer:.2f}",
            f"{row.unended:.0%}",
        )
    return table


def _groups(found: TurnBench) -> Table:
    names = list(found.turns[0].groups)
    table = Table("as set", *names, title="pauses cut off, median delay in seconds")
    for row in found.turns:
        cells = (f"{cut:4.0%} {late:.2f}" for cut, late in (row.groups[name] for name in names))
        table.add_row(row.system, *cells)
    return table


def _noises(found: TurnBench) -> Table:
    """One row a noise: how often a turn is ended too soon, or never, and the delay."""
    rows = {(row.noise, row.system): row for row in found.noise}
    names = list(dict.fromkeys(row.system for row in found.noise))
    table = Table(
        "speech above noise",
        *names,
        title="turns ended too soon · never ended, of all; median delay in seconds",
    )
    for noise in dict.fromkeys(row.noise for row in found.noise):
        those = (rows[noise, name] for name in names)
        cells = (f"{r.cut} · {r.unended} of {r.clips}  {r.median:.2f}" for r in those)
        table.add_row(noise, *cells)
    return table


def _echoes(found: TurnBench) -> Table:
    """One row a level: what each remedy takes out of the echo."""
    rows = {(row.level, row.echo): row for row in found.echoes}
    remedies = list(dict.fromkeys(row.echo for row in found.echoes))
    table = Table(
        "echo",
        *(_ECHO[name] for name in remedies),
        title="ERLE in dB after the first second: median (least)",
    )
    for level in dict.fromkeys(row.level for row in found.echoes):
        those = (rows[level, name] for name in remedies)
        table.add_row(f"{level} dB", *(f"{row.erle:.0f} ({row.least:.0f})" for row in those))
    return table


def _overlaps(found: TurnBench) -> Table:
    """One row a kind of sound; how often it stops the agent, by what is done about the echo."""
    remedies = list(found.false_barge_ins)
    table = Table(
        "over its voice",
        "is to",
        *(f"echo\n{_ECHO[name]}" for name in remedies),
        "silent\nafter",
        title="% of clips for which the agent stops (falls silent, if only for a moment)",
    )
    for what in dict.fromkeys(row.what for row in found.overlaps):
        rows = {row.echo: row for row in found.overlaps if row.what == what}
        best = rows[next(name for name in reversed(remedies) if name in rows)]
        late = best.silent_after if best.stops else None
        table.add_row(
            what,
            "stop" if best.stops else "go on",
            *(_stops(rows[name]) if name in rows else "" for name in remedies),
            "" if late is None else f"{late:.2f} s",
        )
    return table


def _stops(row: OverlapRow) -> str:
    return f"{100 * row.stopped:3.0f} ({100 * row.paused:.0f})"
