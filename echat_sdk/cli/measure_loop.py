"""`echat bench loop`: what the agent loop costs, beside pipecat's pipeline."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from echat_sdk import config

if TYPE_CHECKING:
    from echat_sdk.bench.loop import LoopBench


def loop(
    peer: Annotated[
        Path | None,
        typer.Option("--peer-python", help="A Python that has pipecat; ours alone without it."),
    ] = None,
    sessions: Annotated[
        int, typer.Option("--sessions", min=1, max=1000, help="Conversations at once.")
    ] = 10,
    repeats: Annotated[int, typer.Option("--repeats", min=1, max=50)] = 5,
    real: Annotated[
        bool,
        typer.Option(
            "--real-time", help="In real time, where a loop is also woken for each frame; slow."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Processor time for 20 ms of conversation with a scripted model, beside pipecat's pipeline.

    Example: [bold]echat bench loop --peer-python peer/bin/python[/]
    """
    from echat_sdk.bench import loop as bench

    with Progress(console=Console(stderr=True), disable=as_json, transient=True) as progress:
        task = progress.add_task("conversing", total=None)
        found = bench.run(
            bench.make_script(threads=config.load().threads),
            peer,
            sessions=sessions,
            repeats=repeats,
            time="real" if real else "virtual",
            step=lambda done, of: progress.update(task, completed=done, total=of),
        )
    if as_json:
        told = asdict(found)
        for shown, row in zip(told["rows"], found.rows, strict=True):
            shown |= {"median_ms": row.median_ms, "per_core": row.per_core}
        typer.echo(json.dumps(told, indent=2))
    else:
        _show(found)
    if peer is None:
        hint = f"beside pipecat: {bench.GET_PEER}\nthen: --peer-python peer/bin/python"
        Console(stderr=True, highlight=False).print(hint, soft_wrap=True)


def _show(found: LoopBench) -> None:
    console = Console(highlight=False)
    table = Table(
        title=f"{found.sessions} conversations of {found.seconds:.0f} s, {found.time} time",
        box=None,
    )
    table.add_column("processor time for 20 ms of one", no_wrap=True)
    for name in ("ms", "sessions\nper core", "turns", "interrup-\ntions"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in found.rows:
        counts = (str(row.turns), str(row.interruptions)) if row.turns else ("", "")
        table.add_row(row.name, f"{row.median_ms:.3f}", f"{row.per_core:.0f}", *counts)
    console.print(table)
    for name, ratios in found.ratios.items():
        console.print(
            f"{name}: pipecat takes {statistics.median(ratios):.1f} times as much as echat-sdk "
            f"({min(ratios):.1f} to {max(ratios):.1f})"
        )
    versions = dict.fromkeys((row.name.split(",")[0], row.version) for row in found.rows)
    told = [f"{name} {version}" for name, version in versions if name in ("echat-sdk", "pipecat")]
    console.print(", ".join(told))
