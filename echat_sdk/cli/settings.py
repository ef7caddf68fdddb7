"""`echat config`: each setting, its value, and where it came from."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from echat_sdk.cli import account
from echat_sdk.config import Settings, load_with_sources, without_password


def config(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show each setting, its value and where it came from.

    Example: [bold]ECHAT_THINK=language echat config[/]
    """
    loaded = load_with_sources()
    values = loaded.settings.model_dump(mode="json")
    values["store"] = without_password(values["store"])
    if as_json:
        rows = {k: {"value": v, "source": loaded.sources[k]} for k, v in values.items()}
        account.write_json(rows)
        return
    table = Table("setting", "value", "from", "what it is", box=None)
    for key, value in values.items():
        about = Settings.model_fields[key].description
        table.add_row(
            key,
            Text(account.printable(str(value))),
            loaded.sources[key],
            about,
            style=_style(loaded.sources[key]),
        )
    Console(highlight=False).print(table)


def _style(source: str) -> str:
    return "dim" if source == "default" else "bold"
