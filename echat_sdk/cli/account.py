"""How an exchange is told to a person (rich) and to a machine (JSON)."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from echat_sdk.cues import Cue, Cues
from echat_sdk.turn import Heard, TextDelta, ThinkDelta

if TYPE_CHECKING:
    from echat_sdk.agent import Answer
    from echat_sdk.audio import Seconds
    from echat_sdk.turn import Delta, Recollection, Timings

NOTHING_HEARD = "I heard no speech."

NO_VOICE = "not spoken: no voice for this language is here; echat models pull kokoro-82m"

_BAR = 24
STAGES = (
    ("heard", "words and cues"),
    ("think", "thought"),
    ("first_text", "first words"),
    ("first_audio", "first sound"),
    ("done", "whole answer"),
)


def as_json(answer: Answer, path: Path | None, user: str) -> dict[str, Any]:
    """The answer as the one object that `--json` prints."""
    turn = answer.turn
    audio = None
    if path is not None and len(answer.speech):
        seconds = round(len(answer.speech) / answer.sample_rate, 3)
        audio = {"path": str(path), "sample_rate": answer.sample_rate, "seconds": seconds}
    return {
        "transcript": turn.transcript,
        "lang": turn.lang,
        "cues": turn.cues.to_json(),
        "think": turn.think,
        "reply": turn.reply,
        "reply_emotion": turn.reply_emotion.word if turn.transcript else None,
        "audio": audio,
        "user": user,
        "turn_id": answer.turn_id or None,
        "timings": {
            name: None if (at := getattr(turn.timings, name)) is None else round(at, 4)
            for name, _ in STAGES
        },
        **({} if turn.transcript else {"note": NOTHING_HEARD}),
    }


def show(answer: Answer, path: Path) -> None:
    """Tell the whole exchange on the terminal."""
    console = Console(highlight=False)
    turn = answer.turn
    if not turn.transcript:
        say_nothing_heard()
        return
    seconds = len(answer.speech) / answer.sample_rate
    parts: list[Any] = [
        Text.assemble(("you said   ", "dim"), (turn.transcript, "bold")),
        _cue_table(turn.cues),
    ]
    if remembered := _remembered(answer.recollection):
        parts.append(Text.assemble(("remembered ", "dim"), remembered))
    if turn.think:
        parts.append(Text.assemble(("thought    ", "dim"), (turn.think, "italic dim")))
    parts += [
        Text.assemble(("reply      ", "dim"), (turn.reply, "bold green")),
        Text.assemble(("spoken     ", "dim"), f"{turn.reply_emotion.word}, {seconds:.1f} s"),
        _waterfall(turn.timings),
    ]
    if seconds:
        parts.append(Text.assemble(("written to ", "dim"), (str(path), "cyan")))
    else:
        parts.append(Text(NO_VOICE, "yellow"))
    console.print(Panel(Group(*parts), title=f"echat reply · {turn.model}", expand=False))


def say_nothing_heard() -> None:
    """Tell that there was no speech in what was given."""
    Console(highlight=False).print(NOTHING_HEARD)


def say_where(folder: Path) -> None:
    """Tell where a recorded conversation is, and what can be done with it."""
    again = f"echat replay {shlex.quote(str(folder))}"
    text = Text(printable(f"kept in {folder}; run it again: {again}"), "dim")
    Console(highlight=False).print(text, soft_wrap=True)


def show_delta(delta: Delta) -> None:
    """Tell one piece of a typed exchange as it comes."""
    console = Console(highlight=False)
    match delta:
        case Heard() if delta.cues.emotion.is_known:
            console.print(f"     [dim]({delta.cues.emotion.label})[/]")
        case ThinkDelta():
            console.print(Text(printable(delta.text), style="italic dim"), end="", soft_wrap=True)
        case TextDelta():
            console.print(Text(printable(delta.text), style="bold green"), end="", soft_wrap=True)


def end_line(answer: Answer) -> None:
    """Tell the end of a typed exchange."""
    console = Console(highlight=False)
    console.print(Text(f"  ({answer.turn.reply_emotion.word})", style="dim"))


def complain(line: str) -> None:
    """Tell a fault in the input on the error stream, and go on."""
    text = Text(f"echat: {printable(line)}", style="red")
    Console(stderr=True, highlight=False).print(text, soft_wrap=True)


def write_json(value: object, *, indent: int | None = 2) -> None:
    """Print JSON: as it is read best where the output is UTF-8, with escapes elsewhere."""
    is_utf8 = (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"
    typer.echo(json.dumps(value, ensure_ascii=not is_utf8, indent=indent))


def printable(text: str) -> str:
    """The text without what would steer a terminal, and in one line."""
    return "".join(c if c.isprintable() else " " for c in text)


@contextmanager
def working(what: str, *, quiet: bool) -> Iterator[None]:
    """Show on the error stream that something is being done, where somebody watches."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


def _cue_table(cues: Cues) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("emotion", "gender", "age", "events", "style"):
        cue: Cue = getattr(cues, name)
        if cue.is_known:
            bar = "█" * round(cue.confidence * _BAR)
            row = (cue.label, Text(bar.ljust(_BAR, "·"), "yellow"), f"{cue.confidence:.0%}")
        else:
            row = ("unknown", Text(cue.why, "dim"), "")
        table.add_row(Text(name.ljust(10), "dim"), *row)
    return table


def _remembered(recollection: Recollection) -> str:
    n = len(recollection.turns)
    before = [f"the last {n} turns" if n > 1 else "the last turn"] if n else []
    return " · ".join([*before, *recollection.facts, *filter(None, [recollection.mood])])


def steps(
    timings: Timings, columns: int, whole: Seconds | None = None
) -> Iterator[tuple[str, str, str]]:
    """The stages of an answer, each as its name, a bar where it lies in time, and when it was done.

    Args:
        timings: When each stage was done; those that never were are left out.
        columns: Width of a bar.
        whole: Time of the right end of the bars; what lies beyond is shown as an arrow. None is the
            end of the answer.
    """
    whole = max(whole or timings.done or 1.0, 0.001)
    before = 0.0
    for name, label in STAGES:
        if (at := getattr(timings, name)) is None:
            continue
        start = min(columns - 1, round(min(1.0, before / whole) * columns))
        length = max(1, round(min(1.0, at / whole) * columns) - start)
        bar = "▇" * length if at <= whole else "▇" * (length - 1) + "▸"
        yield label, (" " * start + bar).ljust(columns), f"{at:.2f} s"
        before = at


def _waterfall(timings: Timings) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), pad_edge=False)
    for label, bar, at in steps(timings, _BAR):
        table.add_row(Text(label.ljust(14), "dim"), Text(bar, "blue"), at)
    return table
