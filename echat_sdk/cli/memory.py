"""`echat memory`: what is kept of a user, for them to see and to erase."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from echat_sdk import config
from echat_sdk.cli import account, memory_keys
from echat_sdk.cli.account import printable
from echat_sdk.consent import REMEMBERED
from echat_sdk.cues import Cue

if TYPE_CHECKING:
    from echat_memory import SQLMemory, StoredTurn
    from echat_sdk.pause_profile import PauseProfile

app = typer.Typer(help="See and erase what is kept of a user.", no_args_is_help=True)

User = Annotated[str, typer.Argument(metavar="USER", help="The id that --user names.")]
Store = Annotated[str | None, typer.Option("--store", help="URL of the SQL memory.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object, and nothing else.")]


@app.command()
def show(
    user: User,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many turns.")] = 20,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Show the last turns with a user, the facts they told, how they sounded and how they pause.

    Example: [bold]echat memory show ada --limit 5[/]
    """
    with _opened(store) as memory:
        turns = memory.show(user, limit)
        facts = memory.facts(user)
        mood = memory.recall(user).mood
        pauses = memory.pauses(user)
    if not turns:
        typer.echo("echat: no user with this id is known here", err=True)
        raise typer.Exit(2)
    if as_json:
        found = {
            "user": user,
            "turns": [_as_json(turn) for turn in turns],
            "facts": list(facts),
            "mood": mood,
            "pauses": {"mean": pauses.mean, "count": pauses.count} if pauses.count else None,
        }
        account.write_json(found)
        return
    console = Console(highlight=False)
    console.print(_table(turns))
    if facts:
        console.print(Text("\nfacts", style="bold"))
        for fact in facts:
            console.print(Text(f"  {printable(fact)}"))
    if mood:
        console.print(Text.assemble(("\nmood\n", "bold"), f"  {mood}"))
    if pauses.count:
        console.print(Text.assemble(("\npauses\n", "bold"), f"  {_in_words(pauses)}"))


@app.command()
def erase(
    user: User,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Erase all that is kept of a user, down to the bytes. It cannot be undone.

    Example: [bold]echat memory erase ada[/]
    """
    if not yes and not _confirmed("Erase all that is kept of this user? [y/N] "):
        typer.echo("nothing was erased", err=True)
        raise typer.Exit(2)
    with _opened(store) as memory:
        counts = memory.erase(user)
    if as_json:
        account.write_json({"user": user, "erased": counts}, indent=None)
    elif not any(counts.values()):
        typer.echo("nothing is kept of this user")
    else:
        rows = (f"{table.replace('_', ' ')} {count}" for table, count in counts.items() if count)
        typer.echo(f"erased: {', '.join(rows)}")


app.command()(memory_keys.encrypt)
app.command()(memory_keys.rotate)


def _confirmed(question: str) -> bool:
    """Whether the next line of the input is a yes; its end is none."""
    typer.echo(question, nl=False, err=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


@contextmanager
def _opened(store: str | None) -> Iterator[SQLMemory]:
    from echat_memory import SQLMemory

    settings = config.load()
    # Who looks at what is kept sees all of it, whatever may be used of it.
    memory = SQLMemory(
        store or settings.store,
        unasked=REMEMBERED,
        retention=settings.retention,
        encryption=memory_keys.encryption(settings),
    )
    with closing(memory):
        yield memory


def _table(turns: list[StoredTurn]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("when", "words", "sounded like", "reply"):
        # Chinese has no spaces to break a line at: fold it, or its end is cut off.
        table.add_column(heading, overflow="fold")
    for stored in turns:
        turn = stored.turn
        table.add_row(
            Text(f"{stored.at.astimezone():%Y-%m-%d %H:%M}", style="dim"),
            Text(printable(turn.transcript)),
            _sounded(turn.cues.emotion),
            Text(printable(turn.reply), style="green"),
        )
    return table


def _sounded(emotion: Cue) -> Text:
    if not emotion.is_known:
        return Text("unknown", style="dim")
    return Text(f"{printable(emotion.label)} {emotion.confidence:.0%}")


def _in_words(pauses: PauseProfile) -> str:
    from echat_sdk.pause_profile import MOST

    count = f"{MOST} or more" if pauses.count == MOST else f"{pauses.count}"
    ending = "" if pauses.count == 1 else "s"
    return f"pauses about {pauses.mean:.1f} s within a turn, learnt from {count} pause{ending}"


def _as_json(stored: StoredTurn) -> dict[str, Any]:
    turn = stored.turn
    timings = turn.timings
    return {
        "id": stored.id,
        "session": stored.session,
        "at": stored.at.isoformat(),
        "status": turn.status.value,
        "transcript": turn.transcript,
        "lang": turn.lang,
        "seconds": turn.seconds,
        "cues": turn.cues.to_json(),
        "think": turn.think,
        "reply": turn.reply,
        "reply_emotion": turn.reply_emotion.word,
        "model": turn.model,
        "timings": {name: getattr(timings, name) for name in timings.__slots__},
    }
