"""Weeks of a mood as a picture: valence and arousal, each day a point, by matplotlib."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echat_memory.mood_home import HALF_SURE, HOME_DAYS, Home
from echat_sdk.cli.mood_view import title

if TYPE_CHECKING:
    from echat_memory.mood_report import DayMood, MoodReport

_COLOURS = {"valence": "#0072b2", "arousal": "#d55e00"}  # told apart by all eyes
_ENDS = {"valence": ("unpleasant", "pleasant"), "arousal": ("calm", "stirred")}
_GREY = "#666666"


def plot(report: MoodReport, first: date, path: Path) -> None:
    """Draw the days from `first` to the report's own: each a point, the larger the more was heard.

    Days that follow each other are joined; a day without data leaves a gap.

    Args:
        report: What is drawn.
        first: The day at the left edge.
        path: A PNG; what is there is overwritten.

    Raises:
        OSError: it cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.6), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    days = [day for day in report.days if first <= day.day <= report.today]
    for axes, name in zip(panels, _COLOURS, strict=True):
        _days(axes, days, name)
        _home(axes, report, first, name)
        axes.axhline(0, color=_GREY, linewidth=0.5)
        axes.set_ylim(-1, 1)
        axes.set_yticks([-1, -0.5, 0, 0.5, 1])
        low, high = _ENDS[name]
        axes.set_ylabel(f"{name}\n{low}  ↔  {high}")
        axes.grid(axis="x", color="#eeeeee")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    mondays = _mondays(first, report.today)
    panels[-1].set_xticks(mondays, labels=[f"{day.day} {day:%b}" for day in mondays])
    margin = timedelta(days=1)
    panels[-1].set_xlim(first - margin, report.today + margin)
    figure.suptitle(title(first, report.today, report.zone))
    figure.supxlabel(
        "A point is a day, the larger the more was heard. Band: home base, over the days behind it."
        "\nApparent, expressed emotion. Not a diagnosis.",
        color=_GREY,
        fontsize="small",
    )
    figure.savefig(path, dpi=150, format="png")


def _mondays(first: date, last: date) -> list[date]:
    """Ten or fewer, evenly."""
    monday = first + timedelta(days=-first.weekday() % 7)
    weeks = (last - monday).days // 7 + 1
    return [monday + timedelta(weeks=week) for week in range(0, weeks, -(-weeks // 10))]


def _days(axes: Any, days: list[DayMood], name: str) -> None:
    colour = _COLOURS[name]
    placed = [(day.day, getattr(day.affect, name), day.weight) for day in days if day.affect]
    runs: list[list[tuple[date, float, float]]] = []
    for day in placed:
        if runs and (day[0] - runs[-1][-1][0]).days == 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    for run in runs:
        axes.plot([d for d, _, _ in run], [v for _, v, _ in run], color=colour, linewidth=1.2)
    sizes = [15 + 105 * weight / (weight + HALF_SURE) for _, _, weight in placed]
    axes.scatter(
        [d for d, _, _ in placed],
        [v for _, v, _ in placed],
        s=sizes,
        color=colour,
        edgecolor="white",
        linewidth=0.8,
        zorder=3,
    )


def _home(axes: Any, report: MoodReport, first: date, name: str) -> None:
    if not isinstance(report.home, Home):
        return
    base, spread = getattr(report.home.base, name), getattr(report.home.spread, name)
    over = [max(first, report.today - timedelta(days=HOME_DAYS - 1)), report.today]
    axes.fill_between(over, base - spread, base + spread, color=_COLOURS[name], alpha=0.12, lw=0)
    axes.plot(over, [base, base], color=_COLOURS[name], linewidth=0.9, linestyle="--")
