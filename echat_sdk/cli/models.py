"""`echat models`: list, info, pull, verify and path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars
from rich.table import Column, Table

from echat_sdk.cli.account import write_json
from echat_sdk.errors import EChatError
from echat_sdk.model import DEFAULT_MODEL, checkpoint_folder, local_checkpoints, zoo
from echat_sdk.model.cache import size_text
from echat_sdk.model.fetch import File
from echat_sdk.model.manifest import Card
from echat_sdk.model.pull import Progress

app = typer.Typer(
    help="The models that can be used, and their weights.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A model, or one of its parts.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout, and nothing else.")]

# Without a terminal a file is told of at its start, and a large one (bytes) at every quarter.
_PLAIN_STEPS = 4
_PLAIN_LARGE = 10_000_000


@app.command("list")
def list_models(as_json: JsonOption = False) -> None:
    """List the models: what they can do, how large they are, which are here.

    Example: [bold]echat models list[/]
    """
    if as_json:
        write_json([_card_json(card) for card in zoo.cards()])
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("languages")
    table.add_column("tasks")
    table.add_column("here", no_wrap=True)
    for card in zoo.cards():
        table.add_row(
            card.name,
            _size(card.size),
            " ".join(card.languages),
            " ".join(card.tasks),
            _state(card),
        )
    known = {card.name for card in zoo.cards()}
    for name in (name for name in local_checkpoints() if name not in known):
        table.add_row(name, "", "", "", "yes (made here)")
    console = Console(highlight=False)
    console.print(table)
    console.print(f"\nParts, pulled one by one if you like: {', '.join(zoo.PARTS)}")


@app.command()
def info(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model.")] = DEFAULT_MODEL,
    as_json: JsonOption = False,
) -> None:
    """Show what a model can do, its licence, its parts and where they come from.

    Example: [bold]echat models info echat-lite[/]
    """
    card = zoo.card(name)
    if as_json:
        files = {
            part: asdict(zoo.PARTS[part])["files"]
            for part in card.parts + card.voices + card.release
        }
        write_json({**_card_json(card), "files": files})
        return
    console = Console(highlight=False)
    table = Table.grid(padding=(0, 2))
    table.add_row("languages", ", ".join(card.languages))
    table.add_row("tasks", ", ".join(card.tasks))
    table.add_row("licence", card.licence)
    table.add_row("size", _size(card.size))
    table.add_row("here", _state(card))
    console.print(f"[bold]{card.name}[/]  {escape(card.summary)}")
    console.print(table)
    if card.release:
        console.print(f"To get it: echat models pull {card.name} --allow-pickle")
        console.print(f"With its released file at hand: echat models convert FILE {card.name}")
    for part in card.parts + card.voices + card.release:
        optional = "  (optional: --voices)" if part in card.voices else ""
        console.print(f"\n[bold]{part}[/]  {zoo.PARTS[part].licence}{optional}")
        for file in zoo.PARTS[part].files:
            console.print(f"  {file.name}  {_pin(file)}")
        for source in zoo.PARTS[part].files[0].sources:
            console.print(f"  from {source}", style="dim", soft_wrap=True)


@app.command()
def pull(
    name: Name = DEFAULT_MODEL,
    voices: Annotated[
        bool, typer.Option("--voices", help="Also the model's optional voices.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--from", help="A local folder to look into first.")
    ] = None,
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle",
            help="Open a released pickle, in a child process that may load tensors and no more.",
        ),
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the released files after they are converted.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Take what the hub has now, if its release changed.")
    ] = False,
) -> None:
    """Fetch a model's weights and verify them; go on where a pull was interrupted; mend.

    What others released is converted as it comes, into a checkpoint of the model's name.

    Example: [bold]echat models pull echat-lite --voices[/]
    """
    console = Console(stderr=True, highlight=False)
    try:
        with _progress(console) as tell:
            report = zoo.pull(
                name,
                voices=voices,
                folder=folder,
                allow_pickle=allow_pickle,
                keep=keep,
                update=update,
                progress=tell,
            )
    except KeyboardInterrupt:
        consent = " --allow-pickle" * allow_pickle
        raise KeyboardInterrupt(
            f"interrupted; what was fetched is kept: echat models pull {name}{consent} goes on"
        ) from None
    if not report.fetched and not report.converted:
        console.print(f"{name} is here and whole: {report.home}")
        return
    size = size_text(sum(file.size for file in report.fetched))
    done = f"{size} fetched and verified" if report.fetched else "converted"
    if report.fetched and name in report.converted:
        done += ", then converted"
    for note in report.notes:
        console.print(f"note: {escape(note)}", soft_wrap=True)
    console.print(f"{name} is here: {done} in {report.seconds:.0f} s, in {report.home}")


@app.command()
def verify(name: Name = DEFAULT_MODEL, as_json: JsonOption = False) -> None:
    """Read every file again and compare its sha256; exit code 3 if one is damaged or missing.

    Example: [bold]echat models verify echat-lite[/]
    """
    console = Console(stderr=True, highlight=False)
    with _progress(console) as tell:
        problems = zoo.verify(name, progress=tell)
    if as_json:
        found = [asdict(problem) for problem in problems]
        write_json({"name": name, "whole": not problems, "problems": found})
    elif problems:
        for problem in problems:
            console.print(f"[red]{escape(str(problem))}[/]", soft_wrap=True)
        consent = " --allow-pickle" * (name in zoo.MODELS and bool(zoo.card(name).release))
        console.print(f"To mend it, run: echat models pull {name}{consent}")
    else:
        Console(highlight=False).print(f"{name} is here and whole")
    if problems:
        raise typer.Exit(3)


@app.command()
def path(name: Name = DEFAULT_MODEL, as_json: JsonOption = False) -> None:
    """Print the directory that each part is loaded from, or the converted checkpoint.

    Example: [bold]echat models path whisper-base[/]
    """
    if name in zoo.MODELS and zoo.card(name).release:
        places = {name: str(zoo.checkpoint(name))}
    else:
        parts = (name,) if name in zoo.PARTS else zoo.card(name).parts
        places = {part: str(zoo.locate(part)) for part in parts}
    if as_json:
        write_json(places)
    else:
        for place in places.values():
            typer.echo(place)


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Bars on a terminal; elsewhere, such as in a log, a few plain lines."""
    if not console.is_terminal:
        yield _plain(console)
        return
    columns = (
        TextColumn("{task.description}", table_column=Column(max_width=34, no_wrap=True)),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    tasks: dict[tuple[str, str], TaskID] = {}
    with Bars(*columns, console=console) as bars:

        def tell(progress: Progress) -> None:
            key = (progress.part, progress.file)
            label = "/".join(filter(None, key))
            if not progress.total:  # something that takes a while, nobody knows how long
                bars.console.print(f"{label}: {progress.note}")
                return
            if key not in tasks:
                tasks[key] = bars.add_task(label, total=progress.total, note="")
            bars.update(tasks[key], completed=progress.done, note=progress.note)

        yield tell


def _plain(console: Console) -> Callable[[Progress], None]:
    told: set[tuple[str, str, int]] = set()

    def tell(progress: Progress) -> None:
        large = progress.total >= _PLAIN_LARGE
        step = _PLAIN_STEPS * progress.done // progress.total if large else 0
        key = (progress.part, progress.file, step)
        if key not in told and progress.note != "verifying":
            told.add(key)
            label = "/".join(filter(None, key[:2]))
            sizes = f"{size_text(progress.done)} of {size_text(progress.total)}, "
            console.print(f"{label}: {sizes * large}{progress.note}", soft_wrap=True)

    return tell


def _state(card: Card) -> str:
    if checkpoint_folder(card.name):
        return "yes"
    if card.release:
        return "no"
    missing = [part for part in card.parts if not _is_here(part)]
    if not missing:
        return "yes"
    return "no" if len(missing) == len(card.parts) else f"without {', '.join(missing)}"


def _is_here(part: str) -> bool:
    try:
        zoo.locate(part)
    except EChatError:
        return False
    return True


def _pin(file: File) -> str:
    if file.sha256:
        return f"{size_text(file.size)}  sha256 {file.sha256[:12]}..."
    about = f"about {size_text(file.size)}  " if file.size else ""
    return f"{about}sha256 as the hub has it at the first pull"


def _size(size: int) -> str:
    return size_text(size) if size else "not stated"


def _card_json(card: Card) -> dict[str, Any]:
    here = checkpoint_folder(card.name) is not None
    if not card.release:
        here = all(_is_here(part) for part in card.parts)
    return {**asdict(card), "here": here}
