"""`echat bench serve`: what a server carries, and what it adds."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from echat_sdk.cli.serve import need_server

if TYPE_CHECKING:
    from echat_sdk.bench.serve import ServeBench


def serve(
    sessions: Annotated[int, typer.Option("--sessions", min=1, max=500, help="At once.")] = 50,
    seconds: Annotated[
        int, typer.Option("--seconds", min=24, max=86400, help="How long each of them talks.")
    ] = 60,
    frame: Annotated[int, typer.Option("--frame", min=10, max=100, help="ms of an event.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Live sessions with a scripted model over loopback: how late, how much lost, how much added.

    Example: [bold]echat bench serve --sessions 50 --seconds 600[/]
    """
    need_server()
    from echat_sdk.bench import serve as bench

    with Progress(console=Console(stderr=True), disable=as_json, transient=True) as progress:
        task = progress.add_task("serving", total=None)
        found = bench.run(
            sessions=sessions,
            seconds=seconds,
            frame_ms=frame,
            step=lambda what: progress.update(task, description=what),
        )
    if as_json:
        typer.echo(json.dumps({**asdict(found), "added_ms": found.added_ms}, indent=2))
    else:
        _show(found)


def _show(found: ServeBench) -> None:
    console = Console(highlight=False)
    table = Table("ms", "p50", "p99", "worst", box=None)
    rows = (
        ("a frame of a session is taken", found.taken_ms),
        ("of it, the clients' own lateness", found.client_ms),
        ("the server's event loop is late", found.lag_ms),
    )
    for title, figures in rows:
        table.add_row(title, *(f"{figure:.1f}" for figure in figures))
    console.print(table)
    console.print(
        f"{found.sessions} sessions of {found.seconds:.0f} s, frames of {found.frame_ms} ms: "
        f"{found.dropped} of {found.sent} frames (20 ms) dropped, "
        f"{found.answered} of {found.asked} questions answered, {found.lost} sessions lost, "
        f"{found.errors} errors; one session more was refused with {found.refused}"
    )
    if found.grown_mb is not None and found.resident_mb is not None:
        console.print(f"memory {found.resident_mb:.0f} MB, grown by {found.grown_mb:.1f} MB")
    console.print(
        f"processor {found.cpu_ms:.2f} ms for 20 ms of one session\n"
        f"first sound after a question: {found.alone_ms[0]:.0f} ms without a server (p50), "
        f"{found.served_ms[1]:.0f} ms with one (p95): it adds {found.added_ms:.0f} ms"
    )
