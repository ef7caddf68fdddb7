"""`echat bench turns`: end of turn and barge-in on clips with a known truth."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from echat_sdk import config
from echat_sdk.errors import ModelMissingError
from echat_sdk.turn import Lang
from echat_sdk.turn_policy import Preset, TurnPolicy

if TYPE_CHECKING:
    from echat_sdk.bench.turns import TurnBench, TurnRow


def turns(
    preset: Annotated[Preset, typer.Option("--policy", help="Whose delays are ours.")] = "normal",
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
    from echat_sdk.bench import turn_scripts
    from echat_sdk.bench import turns as bench
    from echat_sdk.model.turn_end import open_turn_end
    from echat_sdk.vad import open_vad

    turn_end = open_turn_end()
    if turn_end is None:
        raise ModelMissingError("Smart Turn is not here; get it: echat models pull smart-turn")
    if picture is not None:
        _can_draw()
    langs = (lang,) if lang else bench.languages()
    with Progress(console=Console(stderr=True), disable=as_json, transient=True) as progress:
        task = progress.add_task("making clips and listening", total=None)
        found = bench.run(
            bench.open_voice(threads=config.load().threads),
            turn_scripts.plans(langs),
            vad=open_vad("silero"),
            turn_end=turn_end,
            policy=TurnPolicy.of(preset),
            step=lambda done, of: progress.update(task, completed=done, total=of),
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
    console = Console(highlight=False)
    console.print(_ends(found))
    console.print(_groups(found))
    console.print(_overlaps(found))
    console.print(
        f"false barge-ins {found.false_barge_ins:.0%} · missed {found.missed_barge_ins:.0%} · "
        "the words over the agent's voice are the clip's own, known after 0.4 s"
    )


def _ends(found: TurnBench) -> Table:
    table = Table(
        "",
        "cut-offs\n@300 ms",
        "cut-offs\n@600 ms",
        "mean delay\n@5 %",
        "as set:\ncut-offs",
        "delay\np50",
        "delay\np95",
        "never\nended",
        title=f"end of turn: {found.clips} clips, {found.pauses} pauses",
    )
    for row in found.turns:
        at_5 = "-" if row.latency_at_5 is None else f"{row.latency_at_5:.2f} s"
        table.add_row(
            row.system,
            f"{row.cutoffs_300:.1%}",
            f"{row.cutoffs_600:.1%}",
            at_5,
            f"{row.cutoffs:.1%}",
            f"{row.median:.2f} s",
            f"{row.p95:.2f} s",
            f"{row.unended:.1%}",
        )
    return table


def _groups(found: TurnBench) -> Table:
    names = list(found.turns[0].groups)
    table = Table("", *names, title="as set: pauses cut off, median delay")
    for row in found.turns:
        table.add_row(row.system, *(_cell(row, name) for name in names))
    return table


def _cell(row: TurnRow, name: str) -> str:
    found = next(value for group, value in row.groups.items() if group == name)
    return f"{found[0]:.0%}  {found[1]:.2f} s"


def _overlaps(found: TurnBench) -> Table:
    table = Table(
        "over the agent's voice", "clips", "paused", "stopped", "right", "silent after (p50)"
    )
    for row in found.overlaps:
        late = "" if row.silent_after is None else f"{row.silent_after:.2f} s"
        right = row.stopped if row.stops else 1 - row.stopped
        table.add_row(
            row.what,
            str(row.clips),
            f"{row.paused:.0%}",
            f"{row.stopped:.0%}",
            f"{right:.0%}",
            late,
        )
    return table
