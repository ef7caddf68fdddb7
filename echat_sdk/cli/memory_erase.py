"""`echat memory erase`, `receipts` and `audit`: the right of erasure, and the proof of it."""

from __future__ import annotations

import sys
from datetime import datetime, time, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from echat_sdk import config
from echat_sdk.cli import account, rooms
from echat_sdk.cli.account import printable
from echat_sdk.cli.memory import AsJson, Store, User, opened, zone_of
from echat_sdk.errors import ConfigError

if TYPE_CHECKING:
    from echat_memory import Keeper, Receipt
    from echat_memory.audit import Record, Verified

SomeUser = Annotated[str | None, typer.Argument(metavar="[USER]", help="All users without.")]


def erase(
    user: User,
    turn: Annotated[
        str | None, typer.Option("--turn", metavar="ID", help="One turn, by the id show prints.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="WHEN", help="What was said since: today, 2026-03-02T14:00"
        ),
    ] = None,
    purpose: Annotated[
        str | None,
        typer.Option("--purpose", help="What was kept for it, such as infer_emotion."),
    ] = None,
    zone: Annotated[
        str, typer.Option("--zone", help="Where WHEN is meant, as Europe/Berlin.")
    ] = "UTC",
    manifest: Annotated[
        list[Path] | None,
        typer.Option("--manifest", help="JSON lines of training rows, to erase from as well."),
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option("--recordings", help="A folder with what talk --record wrote; also."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Erase what is kept of a user, or a part of it, down to the bytes. It cannot be undone.

    Example: [bold]echat memory erase ada[/]
    Example: [bold]echat memory erase ada --since today --zone Europe/Berlin[/]
    """
    from echat_memory import Scope

    moment = None if since is None else _moment(since, zone_of(zone))
    scope = Scope(turn, moment, purpose)
    what = "all that is kept of this user" if scope.is_everything else f"of this user: {scope}"
    if not yes and not _confirmed(f"Erase {what}? [y/N] "):
        typer.echo("nothing was erased", err=True)
        raise typer.Exit(2)
    with opened(store, on_erase=_keepers(manifest or [], recordings)) as memory:
        receipt = memory.erase(user, turn=turn, since=moment, purpose=purpose, channel="cli")
    if scope.is_everything:
        rooms.tell_erased(config.load(), user)
    if as_json:
        account.write_json({"user": user, **receipt.to_json()}, indent=None)
    else:
        typer.echo(f"receipt {receipt.id}: {scope}, {_local(receipt.requested_at)}")
        typer.echo(f"erased: {_counts(receipt)}" if receipt.counts else "nothing of it is kept")
    for name, why in receipt.failed.items():
        account.complain(f"not erased yet: {printable(name)}: {printable(why)}")
    if receipt.failed:
        account.complain("it is tried again when the store is next opened; or erase again")
        raise typer.Exit(1)


def receipts(user: SomeUser = None, store: Store = None, as_json: AsJson = False) -> None:
    """List what was asked to be erased, and what went.

    Example: [bold]echat memory receipts ada[/]
    """
    with opened(store) as memory:
        found = memory.receipts(user)
    if as_json:
        account.write_json([receipt.to_json() for receipt in found])
        return
    if not found:
        typer.echo("no receipts")
        return
    table = _table("receipt", "asked for", "what", "completed", "erased")
    for receipt in found:
        ended = receipt.completed_at
        table.add_row(
            str(receipt.id),
            _local(receipt.requested_at),
            str(receipt.scope),
            Text(_local(ended), "green") if ended else Text(_why_open(receipt), "yellow"),
            _counts(receipt) or Text("nothing", "dim"),
        )
    Console(highlight=False).print(table)


def audit(
    user: SomeUser = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read the whole chain; tell whether it is whole.")
    ] = False,
    head: Annotated[
        str | None,
        typer.Option("--head", metavar="DIGEST", help="A head from before; it must be in there."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Of records.")] = 100,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """List what was done with a user's data, or everybody's, by whom; or verify all of it.

    Example: [bold]echat memory audit ada[/]
    Example: [bold]echat memory audit --verify --head 3f8a...[/]
    """
    if head is not None and not verify:
        raise ConfigError("--head DIGEST is looked for with --verify")
    with opened(store) as memory:
        records = memory.audit(user, limit=limit)
        verified = memory.verify(head=head) if verify else None
    if as_json:
        told: dict[str, object] = {"records": [record.to_json() for record in records]}
        if verified is not None:
            told["verified"] = verified.to_json()
        account.write_json(told)
    elif verified is None:
        _list(records)
    else:
        _tell(verified, is_anchored=head is not None)
    if verified is not None and not verified.is_whole:
        raise typer.Exit(1)


def _keepers(manifests: list[Path], recordings: Path | None) -> list[Keeper]:
    from echat_memory import Manifest, Recordings

    for path in manifests:
        if not path.is_file():
            raise ConfigError(f"--manifest {path}: there is no such file")
    if recordings is not None and not recordings.is_dir():
        raise ConfigError(f"--recordings {recordings}: there is no such folder")
    found: list[Keeper] = [Manifest(path) for path in dict.fromkeys(map(Path.resolve, manifests))]
    return found if recordings is None else [*found, Recordings(recordings)]


def _moment(when: str, zone: tzinfo) -> datetime:
    if when == "today":
        return datetime.combine(datetime.now(zone).date(), time(), zone)
    try:
        moment = datetime.fromisoformat(when)
    except ValueError as error:
        raise ConfigError(
            f"--since: got {when[:40]!r}; expected today, 2026-03-02 or 2026-03-02T14:00"
        ) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)


def _confirmed(question: str) -> bool:
    """Whether the next line of the input is a yes; its end is none."""
    typer.echo(question, nl=False, err=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _counts(receipt: Receipt) -> str:
    return ", ".join(
        # A table's name in words; a path as it is.
        f"{printable(name if ' ' in name else name.replace('_', ' '))} {count}"
        for name, count in receipt.counts.items()
    )


def _why_open(receipt: Receipt) -> str:
    if not receipt.failed:
        return "not yet"
    return "not yet: " + ", ".join(map(printable, receipt.failed))


def _list(records: list[Record]) -> None:
    if not records:
        typer.echo("no records")
        return
    table = _table("record", "when", "who", "by", "what", "with")
    for record in records:
        table.add_row(
            str(record.id),
            _local(record.at),
            Text(record.who[:8], "dim"),
            printable(record.actor),
            printable(record.action),
            Text(printable(_in_words(record)), "dim"),
        )
    Console(highlight=False).print(table)


def _in_words(record: Record) -> str:
    def told(value: object) -> str:
        if isinstance(value, dict):
            return " ".join(f"{name} {each}" for name, each in value.items())
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

    said = ((name, told(value)) for name, value in record.detail.items())
    return "; ".join(f"{name}: {words}" for name, words in said if words)


def _tell(verified: Verified, *, is_anchored: bool) -> None:
    if verified.broken_at is not None:
        account.complain(f"broken at record {verified.broken_at}: {verified.why}")
    else:
        typer.echo(f"whole: {verified.records} records, one after the other")
        typer.echo(f"head: {verified.head}")
    if is_anchored:
        in_it = "in the chain" if verified.has_anchor else "NOT in the chain: an end was cut off"
        typer.echo(f"the digest that was given is {in_it}")
    elif verified.broken_at is None:
        typer.echo(
            "That the newest records were cut off does not show in them. Keep the head elsewhere, "
            "and verify with --head."
        )


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _local(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"
