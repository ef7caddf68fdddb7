"""How well memory answers: own questions on own histories, without a judge.

`pytest tests/memory/test_recall_set.py -m slow -s` prints the table. The shape is LongMemEval's
(five abilities, evidence among distractors) with two of ES-MemEval's: conflict, user model. `dev`
is what the search was tuned on, `heldout` is not.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from echat_memory import SQLMemory
from echat_memory.telling import telling
from echat_memory.times import ago
from echat_sdk.consent import REMEMBERED
from echat_sdk.model.cascade.recall import as_answer, remembered
from echat_sdk.turn import Lang, Recollection, Turn

DATA = Path(__file__).parents[1] / "data" / "recall"
LANGS: tuple[Lang, ...] = ("en", "zh")
SPLITS = ("dev", "heldout")
USERS = 3
TURNS = 300
DAYS = 60
SEED = 20260302


@dataclass(frozen=True)
class Question:
    """What is asked at the end of a history, and what is right."""

    ability: str
    split: str
    lang: Lang
    user: str
    ask: str
    evidence: tuple[str, ...]
    answer: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    asks: bool = False
    is_fact: bool = False


@dataclass
class History:
    """One user's life: when they said what."""

    user: str
    lang: Lang
    turns: list[tuple[datetime, str]] = field(default_factory=list)


END = datetime(2026, 5, 4, 12, tzinfo=UTC)


def _chatter(lang: Lang, rng: random.Random) -> str:
    words = json.loads((DATA / "chatter.json").read_text("utf-8"))[lang]
    line: str = rng.choice(words["lines"])
    for key in "abcd":
        line = line.replace(f"{{{key}}}", rng.choice(words[key]))
    return line


def _made(split: str, lang: Lang, number: int) -> tuple[History, list[Question]]:
    """A history of hundreds of turns in which a few things were told, and what is asked of it."""
    user = f"{split} {lang} {number}"
    rng = random.Random(f"{SEED} {user}")
    history = History(user, lang)
    told: dict[int, str] = {}
    asked: list[tuple[dict[str, Any], dict[str, str], list[int]]] = []
    for item in json.loads((DATA / f"{split}_{lang}.json").read_text("utf-8")):
        slot = item["slots"][number]
        a, b = slot if isinstance(slot, list) else (slot, "")
        values = {"A": a, "B": b}
        free = [i for i in range(10, TURNS - 40) if i not in told]
        places = sorted(rng.sample(free, len(item["tell"])))
        while len(places) == 2 and places[1] - places[0] < 20:  # in two sittings
            places = sorted(rng.sample(free, 2))
        for place, line in zip(places, item["tell"], strict=True):
            told[place] = line.format(**values)
        asked.append((item, values, places))
    for i in range(TURNS):
        at = END - timedelta(days=DAYS * (1 - i / TURNS))
        history.turns.append((at, told.get(i) or _chatter(lang, rng)))
    questions = []
    for item, values, places in asked:
        if places:
            days = (END.date() - history.turns[places[0]][0].date()).days
            values["when"] = ago(days, lang)
        questions.append(
            Question(
                ability=item["ability"],
                split=split,
                lang=lang,
                user=user,
                ask=item["ask"].format(**values),
                # Of an update only the newer is evidence.
                evidence=()
                if item["ability"] == "abstention"
                else tuple(told[p] for p in places[item["ability"] == "update" :]),
                answer=tuple(text.format(**values) for text in item.get("answer", ())),
                stale=tuple(text.format(**values) for text in item.get("stale", ())),
                asks=item.get("asks", False),
                is_fact=item.get("fact", False),
            )
        )
    return history, questions


def _all() -> Iterator[tuple[History, list[Question]]]:
    for split in SPLITS:
        for lang in LANGS:
            for number in range(USERS):
                yield _made(split, lang, number)


def test_there_are_more_than_three_hundred_questions_over_seven_abilities() -> None:
    questions = [question for _, asked in _all() for question in asked]
    assert len(questions) >= 300
    assert len({question.ability for question in questions}) == 7
    assert len({(q.user, q.ask, q.evidence) for q in questions}) >= 355


# --- scoring ---------------------------------------------------------------------------------


