"""Weeks of a mood on the terminal: a line of days, a band of how much was heard, and a few words.

A day without data is blank. Where there are colours they help; nothing hangs on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from echat_memory.mood_home import HOME_DAYS, TREND_DAYS, Home, InsufficientData
from echat_sdk.cli.account import printable

if TYPE_CHECKING:
    from echat_memory.mood_report import DayMood, MoodReport

ROWS = 9
"""Lines of the drawing. Odd, so that neutral has one of its own."""
TOP = 0.8
"""Valence at the upper edge: no emotion of ours lies further out."""

_LEGEND = "▃ how many turns were heard   · none of them known"
_WIDE = 60
_NAMES = {True: ("pleasant", "neutral", "unpleasant"), False: ("+", "0", "-")}
_REASONS = 4
_DOTS = 4  # of a braille character's column
_BRAILLE = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BLOCKS = "▁▂▃▄▅▆▇█"
_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class MoodView:
    """A report as rich prints it, as wide as the terminal is.

    Attributes:
        report: What is drawn.
        first: The day at the left edge; `report.today` is at the right one.
    """

    report: MoodReport
    first: date

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The drawing, then the words."""
        width = options.max_width
        yield Text(title(self.first, self.report.today, self.report.zone), "bold")
        yield Text()
        gutter = len(_NAMES[width >= _WIDE][-1]) + 2
        scale = _scale(self.first, self.report.today, max(width - gutter - 1, 7))
        yield from _drawing(self.report, scale, gutter, _NAMES[width >= _WIDE])
        home = "┄ home base   " if isinstance(self.report.home, Home) else ""
        step = {1: "a day", 7: "a week"}.get(scale.step, f"{scale.step // 7} weeks")
        yield Text(f"⠒ {step}   {home}{_LEGEND}", "dim")
        yield Text()
        yield _words(self.report)


