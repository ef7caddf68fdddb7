"""`echat eval safety`: what the detector finds in utterances of our own, and what it takes for one.

The words were written for this and copied from nowhere, all by whoever wrote the rules. `held_out`
was written before any rule, but known to their author; `third` and `fourth` were first run unseen
and tuned on after. Of words that no rule was written for, only `fresh` tells: after it was run
rules were only narrowed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args

from echat_sdk.plain_words import plain
from echat_sdk.safety.danger import Category, Danger, detect
from echat_sdk.turn import Lang

Label = Literal["explicit", "veiled", "third_person", "facilitation", "idiom", "neutral", "news"]
Split = Literal["dev", "held_out", "third", "fourth", "fresh"]
LABELS: tuple[Label, ...] = get_args(Label)
SPLITS: tuple[Split, ...] = get_args(Split)

LEAST: Mapping[Label, float] = {"explicit": 0.95, "veiled": 0.80}
"""Least recall on `held_out`, by label."""

MOST_FALSE = 0.05
"""Most idioms of `held_out` that may be taken for a danger."""

_DROPPED = 0.04  # share of words, or of Chinese characters, that a noisy copy lacks
_MISHEARD = 0.3  # share of the words with a homophone that a noisy copy has wrong
_SEED = 7


@dataclass(frozen=True, slots=True)
class Utterance:
    """Something said, and what it is.

    Attributes:
        category: What is at stake; None where nothing is.
    """

    text: str
    lang: Lang
    label: Label
    category: Category | None
    split: Split


@dataclass(frozen=True, slots=True)
class Judged:
    """An utterance and what was found in it."""

    utterance: Utterance
    found: Danger | None

    @property
    def is_right(self) -> bool:
        """Whether a danger was found where there is one, and none where there is none."""
        return (self.found is None) == (self.utterance.category is None)


@dataclass(frozen=True, slots=True)
class Report:
    """All utterances of a split, judged."""

    split: Split
    judged: Sequence[Judged]

    def share_found(self, label: Label) -> float:
        """Share of a label in which a danger was found: recall, or false alarms."""
        mine = [one.found is not None for one in self.judged if one.utterance.label == label]
        return sum(mine) / max(1, len(mine))

    @property
    def matrix(self) -> Mapping[str, Mapping[str, int]]:
        """How often what (rows; `none` for no danger) was taken for what (columns)."""
        names = [*Category, "none"]
        counts = {row: dict.fromkeys(names, 0) for row in names}
        for one in self.judged:
            found = one.found.category if one.found else "none"
            counts[one.utterance.category or "none"][found] += 1
        return counts

    @property
    def false_alarms(self) -> float:
        """Share of what is no danger that was taken for one."""
        mine = [one.found is not None for one in self.judged if one.utterance.category is None]
        return sum(mine) / max(1, len(mine))

    @property
    def wrong(self) -> Sequence[Judged]:
        """What was missed, and the false alarms."""
        return [one for one in self.judged if not one.is_right]

    @property
    def has_passed(self) -> bool:
        """Whether the bars are met."""
        return self.share_found("idiom") <= MOST_FALSE and all(
            self.share_found(label) >= least for label, least in LEAST.items()
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        labels = {one.utterance.label for one in self.judged}
        return {
            "split": self.split,
            "utterances": len(self.judged),
            "passed": self.has_passed,
            "false_alarms": round(self.false_alarms, 4),
            "found": {
                label: {
                    "of": sum(one.utterance.label == label for one in self.judged),
                    "share": round(self.share_found(label), 4),
                }
                for label in LABELS
                if label in labels
            },
            "matrix": self.matrix,
            "wrong": [
                {
                    "text": one.utterance.text,
                    "label": one.utterance.label,
                    "found": one.found.category if one.found else None,
                }
                for one in self.wrong
            ],
        }


@cache
def utterances() -> Sequence[Utterance]:
    """The labelled set, in the order of its file."""
    data = resources.files("echat_plugins.safety") / "data" / "utterances.jsonl"
    rows = [json.loads(line) for line in data.read_text("utf-8").splitlines()]
    return tuple(
        Utterance(
            row["text"],
            row["lang"],
            row["label"],
            Category(row["category"]) if row["category"] else None,
            row["split"],
        )
        for row in rows
    )


def judge(
    split: Split, *, noisy: bool = False, detector: Callable[[str], Danger | None] = detect
) -> Report:
    """The utterances of a split through a detector.

    Args:
        split: Which utterances.
        noisy: As a transcriber in a noisy room may write them; the same copy each time.
        detector: What is measured.
    """
    mine = [utterance for utterance in utterances() if utterance.split == split]
    said = misheard(mine, random.Random(_SEED)) if noisy else iter(mine)
    return Report(split, [Judged(each, detector(each.text)) for each in said])


def misheard(of: Sequence[Utterance], chance: random.Random) -> Iterator[Utterance]:
    """Copies without case and punctuation, with homophones for words, and some words dropped."""
    for utterance in of:
        words = plain(utterance.text)
        parts = words.split() if utterance.lang == "en" else list(words.replace(" ", ""))
        alike = _ALIKE[utterance.lang]
        heard = [
            alike[part] if part in alike and chance.random() < _MISHEARD else part
            for part in parts
            if chance.random() >= _DROPPED
        ]
        yield replace(utterance, text=(" " if utterance.lang == "en" else "").join(heard))


def _both_ways(pairs: str) -> Mapping[str, str]:
    found = [pair.split("/") for pair in pairs.split()]
    return {a: b for one, other in found for a, b in ((one, other), (other, one))}


_ALIKE: Mapping[Lang, Mapping[str, str]] = {
    "en": _both_ways(
        "their/there to/too your/you're know/no hear/here be/bee right/write hole/whole new/knew "
        "week/weak one/won son/sun buy/by four/for way/weigh die/dye not/knot would/wood its/it's "
        "pain/pane night/knight wait/weight sea/see they'd/they i'd/i i've/i won't/want than/then "
        "heart/hart dead/debt worth/work leave/live pills/pulls end/and"
    ),
    "zh": _both_ways(
        "在/再 的/得 做/作 他/她 那/哪 已/以 像/象 药/要 活/火 楼/漏 死/四 想/响 进/近 带/戴 坐/座 "
        "园/圆 记/计 事/是 没/每 长/常 觉/绝"
    ),
}
