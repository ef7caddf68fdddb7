"""`echat keys`: who may call `echat serve`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from echat_sdk import config
from echat_sdk.cli import account
from echat_sdk.errors import ConfigError
from echat_sdk.server.caller import Scope

if TYPE_CHECKING:
    from echat_sdk.server.keys import Key, Keys

app = typer.Typer(help="Keys of those who may call `echat serve`.", no_args_is_help=True)

FileOption = Annotated[
    Path | None, typer.Option("--key-file", help="By default server-keys.json at home.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object, and nothing else.")]


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scopes: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            metavar="|".join(Scope),
            help="Repeatable; by default realtime, audio and chat.",
        ),
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", help="The only user that it speaks for.")
    ] = None,
    days: Annotated[
        int | None, typer.Option("--days", min=1, max=36500, help="After which it counts no more.")
    ] = None,
    key_file: FileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key. It is shown once, and kept nowhere.

    Without --user it speaks for a guest. With the scope `secrets` a host makes short-lived secrets
    for its own users with it; `metrics` reads /metrics.

    Example: [bold]echat keys new backend --scope realtime --scope secrets --days 90[/]
    """
    from echat_sdk.server.keys import DEFAULT_SCOPES

    if unknown := sorted(set(scopes or ()) - set(Scope)):
        raise ConfigError(f"no scope {unknown[0][:40]!r}; one of {', '.join(Scope)}")
    if not 0 < len(name) <= 100 or not (user is None or 0 < len(user) <= 200):
        raise ConfigError("a name has 1 to 100 characters, a user 1 to 200")
    words, key = _keys(key_file).new(
        name,
        scopes=frozenset(map(Scope, scopes)) if scopes else DEFAULT_SCOPES,
        user=user,
        expires=None if days is None else datetime.now(UTC) + timedelta(days=days),
    )
    if as_json:
        account.write_json({"key": words, **_row(key)})
        return
    typer.echo(words)
    account.complain("keep it now: it is shown this once")


@app.command("list")
def list_(key_file: FileOption = None, as_json: JsonOption = False) -> None:
    """Show all keys: what each may do, until when, and when it was used last.

    Example: [bold]echat keys list[/]
    """
    keys = _keys(key_file)
    if as_json:
        account.write_json([_row(key) for key in keys.all()])
        return
    if not len(keys):
        typer.echo("no keys; echat keys new NAME makes one")
        return
    table = Table("id", "name", "may", "speaks for", "ends", "last used", box=None)
    for key in keys.all():
        ends = "never" if key.expires is None else f"{key.expires.astimezone():%Y-%m-%d}"
        table.add_row(
            key.id,
            Text(account.printable(key.name)),
            " ".join(sorted(key.scopes)),
            Text(account.printable(key.user or "a guest")),
            ends if keys.counts(key.id) else "has ended",
            str(key.last_used or "never"),
        )
    Console(highlight=False).print(table)


@app.command("revoke")
def revoke(
    named: Annotated[str, typer.Argument(metavar="ID", help="Its id, or its name.")],
    key_file: FileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a key back, with the secrets that were made with it. Sessions that are open go on.

    Example: [bold]echat keys revoke backend[/]
    """
    key = _keys(key_file).revoke(named)
    if as_json:
        account.write_json({"revoked": key.id}, indent=None)
        return
    typer.echo(account.printable(f"revoked {key.id} {key.name}"))


def _keys(key_file: Path | None) -> Keys:
    from echat_sdk.server.keys import Keys

    return Keys(key_file or config.load().home / "server-keys.json")


def _row(key: Key) -> dict[str, Any]:
    row = key.model_dump(mode="json", exclude={"sha256"})
    return {**row, "scopes": sorted(row["scopes"])}
