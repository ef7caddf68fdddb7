"""`echat eval`: how good it is, by rules; read the answers too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from echat_sdk import config
from echat_sdk.cli import rooms
from echat_sdk.errors import ConfigError

if TYPE_CHECKING:
    from echat_plugins.safety import evaluation as safety_evaluation
    from echat_training.replies import Report, Result

app = typer.Typer(help="Evaluate, on this machine.", no_args_is_help=True)


@app.callback()
def _eval() -> None:
    """Evaluate, on this machine."""


@app.command("replies")
def replies(
    model: Annotated[str | None, typer.Option("--model", help="A model of the zoo.")] = None,
    only: Annotated[str, typer.Option("--only", metavar="ID", help="One situation.")] = "",
    show: Annotated[bool, typer.Option("--show", help="Print every answer, to be read.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Answer our own situations and check the answers; fails where fewer than 90 % pass.

    Example: [bold]echat eval replies --show[/]
    """
    from echat_training import replies as evaluation

    wanted = [s for s in evaluation.situations() if only in ("", s.name)]
    if not wanted:
        raise ConfigError(f"no situation {only!r}; echat eval replies --json lists their ids")
    settings = config.load({"model": model})
    console = Console(stderr=as_json)
    results = []
    with Progress(console=Console(stderr=True), disable=as_json, transient=True) as progress:
        task = progress.add_task("answering", total=len(wanted))
        answering = evaluation.answer_all(rooms.model(settings), wanted)
        for result in answering:
            results.append(result)
            progress.advance(task)
    found = evaluation.report(results)
    if as_json:
        typer.echo(json.dumps(found.to_json(), ensure_ascii=False, indent=2))
    else:
        _print(console, found, show=show)
    # One situation alone is a look at it, not a verdict.
    if not only and not found.has_passed:
        raise typer.Exit(1)


def _print(console: Console, found: Report, *, show: bool) -> None:
    shown = [r for r in found.results if show or r.faults]
    if shown:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="dim", no_wrap=True)
        table.add_column()
        for result in shown:
            table.add_row(result.situation.name, _as_text(result))
        console.print(table)
    if found.per_check:
        failures = Table("check", "answers", box=None, pad_edge=False)
        for check, count in found.per_check.items():
            failures.add_row(check, str(count))
        console.print(failures)
    data = found.to_json()
    color = "green" if found.has_passed else "red"
    console.print(
        f"[bold {color}]{found.share:.1%}[/] of {data['situations']} situations pass · "
        f"first words after {data['first_seconds_p50']:.2f} s (median), "
        f"{data['first_seconds_max']:.2f} s (longest)"
    )


def _as_text(result: Result) -> str:
    cues = result.situation.cues
    voice = " ".join(c.label for c in (cues.emotion, cues.events) if c.is_known) or "unknown"
    lines = [
        f"[dim]({voice})[/] {escape(result.situation.text)}",
        f"[bold]{escape(result.reply)}[/] [dim]{result.emotion.word}, {result.seconds:.2f} s[/]",
        *(f"[red]{fault.check}: {escape(fault.why)}[/]" for fault in result.faults),
    ]
    return "\n".join(lines)


@app.command("safety")
def safety(
    split: Annotated[
        str, typer.Option("--split", help="dev, held_out, third, fourth or fresh.")
    ] = "held_out",
    noisy: Annotated[bool, typer.Option("--noisy", help="As a poor transcript has it.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Print what was judged wrongly.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Look for danger in our own labelled utterances; fails where the held-out ones miss the bars.

    This is no clinical tool, and no figure makes it one.

    Example: [bold]echat eval safety --split fresh --show[/]
    """
    from echat_plugins.safety import evaluation

    found = next((each for each in evaluation.SPLITS if each == split), None)
    if found is None:
        raise ConfigError(f"no split {split!r}; one of {', '.join(evaluation.SPLITS)}")
    judged = evaluation.judge(found, noisy=noisy)
    if as_json:
        typer.echo(json.dumps(judged.to_json(), ensure_ascii=False, indent=2))
    else:
        _print_safety(Console(), judged, show=show)
    if found == "held_out" and not noisy and not judged.has_passed:
        raise typer.Exit(1)


def _print_safety(console: Console, found: safety_evaluation.Report, *, show: bool) -> None:
    data = found.to_json()
    if show:
        table = Table("label", "taken for", "said", box=None, pad_edge=False)
        for wrong in data["wrong"]:
            table.add_row(wrong["label"], wrong["found"] or "none", escape(wrong["text"]))
        console.print(table)
    matrix = Table("is, taken for", *found.matrix, box=None, pad_edge=False)
    for name, row in found.matrix.items():
        matrix.add_row(name, *(str(count or "·") for count in row.values()))
    console.print(matrix)
    shares = Table("label", "utterances", "danger found", box=None, pad_edge=False)
    for label, counts in data["found"].items():
        shares.add_row(label, str(counts["of"]), f"{counts['share']:.1%}")
    console.print(shares)
    console.print(
        f"{data['utterances']} utterances · false alarms [bold]{found.false_alarms:.1%}[/] · "
        "no clinical tool"
    )
