"""Ends of turns: several ways to tell them, at every setting, on the same clips."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from echat_sdk.audio import Seconds
from echat_sdk.bench.turn_clips import TAIL
from echat_sdk.bench.turn_runs import Chance, Ears, Hangs, Listened, TurnOutcome, take_turn
from echat_sdk.bench.turn_scripts import Group
from echat_sdk.turn_policy import TurnPolicy

_SHORT = (0.16, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3)
_LONG = (0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.4, 3.0)
_AT = 0.05


@dataclass(frozen=True, slots=True)
class System:
    """A way to tell that somebody has finished.

    Attributes:
        name: As the table shows it.
        policy: Its delays.
        chance: How complete a turn sounds; None goes by the clock.
        hangs: Whether its words hang in the air; None goes by the sound.
        ears: What hears.
    """

    name: str
    policy: TurnPolicy
    chance: Chance | None = None
    hangs: Hangs | None = None
    ears: Ears = "bare"

    def waiting(self, short: Seconds, long: Seconds | None = None) -> System:
        """The same with another delay after a complete turn, and after an incomplete one.

        Words that come later than the first of them are not waited for.
        """
        soft = min(self.policy.soft_end, short)
        most = short if self.chance is None else max(short, long or self.policy.max_delay)
        between = min(max(self.policy.delay, short), most)
        delays = {"soft_end": soft, "min_delay": short, "delay": between, "max_delay": most}
        delays["words"] = min(self.policy.words, short)
        return replace(self, policy=self.policy.model_copy(update=delays))

    def of(self, clips: Sequence[Listened]) -> list[TurnOutcome]:
        """Every clip that its ears heard."""
        return [
            take_turn(clip, self.policy, self.chance, self.hangs)
            for clip in clips
            if clip.ears == self.ears
        ]


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of one system: what it costs in cut-offs and in waiting."""

    short: Seconds
    long: Seconds
    cutoffs: float
    latency: Seconds


@dataclass(frozen=True, slots=True)
class TurnRow:
    """What one system makes of the turns.

    Attributes:
        system: Its name.
        cutoffs_300: Share of pauses in which the turn was ended, with a delay of 0.3 s.
        cutoffs_600: Likewise, of 0.6 s.
        clips_cut_300: Share of clips that were ended too soon anywhere, with 0.3 s.
        latency_at_5: Mean delay with at most 5 % false cut-offs; None where no setting does that.
        cutoffs: With the system's own delays.
        mean: Of the delay, likewise.
        median: Of the delay from the end of speech to the end of the turn, likewise.
        p95: Likewise.
        answer: Median until the turn could be answered, likewise: ended, and its words known.
        unended: Turns that had not ended when the clip had, of all.
        groups: Cut-offs of pauses and median delay, by what the clips try.
        curve: Every setting that was tried.
    """

    system: str
    cutoffs_300: float
    cutoffs_600: float
    clips_cut_300: float
    latency_at_5: Seconds | None
    cutoffs: float
    mean: Seconds
    median: Seconds
    p95: Seconds
    answer: Seconds
    unended: float
    groups: Mapping[Group, tuple[float, Seconds]]
    curve: tuple[Point, ...]

    @property
    def frontier(self) -> list[Point]:
        """The settings of which none other is both faster and more careful."""
        best: list[Point] = []
        for point in sorted(self.curve, key=lambda p: (p.latency, p.cutoffs)):
            if not best or point.cutoffs < best[-1].cutoffs:
                best.append(point)
        return best


@dataclass(frozen=True, slots=True)
class NoiseRow:
    """What one system makes of the turns in one noise.

    Attributes:
        system: Its name.
        noise: Which, and how many decibels the speech is above it.
        clips: How many.
        cut: Of these, ended before the user had finished.
        unended: Of these, that had not ended when the clip had.
        median: Of the delay, with the system's own delays.
    """

    system: str
    noise: str
    clips: int
    cut: int
    unended: int
    median: Seconds


