"""The trade-off of `echat bench turns` as a picture: cut off less, or answer sooner."""

from __future__ import annotations

from pathlib import Path

from echat_sdk.bench.turns import TurnBench
from echat_sdk.errors import ModelMissingError

_STYLES = (  # colour, mark, line; in the order of the table
    ("#9a9a9a", "s", "-"),
    ("#d08c2c", "^", "-"),
    ("#7fb2dc", "D", "--"),
    ("#1f6fb4", "o", "-"),
)
_MOST = 2.5  # seconds that are shown


def plot(found: TurnBench, file: Path) -> None:
    """Draw the best settings of each system, and the one that each has now.

    Raises:
        ModelMissingError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ModelMissingError(
            "matplotlib is not installed; pip install 'echat-sdk[training]'"
        ) from error
    figure = Figure(figsize=(7.2, 4.6), dpi=140, layout="constrained")
    axes = figure.subplots()
    for row, (colour, mark, line) in zip(found.turns, _STYLES, strict=True):
        best = row.frontier
        axes.step(
            [point.latency for point in best],
            [100 * point.cutoffs for point in best],
            where="post",
            color=colour,
            linewidth=2,
            linestyle=line,
        )
        axes.plot(
            row.mean,
            100 * row.cutoffs,
            marker=mark,
            color=colour,
            markersize=9,
            markeredgecolor="white",
            linestyle=line,
            linewidth=2,
            label=row.system,
            zorder=3,
        )
    axes.axhline(5, color="#b03030", linewidth=1, linestyle=":")
    axes.annotate(
        "5 %", (_MOST, 5), (-4, 3), textcoords="offset points", ha="right", color="#b03030"
    )
    axes.set_xlim(0, _MOST)
    axes.set_ylim(0, 100)
    axes.set_xlabel("mean delay after the end of speech (s)")
    axes.set_ylabel("pauses in which the turn was ended (%)")
    axes.set_title(
        f"{found.clips} turns with {found.pauses} pauses, {found.set} · marks: as set",
        fontsize=10,
    )
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(file)