def _has(texts: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether each of these words is in one of the texts, whole and in any case."""
    whole = "\n".join(texts).casefold()
    return all(re.search(rf"(?<![a-z]){re.escape(w.casefold())}(?![a-z])", whole) for w in wanted)


def score(question: Question, found: Recollection) -> dict[str, float]:
    """What can be said of one question without a judge; a measure that does not apply is left out.

    recall@5: the share of the evidence's turns among the five episodes. told: the evidence's
    answer is anywhere in what the reply is given. answered: our small reader says it.
    """
    spoken = remembered(question.ask, found, question.lang)
    given = [*found.facts, *(episode.said for episode in found.episodes)]
    given += [episode.when for episode in found.episodes]
    out: dict[str, float] = {}
    if question.ability == "abstention":
        out["abstained"] = not spoken
        return out
    said = {episode.said for episode in found.episodes}
    hits = [telling(text, question.lang) in said for text in question.evidence]
    out["recall@5"] = sum(hits) / len(hits)
    out["told"] = _has(given, question.answer)
    out["answered"] = bool(spoken) and _has([as_answer(spoken, question.lang)], question.answer)
    if question.asks:
        out["asked"] = any(_has([text], question.answer) for text in found.questions)
    if question.stale or question.ability == "update":
        is_current = _has(found.facts, question.answer)
        out["current"] = is_current and not any(_has(found.facts, [s]) for s in question.stale)
    return out


@dataclass
class Report:
    """The sums of all measures by split and ability, and what was somebody else's."""

    sums: dict[tuple[str, str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    leaks: int = 0
    asked: int = 0
    failures: list[tuple[str, Question]] = field(default_factory=list)

    def take(self, question: Question, measures: dict[str, float]) -> None:
        """Take in one question."""
        self.asked += 1
        for name, value in measures.items():
            for ability in (question.ability, "all"):
                self.sums[question.split, ability, name].append(value)
            if value < 1:
                self.failures.append((name, question))

    def mean(self, split: str, ability: str, name: str) -> float:
        """The mean of a measure."""
        values = self.sums[split, ability, name]
        return sum(values) / len(values)

    def table(self) -> str:
        """All of it, to be read."""
        names = ("recall@5", "told", "answered", "current", "abstained", "asked")
        lines = [f"{'':8} {'':14} " + " ".join(f"{name:>10}" for name in names)]
        for split in SPLITS:
            for ability in dict.fromkeys(a for s, a, _ in self.sums if s == split):
                cells = (self.sums.get((split, ability, name)) for name in names)
                row = " ".join(f"{sum(c) / len(c):10.3f}" if c else f"{'':10}" for c in cells)
                lines.append(f"{split:8} {ability:14} {row}")
        lines.append(f"{self.asked} questions, {self.leaks} leaks")
        return "\n".join(lines)


def _alone(history: History, store: Path) -> SQLMemory:
    """A store that knows one user only: what they are given must not hang on anybody else."""
    moment = [END]
    memory = SQLMemory(store, clock=lambda: moment[0], unasked=REMEMBERED)
    memory._database.connection.exec_driver_sql("PRAGMA synchronous = OFF")
    memory._database.connection.commit()
    for moment[0], text in history.turns:
        memory.remember(history.user, Turn(text, history.lang, reply="I see."))
    moment[0] = END
    return memory


def evaluate(store: Path) -> Report:
    """Tell all histories to one store, then ask everybody all of their questions."""
    lives = list(_all())
    moment = [END]
    report = Report()
    with closing(SQLMemory(store, clock=lambda: moment[0], unasked=REMEMBERED)) as memory:
        memory._database.connection.exec_driver_sql(
            "PRAGMA synchronous = OFF"
        )  # only while it is filled
        memory._database.connection.commit()
        for i in range(TURNS):  # all at once, so that their rows lie among each other's
            for history, _ in lives:
                moment[0], text = history.turns[i]
                memory.remember(history.user, Turn(text, history.lang, reply="I see."))
        moment[0] = END
        for history, questions in lives:
            with closing(_alone(history, store.with_name(f"{history.user}.db"))) as alone:
                memory.prefetch(history.user)
                for question in questions:
                    found = memory.recall(history.user, query=question.ask)
                    report.take(question, score(question, found))
                    report.leaks += found != alone.recall(history.user, query=question.ask)
    return report


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_was_told_is_found_and_what_was_not_is_not_made_up(store: Path) -> None:
    report = evaluate(store)
    sys.stdout.write(f"\n{report.table()}\n")
    for name, question in report.failures:
        if question.split == "dev" and name != "answered":
            sys.stdout.write(f"{name:10} {question.ability:12} {question.ask}\n")
    assert report.leaks == 0
    for split in SPLITS:
        assert report.mean(split, "all", "recall@5") >= 0.90
        assert report.mean(split, "update", "current") >= 0.95
        assert report.mean(split, "abstention", "abstained") >= 0.90
        assert report.mean(split, "conflict", "asked") >= 0.90
