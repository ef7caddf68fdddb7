"""`echat bench memory`: memory on the turn path, beside aiosqlite and asyncpg."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

if TYPE_CHECKING:
    from echat_memory.bench.run import MemoryBench, Ratio


def memory(
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="URL",
            help="An empty PostgreSQL database, which is left full; SQLite without it.",
        ),
    ] = None,
    turns: Annotated[
        list[int], typer.Option("--turns", min=100, max=1_000_000, help="In the store; repeatable.")
    ] = [10_000, 100_000],  # noqa: B006 - typer reads it
    sessions: Annotated[
        list[int], typer.Option("--sessions", min=1, max=1000, help="Users at once; repeatable.")
    ] = [1, 50, 500],  # noqa: B006 - typer reads it
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=100)] = 8,
    encrypt: Annotated[
        Literal["fields"] | None,
        typer.Option("--encrypt", help="Measure ours with encrypted fields, too; SQLite only."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Time recall and remember as an agent calls them, beside the same work done by hand.

    The peer is aiosqlite for SQLite and asyncpg for PostgreSQL, where it is installed.

    Example: [bold]echat bench memory --turns 10000 --sessions 1[/]
    """
    from echat_memory.bench import run as bench

    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    with Progress(
        *columns, console=Console(stderr=True), disable=as_json, transient=True
    ) as progress:
        task = progress.add_task("beginning", total=None)
        found = bench.run(
            store,
            turns=turns,
            sessions=sessions,
            rounds=rounds,
            encrypt=encrypt is not None,
            step=lambda doing: progress.update(task, description=doing),
        )
    if as_json:
        typer.echo(json.dumps(_told(found), indent=2))
    else:
        _show(found)
    if not found.peer:
        Console(stderr=True, highlight=False, markup=False).print(
            f"beside aiosqlite and asyncpg: {bench.GET_PEER}", soft_wrap=True
        )


def _notes(found: MemoryBench) -> dict[str, str]:
    from echat_memory.bench import peers, talking

    notes = {
        "who talks": f"sessions at once: each takes a turn every {talking.EVERY:.0f} s, but 20 "
        f"turns a second are begun at least; they speak for {talking.SPEAKING:.0f} s. One alone "
        "takes turn after turn without a pause",
        "what is timed": "each call as the event loop sees it, with the way to the memory's thread "
        "and back, and what it waits for others; ours makes ready at the beginning of speech what "
        "the peer reads at its end, which is the row `prefetch`",
        "cpu": "processor time of the process, the median; where several talk, nobody knows whose",
        "ours": "promises more: see memory/README.md",
    }
    if found.peer:
        notes |= {
            f"{found.peer} reads": peers.READ,
            f"{found.peer} writes": peers.WRITTEN,
            f"{found.peer} leaves out": peers.NOT_DONE,
        }
    return notes


def _told(found: MemoryBench) -> dict[str, object]:
    told = asdict(found)
    for shown, ratio in zip(told["ratios"], found.ratios, strict=True):
        shown["median"] = ratio.median
    return told | {"notes": _notes(found)}


def _span(ratio: Ratio | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio.median:.1f} ({min(ratio.medians):.1f}-{max(ratio.medians):.1f})"


def _show(found: MemoryBench) -> None:
    console = Console(highlight=False)
    ratios = {(r.turns, r.sessions, r.of_user, r.step, r.side): r for r in found.ratios}
    for (turns, sessions, of_user), rows in groupby(
        found.rows, lambda row: (row.turns, row.sessions, row.of_user)
    ):
        who = f"one with {of_user:,} talks" if of_user else f"{sessions} at once"
        table = Table(
            title=f"{found.database}, {turns:,} turns, {who}: milliseconds",
            box=None,
            title_justify="left",
        )
        for name in ("step", "whose"):
            table.add_column(name, no_wrap=True)
        for name in ("p50", "p95", "cpu", "n", "peer by ours", "cpu"):
            table.add_column(name, justify="right", no_wrap=True)
        for row in rows:
            ratio = ratios.get((turns, sessions, of_user, row.step, row.side))
            table.add_row(
                row.step,
                row.side.split(",")[-1].strip().split(" ")[0],
                f"{row.p50:.2f}",
                f"{row.p95:.2f}",
                "" if row.cpu is None else f"{row.cpu:.2f}",
                str(row.n),
                _span(ratio),
                "" if ratio is None or ratio.cpu is None else f"{ratio.cpu:.1f}",
            )
        console.print(table)
    parts = Table(title="ours, called alone, milliseconds", box=None)
    for name in ("turns", "what", "p50", "p95"):
        parts.add_column(name, justify="left" if name == "what" else "right")
    for part in found.parts:
        parts.add_row(f"{part.turns:,}", part.name, f"{part.p50:.3f}", f"{part.p95:.3f}")
    console.print(parts)
    console.print(f"a turn that is searched takes {found.search_bytes:.0f} bytes of RAM")
    for name, note in _notes(found).items():
        console.print(f"{name}: {note}", soft_wrap=True)
    console.print(f"{found.machine}; {found.rounds} rounds of each side, in turn")
