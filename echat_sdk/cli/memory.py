"""`echat memory`: what is kept of a user, for them to see and to erase."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta, tzinfo
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from echat_sdk import config
from echat_sdk.cli import account, memory_keys
from echat_sdk.cli.account import printable
from echat_sdk.consent import REMEMBERED
from echat_sdk.cues import Cue, Emotion
from echat_sdk.errors import ConfigError, ModelMissingError

if TYPE_CHECKING:
    from echat_memory import Keeper, SQLMemory, StoredTurn
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
    with opened(store) as memory:
        turns = memory.show(user, limit)
        facts = memory.facts(user)
        mood = memory.recall(user).mood
        pauses = memory.pauses(user)
    if not turns:
        raise _nobody()
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
def trace(
    user: User,
    turn: Annotated[
        str | None, typer.Argument(metavar="[TURN]", help="A turn's id; the last turn without.")
    ] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Tell why a turn was answered as it was: heard, felt, remembered, chosen.

    Example: [bold]echat memory trace ada[/]
    """
    from echat_memory.trace import in_words

    with opened(store) as memory:
        found = memory.trace(user, turn)
    if as_json:
        account.write_json({"user": user, **found.to_json()})
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("turn", f"{found.turn_id}, {found.at.astimezone():%Y-%m-%d %H:%M}")
    for what, words in in_words(found):
        table.add_row(what, Text(printable(words)))
    Console(highlight=False).print(table)


@app.command()
def mood(
    user: User,
    weeks: Annotated[int, typer.Option("--weeks", min=1, max=520, help="How many.")] = 8,
    zone: Annotated[
        str, typer.Option("--zone", help="Where a day begins at midnight, as Europe/Berlin.")
    ] = "UTC",
    png: Annotated[
        Path | None, typer.Option("--png", dir_okay=False, help="Draw it as a picture: FILE.")
    ] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Draw how a user has sounded over weeks: a line of days, their home base, and how sure it is.

    Example: [bold]echat memory mood ada --weeks 4 --zone Europe/Berlin --png mood.png[/]
    """
    from echat_sdk.cli.mood_view import MoodView

    where = zone_of(zone)
    if png is not None and find_spec("matplotlib") is None:
        raise ModelMissingError("--png needs matplotlib; pip install 'echat-sdk[training]'")
    first = datetime.now(where).date() - timedelta(days=7 * weeks - 1)
    with opened(store) as memory:
        report = memory.mood(user, since=first, zone=where)
        if not report.n_turns and not memory.show(user, 1):
            raise _nobody()
    if png is not None:
        from echat_sdk.cli.mood_plot import plot

        plot(report, first, png)
    if as_json:
        account.write_json({"user": user, **report.to_json()})
        return
    console = Console(highlight=False)
    console.print(MoodView(report, first))
    if png is not None:
        console.print(Text.assemble(("drawn to   ", "dim"), (str(png), "cyan")))


@app.command()
def felt(
    user: User,
    turn: Annotated[str, typer.Argument(metavar="TURN", help="The id that show prints.")],
    emotion: Annotated[Emotion, typer.Argument(metavar="EMOTION", help=", ".join(Emotion))],
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Keep what a user says that they felt in a turn; it counts before what was heard.

    Example: [bold]echat memory felt ada 12 happy[/]
    """
    with opened(store) as memory:
        memory.report(user, turn, emotion)
    if as_json:
        account.write_json({"user": user, "turn": turn, "felt": emotion.value}, indent=None)
    else:
        typer.echo(f"kept: in turn {turn} they felt {emotion.value}, in their own word")


def zone_of(name: str) -> tzinfo:
    """The time zone that `--zone` names."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(
            f"--zone: got {name!r}; expected a time zone's name, such as Europe/Berlin. Where the "
            "system has none: pip install tzdata"
        ) from error


def _nobody() -> typer.Exit:
    typer.echo("echat: no user with this id is known here", err=True)
    return typer.Exit(2)


app.command()(memory_keys.encrypt)
app.command()(memory_keys.rotate)


@contextmanager
def opened(store: str | None, *, on_erase: Collection[Keeper] = ()) -> Iterator[SQLMemory]:
    """The store that an option or the settings name, for who looks at what is kept."""
    from echat_memory import SQLMemory

    settings = config.load()
    # Who looks at what is kept sees all of it, whatever may be used of it.
    memory = SQLMemory(
        store or settings.store,
        unasked=REMEMBERED,
        retention=settings.retention,
        encryption=memory_keys.encryption(settings),
        on_erase=on_erase,
    )
    with closing(memory):
        yield memory


def _table(turns: list[StoredTurn]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("turn", "when", "words", "sounded like", "reply"):
        # Chinese has no spaces to break a line at: fold it, or its end is cut off.
        table.add_column(heading, overflow="fold")
    for stored in turns:
        turn = stored.turn
        table.add_row(
            Text(stored.id, style="dim"),
            Text(f"{stored.at.astimezone():%Y-%m-%d %H:%M}", style="dim"),
            Text(printable(turn.transcript)),
            _sounded(turn.cues.emotion, stored.felt),
            Text(printable(turn.reply), style="green"),
        )
    return table


def _sounded(emotion: Cue, felt: Emotion | None) -> Text:
    if felt is not None:
        return Text(f"{felt}, in their own word")
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
        "felt": stored.felt,
        "think": turn.think,
        "reply": turn.reply,
        "reply_emotion": turn.reply_emotion.word,
        "model": turn.model,
        "safety": None if turn.safety is None else asdict(turn.safety),
        "timings": {name: getattr(timings, name) for name in timings.__slots__},
    }
