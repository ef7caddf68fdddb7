"""`echat eval replies`: typed situations through a model, its answers through the checks.

A regression alarm, not a measure of empathy: an answer can pass every check and still be beside
the point. Read them (`--show`).
"""

from __future__ import annotations

import json
import re
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from echat_sdk.cues import Cue, Cues, ReplyEmotion
from echat_sdk.errors import EChatError
from echat_sdk.model.cascade.checks import Fault, Reply, faults
from echat_sdk.plain_words import is_chinese
from echat_sdk.protocols import SpeechModel
from echat_sdk.safety.caring import was_caring
from echat_sdk.turn import Lang, Recollection, TextDelta, ThinkDelta, Thought, Turn

PASS_SHARE = 0.9
"""Share of situations that must pass."""

_CONFIDENT = 0.9  # of a cue that a situation gives


@dataclass(frozen=True, slots=True)
class Expected:
    """What an answer must hold, must not hold, and how it may be spoken.

    Attributes:
        any: Patterns (case does not count); each must be found.
        none: Patterns that must not be found.
        emotions: Reply emotions that fit; empty if any does.
        care: Whether it must be a fixed caring reply, must not be, or None for either.
    """

    any: tuple[str, ...] = ()
    none: tuple[str, ...] = ()
    emotions: tuple[str, ...] = ()
    care: bool | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """One thing said, how, and what is remembered.

    Attributes:
        group: Situations of one group are the same words in different voices.
    """

    name: str
    text: str
    cues: Cues
    recollection: Recollection
    expected: Expected
    lang: Lang
    group: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """An answer and what is wrong with it.

    Attributes:
        first_seconds: Until the first words of the answer.
        seconds: Until its last.
    """

    situation: Situation
    reply: str
    emotion: ReplyEmotion
    faults: tuple[Fault, ...]
    first_seconds: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "id": self.situation.name,
            "heard": self.situation.text,
            "voice": self.situation.cues.emotion.label,
            "event": self.situation.cues.events.label,
            "reply": self.reply,
            "reply_emotion": self.emotion.word,
            "faults": {fault.check: fault.why for fault in self.faults},
            "first_seconds": round(self.first_seconds, 3),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """All results, and what they come to."""

    results: tuple[Result, ...] = field(repr=False)

    @property
    def share(self) -> float:
        """Share of situations whose answer has no fault."""
        return sum(not r.faults for r in self.results) / max(1, len(self.results))

    @property
    def per_check(self) -> Mapping[str, int]:
        """How many answers failed each check, most first."""
        return dict(Counter(f.check for r in self.results for f in r.faults).most_common())

    @property
    def has_passed(self) -> bool:
        """Whether enough situations pass."""
        return bool(self.results) and self.share >= PASS_SHARE

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        times = [r.first_seconds for r in self.results] or [0.0]
        return {
            "situations": len(self.results),
            "share": round(self.share, 4),
            "passed": self.has_passed,
            "failures": self.per_check,
            "first_seconds_p50": round(statistics.median(times), 3),
            "first_seconds_max": round(max(times), 3),
            "results": [r.to_json() for r in self.results],
        }


def situations() -> tuple[Situation, ...]:
    """Our own situations; none is in the bank that answers are written in."""
    data = resources.files("echat_training") / "data" / "situations.jsonl"
    return tuple(_read(json.loads(line)) for line in data.read_text("utf-8").splitlines() if line)


def _read(row: Mapping[str, Any]) -> Situation:
    def cue(key: str) -> Cue:
        return Cue(row[key], _CONFIDENT) if row.get(key) else Cue()

    expect = row.get("expect", {})
    return Situation(
        name=row["id"],
        text=row["text"],
        cues=Cues(emotion=cue("emotion"), events=cue("event")),
        recollection=Recollection(
            turns=tuple(Turn(t["transcript"], reply=t["reply"]) for t in row.get("turns", ())),
            facts=tuple(row.get("facts", ())),
        ),
        expected=Expected(
            any=tuple(expect.get("any", ())),
            none=tuple(expect.get("none", ())),
            emotions=tuple(expect.get("emotion", ())),
            care=expect.get("care"),
        ),
        lang=row.get("lang") or ("zh" if is_chinese(row["text"]) else "en"),
        group=row.get("group", ""),
    )


def answer_all(model: SpeechModel, of: Iterable[Situation]) -> Iterator[Result]:
    """Put each situation to a model and check its answer; an error of the model is a fault."""
    for situation in of:
        yield _answer(model, situation)


def _answer(model: SpeechModel, situation: Situation) -> Result:
    text, emotion, first = "", ReplyEmotion.NEUTRAL, 0.0
    broke: list[Fault] = []
    start = time.perf_counter()
    try:
        hearing = model.read(situation.text, situation.cues, lang=situation.lang)
        for delta in hearing.reply(situation.recollection, think="tag", speak=False):
            match delta:
                case ThinkDelta():
                    pass
                case Thought():
                    emotion = delta.reply_emotion
                case TextDelta():
                    first = first or time.perf_counter() - start
                    text += delta.text
                case _:
                    pass
    except EChatError as error:
        broke.append(Fault("error", type(error).__name__))
    seconds = time.perf_counter() - start
    found = (*broke, *judge(situation, text, emotion))
    return Result(situation, text, emotion, found, first or seconds, seconds)


def judge(situation: Situation, text: str, emotion: ReplyEmotion) -> list[Fault]:
    """All that is wrong with an answer to a situation."""
    memory = situation.recollection
    reply = Reply(
        text,
        situation.lang,
        heard=situation.text,
        known=(*memory.facts, *(turn.transcript for turn in memory.turns)),
        earlier=tuple(turn.reply for turn in memory.turns),
        is_care=was_caring(text),
    )
    wanted = situation.expected
    found = faults(reply)
    found += [Fault("expected", f"no {p}") for p in wanted.any if not _has(p, text)]
    found += [Fault("unwanted", f"has {p}") for p in wanted.none if _has(p, text)]
    if wanted.emotions and emotion.word not in wanted.emotions:
        found.append(Fault("emotion", f"{emotion.word} instead of {' or '.join(wanted.emotions)}"))
    if wanted.care is not None and wanted.care is not was_caring(text):
        found.append(
            Fault("care", "no caring reply" if wanted.care else "a caring reply for no danger")
        )
    return found


def _has(pattern: str, text: str) -> bool:
    return bool(re.search(pattern, text, re.IGNORECASE))


def report(results: Sequence[Result]) -> Report:
    """The results with one more check: the same words in another voice get another answer."""
    by_group: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        if result.situation.group:
            by_group[result.situation.group].append(result)
    same = Fault("counterfactual", "the same answer to another voice")
    doubled: set[str] = set()
    for group in by_group.values():
        said = Counter(result.reply for result in group)
        doubled |= {r.situation.name for r in group if said[r.reply] > 1}
    return Report(
        tuple(
            Result(r.situation, r.reply, r.emotion, (*r.faults, same), r.first_seconds, r.seconds)
            if r.situation.name in doubled
            else r
            for r in results
        )
    )
