"""`echat memory encrypt` and `rotate`, and how the settings say that a store is encrypted."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from echat_sdk import config
from echat_sdk.cli import account

if TYPE_CHECKING:
    from echat_memory import Encryption
    from echat_sdk.config import Settings

Store = Annotated[str | None, typer.Option("--store", help="URL of the SQL memory.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object, and nothing else.")]


def encryption(settings: Settings) -> Encryption | None:
    """How the settings say that the store is encrypted; None: it is not."""
    return None if settings.encrypt == "off" else _encryption(settings, settings.encrypt)


def encrypt(
    whole: Annotated[
        bool, typer.Option("--file", help="The whole file (SQLCipher), not words user by user.")
    ] = False,
    accept_plain: Annotated[
        bool,
        typer.Option("--accept-plain", help="Trust plain rows in a store that is encrypted."),
    ] = False,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Encrypt a store that is there. Cut short, it is gone on with when the store is next opened.

    Example: [bold]echat memory encrypt[/]
    """
    from echat_memory import SQLMemory

    settings = config.load()
    mode: Literal["fields", "file"] = "file" if whole else "fields"
    how = replace(_encryption(settings, mode), accept_plain=accept_plain)
    with closing(SQLMemory(store or settings.store, retention=None, encryption=how)) as memory:
        rows = memory.converted
    if as_json:
        account.write_json({"encrypted": mode, "rows": rows}, indent=None)
        return
    typer.echo("the file is encrypted" if whole else f"encrypted: {rows} rows that were plain")
    if settings.encrypt != mode:
        typer.echo(
            f'from now on it opens only so: set encrypt = "{mode}" in config.toml, or '
            f"ECHAT_ENCRYPT={mode}. Back its keys up, apart from it.",
            err=True,
        )


def rotate(
    user: Annotated[
        str | None, typer.Option("--user", help="Of this user alone; without it, of all.")
    ] = None,
    kek: Annotated[
        bool, typer.Option("--kek", help="The key that users' keys are wrapped with.")
    ] = False,
    whole: Annotated[bool, typer.Option("--file", help="The key of the whole file.")] = False,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Take new keys into use and delete the old ones. Cut short, run it again.

    Example: [bold]echat memory rotate --user ada[/]
    """
    from echat_memory import SQLMemory

    if sum((user is not None, kek, whole)) > 1:
        raise typer.BadParameter("one of --user, --kek and --file")
    settings = config.load()
    url, how = store or settings.store, encryption(settings)
    with closing(SQLMemory(url, retention=None, encryption=how)) as memory:
        if whole:
            memory.rotate_file()
            told = {"file": 1}
        elif kek:
            told = {"keys": memory.rotate_key()}
        else:
            told = {"rows": memory.rotate(user)}
    if as_json:
        account.write_json({"rotated": told}, indent=None)
        return
    typer.echo("new keys in use: " + ", ".join(f"{what} {count}" for what, count in told.items()))


def _encryption(settings: Settings, mode: Literal["fields", "file"]) -> Encryption:
    from echat_memory import Encryption

    return Encryption(mode, key=_path(settings.kek_file), shares=_path(settings.shares_file))


def _path(named: str) -> Path | None:
    return Path(named).expanduser() if named else None
