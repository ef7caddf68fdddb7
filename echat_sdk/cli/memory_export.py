"""`echat memory export` and `import`: what is kept of a user, as a document."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from echat_sdk.cli import account
from echat_sdk.cli.consents import opened
from echat_sdk.cli.memory import AsJson, Store
from echat_sdk.disclosure import VERSION
from echat_sdk.errors import ConfigError

STDOUT = "-"


def export(
    user: Annotated[
        str | None, typer.Argument(metavar="USER", help="The id that --user names.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE", help="Where to; - or none: standard output."),
    ] = None,
    emotionml: Annotated[
        str | None,
        typer.Option(
            "--emotionml", metavar="FILE", help="How they sounded, as EmotionML; no words in it."
        ),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of the document, and no more.")
    ] = False,
    store: Store = None,
) -> None:
    """Give out all that is kept of a user, as one JSON document that import takes in again.

    With --emotionml and without --out, the EmotionML alone. Files are readable by their owner only.

    Example: [bold]echat memory export ada --out ada.json[/]
    Example: [bold]echat memory export ada --emotionml ada.emotionml[/]
    """
    if schema:
        from echat_memory import document

        typer.echo(json.dumps(document.schema(), indent=2))
        return
    if user is None:
        raise ConfigError("whose? Give a USER, or --schema")
    if out is None and emotionml is None:
        out = STDOUT
    if out is not None and emotionml is not None and _same(out, emotionml):
        raise ConfigError("--out and --emotionml name the same place; they are two documents")
    with opened(store) as memory:
        if out is not None:
            _write(out, memory.export(user, channel="cli"))
        if emotionml is not None:
            _write(emotionml, memory.emotionml(user, channel="cli"))


def import_document(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What export wrote.")],
    user: Annotated[
        str | None, typer.Option("--user", help="Whose it becomes; without: whom it names.")
    ] = None,
    rename: Annotated[
        bool, typer.Option("--rename", help="They are whom it names, under another id.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Erase first what is kept of them here.")
    ] = False,
    agreed: Annotated[
        bool,
        typer.Option("--agreed", help="They agree that it is kept here as they agreed there."),
    ] = False,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Take in a document that export wrote, in this store or another: all of it, or nothing.

    What they have not agreed to here is left out; a grant given elsewhere counts with --agreed.

    Example: [bold]echat memory import ada.json --agreed[/]
    """
    if rename and user is None:
        raise ConfigError("--rename needs the new id: --user USER")
    with opened(store) as memory:
        done = memory.import_document(
            file,
            user=user,
            rename=rename,
            replace=replace,
            agreed=agreed,
            version=VERSION,
            channel="cli",
        )
    if as_json:
        found = {"user": done.user, "imported": done.counts, "left_out": done.left_out}
        account.write_json(found, indent=None)
        return
    typer.echo(f"imported: {_listed(done.counts) or 'nothing'}")
    if done.left_out:
        typer.echo(f"left out: {_listed(done.left_out)}")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{what.replace('_', ' ')} {count}" for what, count in counts.items())


def _same(one: str, other: str) -> bool:
    files = [Path(place).expanduser().resolve() for place in (one, other) if place != STDOUT]
    return one == other or (len(files) == 2 and files[0] == files[1])


def _write(place: str, pieces: Iterable[str]) -> None:
    if place == STDOUT:
        # Its bytes: what a terminal's encoding lacks must not become a question mark.
        for piece in pieces:
            sys.stdout.buffer.write(piece.encode())
        sys.stdout.buffer.flush()
        return
    path = Path(place).expanduser()
    with _written(path) as file:
        for piece in pieces:
            file.write(piece.encode())
    typer.echo(f"written to {account.printable(str(path))}")


@contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A file that is there when the block has ended well, whole and for its owner only.

    Raises:
        ConfigError: it cannot be written.
    """
    if path.exists() and not path.is_file():
        raise ConfigError(f"cannot write {path}: it is no file")
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    finally:
        fresh.unlink(missing_ok=True)
