"""`echat bench model`: the end-to-end network, beside transformers with the same weights."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from echat_sdk import config
from echat_sdk.errors import ConfigError, ModelMissingError

if TYPE_CHECKING:
    from echat_sdk.bench.first_packet import FirstPacket
    from echat_sdk.bench.model import ModelBench
    from echat_sdk.bench.token2wav import ChunkRow


def model(
    name: Annotated[str, typer.Option("--model", help="A checkpoint.")] = "nano-init",
    requests: Annotated[
        list[int] | None,
        typer.Option("--requests", min=1, max=64, help="At once; 1, 8 and 32."),
    ] = None,
    repeats: Annotated[int | None, typer.Option("--repeats", min=1, max=20)] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Two minutes: fewer rows, once each, nothing compiled.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Time the end-to-end network, beside transformers' own decoding of the same weights.

    Decoding, the first packet by stage, chunks of sound, turns with and without what was read kept,
    and what a waiting conversation takes.

    Example: [bold]echat bench model --quick[/]
    """
    from echat_sdk.model import checkpoint_folder

    folder = checkpoint_folder(name)
    if folder is None:
        raise ModelMissingError(f"no checkpoint {name}; run: echat models assemble nano-init")
    from echat_sdk.bench import model as bench

    plan = bench.QUICK if quick else bench.Plan()
    if requests:
        plan = replace(plan, batches=tuple(requests))
    if repeats:
        plan = replace(plan, repeats=repeats)
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    quiet = Console(stderr=True)
    with Progress(*columns, console=quiet, disable=as_json, transient=True) as progress:
        task = progress.add_task("opening", total=None)
        found = bench.run(
            folder,
            threads=config.load().threads,
            plan=plan,
            progress=lambda what: progress.update(task, description=what),
        )
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
    else:
        _show(found)


def encode(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Recordings of English; the examples if none.")
    ] = None,
    name: Annotated[str, typer.Option("--model", help="A checkpoint.")] = "nano-init",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Time hearing while somebody speaks, exact and chunked, and how far off chunked is.

    Words are compared through Whisper's own decoder, for a checkpoint that has Whisper base's
    encoder.

    Example: [bold]echat bench encode[/]
    """
    from echat_sdk.io.wav import read_audio
    from echat_sdk.model import checkpoint_folder, zoo

    folder = checkpoint_folder(name)
    if folder is None:
        raise ModelMissingError(f"no checkpoint {name}; run: echat models assemble nano-init")
    if not files:
        files = sorted(Path("examples/audio").glob("[hs]a*.wav"))
    if not files:
        raise ConfigError("give recordings: echat bench encode one.wav another.wav")
    from echat_sdk.bench import hearing as bench
    from echat_sdk.model.echat.directory import load

    utterances = [read_audio(file) for file in files]
    whisper = zoo.find("whisper-base") if name == "nano-init" else None
    rows = bench.run(folder, utterances, threads=config.load().threads)
    far = bench.fidelity(load(folder), utterances, whisper=whisper)
    if as_json:
        told = {"rows": [asdict(row) for row in rows], "fidelity": asdict(far)}
        typer.echo(json.dumps(told, indent=2))
        return
    table = Table(title="ms of work to hear an utterance, medians")
    for column in ("", "a second of it", "longest push", "embeddings at its end", "first token"):
        table.add_column(column, justify="right" if column else "left")
    for row in rows:
        times = (row.during, row.longest, row.embeds, row.token)
        table.add_row(row.way, *(f"{1000 * seconds:.0f}" for seconds in times))
    table.caption = (
        f"chunked: embeddings off by {far.difference:.0%} at most, cosine {far.embeds:.3f}; "
        f"states' cosine {far.states:.3f}"
    )
    if far.errors is not None:
        table.caption += f"; {far.errors} of {far.words} words written otherwise"
    Console(highlight=False).print(table)


def _show(found: ModelBench) -> None:
    console = Console(highlight=False)
    console.print(_decoding(found))
    console.print(_first_packet(found.first_packet))
    console.print(_chunks(found.token2wav, found.first_packet.note))
    for turn in found.turns:
        console.print(
            f"turn {turn.turn} ({turn.positions} positions): first token after "
            f"{statistics.median(turn.kept):.2f} s with what was read kept, "
            f"{turn.ratio:.1f} times as long with all read again"
        )
    held = found.sessions
    free = "" if held.held_in_free is None else f", {held.held_in_free} in what is free now"
    console.print(
        f"a waiting conversation of {held.positions} positions takes "
        f"{held.session_bytes / 1e6:.1f} MB: {held.held} are held in "
        f"{held.memory / 2**30:.0f} GiB{free}\n"
        f"{found.device}, {found.threads} threads; memory gives {found.memory / 1e9:.1f} GB/s"
    )


def _decoding(found: ModelBench) -> Table:
    table = Table("at once", title="decoding, the ways in turn")
    table.add_column("way", no_wrap=True)
    for name in ("tokens/s", "ratio", "of memory's rate", "first tokens"):
        table.add_column(name, justify="right")
    for row in found.decode:
        if row.rate is None or row.ratio is None or row.roofline is None or row.first is None:
            table.add_row(str(row.rows), row.way, row.note)
            continue
        spread = f" ({min(row.rates):.1f} to {max(row.rates):.1f})" if len(row.rates) > 1 else ""
        told = (
            f"{row.rate:.1f}{spread}",
            f"{row.ratio:.2f}",
            f"{row.roofline:.0%}",
            f"{row.first:.2f} s",
        )
        table.add_row(str(row.rows), row.way, *told)
    return table


def _first_packet(found: FirstPacket) -> Table:
    table = Table("stage", "ms", "share", title=f"first packet, nothing hidden; {found.note}")
    sizes = {
        "thought, text": f"{found.words} tokens",
        "speech codes": f"{found.codes} codes",
        "token2wav": f"first chunk, {found.steps} steps",
    }
    for stage, repeats in found.stages.items():
        size = f" ({sizes[stage]})" if stage in sizes else ""
        taken = statistics.median(repeats)
        table.add_row(f"{stage}{size}", f"{1000 * taken:.0f}", f"{taken / found.total:.0%}")
    table.add_row("all", f"{1000 * found.total:.0f}", "100%")
    share = f"{found.visible / found.total:.0%}"
    table.add_row("all but what can be done before", f"{1000 * found.visible:.0f}", share)
    return table


def _chunks(rows: tuple[ChunkRow, ...], note: str) -> Table:
    table = Table(
        "steps",
        "guided",
        "first",
        "middle",
        "of the first row",
        "work by sound",
        title=f"chunks of sound, ms of work for ms of sound; {note}",
    )
    for row in rows:
        table.add_row(
            str(row.steps),
            "yes" if row.guidance else "no",
            f"{1000 * statistics.median(row.first):.0f} for {1000 * row.first_sound:.0f}",
            f"{1000 * statistics.median(row.middle):.0f} for {1000 * row.middle_sound:.0f}",
            f"{row.ratio:.2f}",
            f"{row.real_time:.2f}",
        )
    return table
