"""`echat memory consent` and `echat memory sweep`: what was agreed to; what has had its time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from echat_sdk import config
from echat_sdk.cli import account, memory_keys, rooms
from echat_sdk.cli.agreeing import unasked_in
from echat_sdk.cli.memory import AsJson, Store, User
from echat_sdk.consent import (
    IN_WORDS,
    REFUSALS,
    Consents,
    ConsentState,
    Purpose,
    barred_in,
    checked,
)
from echat_sdk.disclosure import VERSION
from echat_sdk.errors import ConfigError

if TYPE_CHECKING:
    from echat_memory import SQLMemory

_ANSWERS = {
    "grant": ConsentState.GRANTED,
    "deny": ConsentState.DENIED,
    "withdraw": ConsentState.WITHDRAWN,
}


def consent(
    user: User,
    purpose: Annotated[
        str | None, typer.Argument(metavar="[PURPOSE]", help="Such as infer_emotion.")
    ] = None,
    answer: Annotated[
        str | None, typer.Argument(metavar="[grant|deny|withdraw]", help="What is said to it.")
    ] = None,
    days: Annotated[
        float | None, typer.Option("--days", min=0.01, help="After which a grant ends.")
    ] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Show what a user agreed to; or take an answer. A refusal erases what was kept for it.

    Example: [bold]echat memory consent ada[/]
    Example: [bold]echat memory consent ada infer_emotion withdraw[/]
    """
    if (purpose is None) != (answer is None):
        raise ConfigError("a purpose and an answer go together: infer_emotion grant|deny|withdraw")
    if answer is not None and answer not in _ANSWERS:
        raise ConfigError(f"no answer {answer[:40]!r}; one of {', '.join(_ANSWERS)}")
    if days is not None and answer != "grant":
        raise ConfigError("--days is when a grant ends; there is none here")
    erased: dict[str, int] = {}
    now = datetime.now(UTC)
    with opened(store) as memory:
        if purpose is not None and answer is not None:
            said, held = _ANSWERS[answer], memory.consents(user).of(checked(purpose)).at(now)
            if said is ConsentState.DENIED and held is ConsentState.GRANTED:
                said = ConsentState.WITHDRAWN  # a no after a yes
            ends = None if days is None else now + timedelta(days=days)
            erased = memory.consent(
                user, purpose, said, version=VERSION, channel="cli", expires_at=ends
            )
            if said in REFUSALS and purpose not in set(Purpose):
                rooms.tell_erased(config.load(), user, purpose)
        consents = memory.consents(user)
    if as_json:
        account.write_json({"user": user, "consents": _rows(consents, now), "erased": erased})
        return
    Console(highlight=False).print(_table(consents, now))
    if erased:
        told = ", ".join(f"{table.replace('_', ' ')} {n}" for table, n in erased.items())
        typer.echo(f"erased: {told}")


def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what is due.")] = False,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Delete what was kept for as long as `[retention]` says; opening the store does it daily.

    Example: [bold]echat memory sweep --dry-run[/]
    """
    with opened(store) as memory:
        counts = memory.sweep(dry_run=dry_run)
    if as_json:
        account.write_json({"due" if dry_run else "swept": counts}, indent=None)
        return
    told = ", ".join(f"{kind} {n}" for kind, n in counts.items())
    typer.echo(f"{'due' if dry_run else 'swept'}: {told}" if told else "nothing is due")


@contextmanager
def opened(store: str | None) -> Iterator[SQLMemory]:
    """The store that the settings or an argument name, with what counts in this place unasked."""
    from echat_memory import SQLMemory

    settings = config.load({"store": store})
    memory = SQLMemory(
        settings.store,
        unasked=unasked_in(settings.deployment),
        barred=barred_in(settings.deployment, settings.exemption),
        retention=settings.retention,
        encryption=memory_keys.encryption(settings),
    )
    with closing(memory):
        yield memory


def _rows(consents: Consents, now: datetime) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for purpose in dict.fromkeys([*map(str, Purpose), *consents.given]):
        said = consents.of(purpose)
        rows.append(
            {
                "purpose": purpose,
                "state": said.at(now).value,
                "allowed": consents.allows(purpose, now),
                "since": said.since.isoformat() if said.since else None,
                "expires_at": said.expires_at.isoformat() if said.expires_at else None,
                "version": said.version,
                "channel": said.channel,
            }
        )
    return rows


def _table(consents: Consents, now: datetime) -> Table:
    table = Table("purpose", "what it means", "state", "since", "text", "asked by", box=None)
    for row in _rows(consents, now):
        purpose = str(row["purpose"])
        plugin = purpose.partition(":")[2]
        said = consents.of(purpose)
        table.add_row(
            purpose,
            Text(IN_WORDS.get(purpose, f"what you say is given to the plugin {plugin}")),
            _state(consents, purpose, now),
            f"{said.since.astimezone():%Y-%m-%d}" if said.since else "",
            Text(account.printable(said.version)),
            Text(account.printable(said.channel)),
        )
    return table


def _state(consents: Consents, purpose: str, now: datetime) -> Text:
    said = consents.of(purpose)
    state = said.at(now)
    if purpose in consents.barred:
        return Text("not possible here", "dim")
    if state is ConsentState.UNKNOWN and consents.allows(purpose, now):
        return Text("while you talk", "dim")  # on one's own machine
    until = f" until {said.expires_at.astimezone():%Y-%m-%d}" if said.expires_at else ""
    return Text(f"{state}{until}", "green" if consents.allows(purpose, now) else "")