def systems(policy: TurnPolicy, chance: Chance, hangs: Hangs) -> tuple[System, ...]:
    """Ours, and what it is measured beside."""

    def threshold(heard: Listened, first: int, last: int) -> float:
        return 1.0 if chance(heard, first, last) >= 0.5 else 0.0

    # As its authors run it: asked after 0.2 s without speech, and believed.
    alone = policy.model_copy(update={"soft_end": 0.2})
    return (
        System("plain VAD", policy).waiting(policy.delay),
        System("Smart Turn", alone, threshold),
        System("ours, by sound", policy, chance, ears="ours"),
        System("ours", policy, chance, hangs, ears="ours"),
    )


def in_noise(tried: Iterable[System], clips: Sequence[Listened]) -> tuple[NoiseRow, ...]:
    """Each system in each noise."""
    rows = []
    for system in tried:
        by: dict[str, list[Listened]] = {}
        for heard in clips:
            plan = heard.clip.plan
            if plan.noise is not None and heard.ears == system.ears:
                by.setdefault(f"{plan.noise}, {plan.level} dB", []).append(heard)
        for noise, those in by.items():
            found = system.of(those)
            rows.append(
                NoiseRow(
                    system=system.name,
                    noise=noise,
                    clips=len(found),
                    cut=sum(o.is_cut for o in found),
                    unended=sum(o.latency is None for o in found),
                    median=statistics.median(_delays(found)),
                )
            )
    return tuple(rows)


def measure(system: System, clips: Sequence[Listened]) -> TurnRow:
    """One system on every clip, with its own delays and with all that are tried."""
    at_300, at_600 = (system.waiting(short).of(clips) for short in (0.3, 0.6))
    now = system.of(clips)
    late = _delays(now)
    longs: tuple[Seconds | None, ...] = (None,) if system.chance is None else _LONG
    shorts = sorted({*_SHORT, *_LONG}) if system.chance is None else _SHORT
    curve = tuple(
        _point(system.waiting(short, long), clips)
        for short, long in itertools.product(shorts, longs)
        if long is None or long >= short
    )
    return TurnRow(
        system=system.name,
        cutoffs_300=_cutoffs(at_300),
        cutoffs_600=_cutoffs(at_600),
        clips_cut_300=share(o.is_cut for o in at_300),
        latency_at_5=min((p.latency for p in curve if p.cutoffs <= _AT), default=None),
        cutoffs=_cutoffs(now),
        mean=statistics.fmean(late),
        median=statistics.median(late),
        p95=float(np.percentile(late, 95)),
        answer=statistics.median(TAIL if o.answer is None else o.answer for o in now),
        unended=share(o.latency is None for o in now),
        groups=_by_group([clip for clip in clips if clip.ears == system.ears], now),
        curve=curve,
    )


def _point(system: System, clips: Sequence[Listened]) -> Point:
    outcomes = system.of(clips)
    policy = system.policy
    late = statistics.fmean(_delays(outcomes) or [0])
    return Point(policy.min_delay, policy.max_delay, _cutoffs(outcomes), late)


def _by_group(
    clips: Sequence[Listened], outcomes: Sequence[TurnOutcome]
) -> dict[Group, tuple[float, Seconds]]:
    found: dict[Group, list[TurnOutcome]] = {}
    for heard, outcome in zip(clips, outcomes, strict=True):
        found.setdefault(heard.clip.plan.group, []).append(outcome)
    return {
        group: (
            _cutoffs(those),
            statistics.median(_delays(those)),
        )
        for group, those in found.items()
    }


def _delays(outcomes: Iterable[TurnOutcome]) -> list[Seconds]:
    """Of a turn that never ended: all that was heard after it."""
    return [TAIL if outcome.latency is None else outcome.latency for outcome in outcomes]


def _cutoffs(outcomes: Sequence[TurnOutcome]) -> float:
    return share(cut for outcome in outcomes for cut in outcome.cut)


def share(those: Iterable[bool]) -> float:
    """Of those that are true; 0 of none."""
    flags = list(those)
    return sum(flags) / len(flags) if flags else 0.0