def title(first: date, last: date, zone: str) -> str:
    """What is shown, such as `Mood, 2 March to 26 April 2026, days of Europe/Berlin`."""
    year = f" {first.year}" if first.year != last.year else ""
    return f"Mood, {first.day} {first:%B}{year} to {last.day} {last:%B %Y}, days of {zone}"


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where a day lies: `step` days share `dots` columns of dots, one day where that fits."""

    first: date
    last: date
    dots: int
    step: int

    @property
    def width(self) -> int:
        """In characters."""
        slots = (self.last - self.first).days // self.step + 1
        return -(-slots * self.dots // 2)

    def slot(self, day: date) -> int:
        return (day - self.first).days // self.step

    def column(self, day: date) -> int:
        """The character that a day begins in."""
        return self.slot(day) * self.dots // 2


def _scale(first: date, last: date, room: int) -> _Scale:
    days, most = (last - first).days + 1, room * 2
    weeks = -(-days // 7)
    step = 1 if days <= most else 7 * -(-weeks // most)
    slots = -(-days // step)
    return _Scale(first, last, next(dots for dots in (4, 2, 1) if slots * dots <= most), step)


def _drawing(
    report: MoodReport, scale: _Scale, gutter: int, names: tuple[str, str, str]
) -> list[Text]:
    slots = _slots(report.days, scale)
    lines = _line(slots, scale)
    home = report.home if isinstance(report.home, Home) else None
    base = _row(home.base.valence) // _DOTS if home else -1
    from_column = scale.column(max(scale.first, report.today - timedelta(days=HOME_DAYS - 1)))
    told = {0: names[0], ROWS // 2: names[1], ROWS - 1: names[2]}
    out = []
    for number, row in enumerate(lines):
        axis = "┤" if number in told else "│"
        text = Text(no_wrap=True)
        text.append(f"{told.get(number, ''):>{gutter - 1}}{axis}", "dim")
        for column, dots in enumerate(row):
            if dots:
                text.append(chr(0x2800 + dots), "cyan")
            elif number == base and column >= from_column:
                text.append("┄", "yellow")
            else:
                text.append(" ")
        out.append(text)
    out.append(_dates(scale, gutter))
    out.append(_heard(slots, scale, gutter, "heard" if gutter > 6 else "n"))
    return out


def _slots(days: Sequence[DayMood], scale: _Scale) -> dict[int, list[DayMood]]:
    found: dict[int, list[DayMood]] = {}
    for day in days:
        if scale.first <= day.day <= scale.last:
            found.setdefault(scale.slot(day.day), []).append(day)
    return found


def _line(slots: dict[int, list[DayMood]], scale: _Scale) -> list[list[int]]:
    """The dots of each character: a step for each day, joined where days follow each other."""
    grid = [[0] * scale.width for _ in range(ROWS)]

    def dot(x: int, y: int) -> None:
        grid[y // _DOTS][x // 2] |= _BRAILLE[x % 2][y % _DOTS]

    before: tuple[int, int] | None = None
    for slot in sorted(slots):
        valence = _valence(slots[slot])
        if valence is None:
            continue
        y, left = _row(valence), slot * scale.dots
        for x in range(left, left + scale.dots):
            dot(x, y)
        if before is not None and before[0] == slot - 1:
            for between in range(min(y, before[1]) + 1, max(y, before[1])):
                dot(left, between)
        before = slot, y
    return grid


def _valence(days: Sequence[DayMood]) -> float | None:
    placed = [(day.affect.valence, day.weight) for day in days if day.affect is not None]
    weight = sum(w for _, w in placed)
    return sum(value * w for value, w in placed) / weight if weight else None


def _row(valence: float) -> int:
    """The line of dots, from the top, that a valence lies on."""
    last = ROWS * _DOTS - 1
    return round((TOP - max(-TOP, min(TOP, valence))) / (2 * TOP) * last)


def _dates(scale: _Scale, gutter: int) -> Text:
    """The Mondays, as many as find room."""
    marks = [" "] * scale.width
    labels = ""
    day = scale.first + timedelta(days=-scale.first.weekday() % 7)
    while day <= scale.last:
        column, label = scale.column(day), f"{day.day} {day:%b}"
        if column >= len(labels) + bool(labels) and column + len(label) <= scale.width:
            labels = f"{labels:<{column}}{label}"
            marks[column] = "┬"
        day += _WEEK
    if not labels:  # a few days without a Monday
        labels, marks[0] = f"{scale.first.day} {scale.first:%b}", "┬"
    marks = [mark.replace(" ", "─") for mark in marks]
    pad = " " * gutter
    return Text(f"{pad[1:]}└{''.join(marks)}\n{pad}{labels}", "dim", no_wrap=True)


def _heard(slots: dict[int, list[DayMood]], scale: _Scale, gutter: int, name: str) -> Text:
    """A bar for the turns of a day whose emotion is known; a dot where none of them is."""
    columns: dict[int, list[DayMood]] = {}
    for slot, days in slots.items():
        for x in range(slot * scale.dots // 2, -(-(slot + 1) * scale.dots // 2)):
            columns.setdefault(x, []).extend(days)
    known = {column: sum(day.known for day in days) for column, days in columns.items()}
    most = max(known.values(), default=0)
    text = Text(no_wrap=True)
    text.append(f"{name:>{gutter - 1}} ", "dim")
    for column in range(scale.width):
        if column not in known:
            text.append(" ")
        elif not known[column]:
            text.append("·", "dim")
        else:
            text.append(_BLOCKS[-(-known[column] * len(_BLOCKS) // most) - 1], "blue")
    return text


def _words(report: MoodReport) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, words in _told(report):
        table.add_row(name, words)
    table.add_row("", Text("Apparent, expressed emotion. Not a diagnosis.", "dim"))
    return table


def _told(report: MoodReport) -> list[tuple[str, str]]:
    """The report in hedged words, by what they are about."""
    return [
        ("home base", _home(report)),
        ("of late", _of_late(report)),
        ("two weeks", _trend(report)),
        ("heard", _coverage(report)),
    ]


def _home(report: MoodReport) -> str:
    if isinstance(report.home, InsufficientData):
        return _missing(report.home)
    base, spread = report.home.base, report.home.spread
    return (
        f"valence {base.valence:+.2f} ± {spread.valence:.2f}, the median of {report.home.days} "
        f"days within {HOME_DAYS}"
    )


def _of_late(report: MoodReport) -> str:
    if isinstance(report.deviation, InsufficientData) or isinstance(report.mood, InsufficientData):
        return "cannot be told without a home base"
    away = report.deviation.valence
    if abs(away) < 1:
        words = "about as usual for them"
    else:
        much = "" if abs(away) >= 2 else "a little "
        words = f"perhaps {much}{'lower' if away < 0 else 'brighter'} than is usual for them"
    return f"valence {report.mood.valence:+.2f}: {words} ({away:+.1f} spreads)"


def _trend(report: MoodReport) -> str:
    if isinstance(report.trend, InsufficientData):
        return _missing(report.trend)
    slope = report.trend.valence
    if not slope.is_clear:
        return "neither clearly rising nor falling"
    way = "rising" if slope.per_day > 0 else "falling"
    return f"perhaps {way}, by about {abs(slope.per_day) * TREND_DAYS:.2f} within {TREND_DAYS} days"


def _coverage(report: MoodReport) -> str:
    if report.coverage is None:
        return "nothing in these weeks"
    told = (
        f"{_count(report.n_turns, 'turn')} on {_count(len(report.days), 'day')}; the emotion of "
        f"{report.coverage:.0%} is known"
    )
    if not report.unknown:
        return told
    commonest = list(report.unknown.items())[:_REASONS]
    reasons = [f"{printable(why)} ({count})" for why, count in commonest]
    rest = sum(report.unknown.values()) - sum(count for _, count in commonest)
    reasons += [f"other reasons ({rest})"] * bool(rest)
    return f"{told}. Of the others: {', '.join(reasons)}"


def _missing(data: InsufficientData) -> str:
    return f"not enough data: {data.missing}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
