"""Scores of the understanding tasks, counted as the published scripts of OSUM's authors count.

Where they leave out what a model did not answer, this counts it as wrong; `over="hypotheses"` gives
their number. Where they stop at one malformed answer, this skips it and says how many it skipped.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Over = Literal["references", "hypotheses"]

NO_TAG = "<--no_tag-->"
_TAG = re.compile(r"<[^>]*>")
_TIME = re.compile(r"<\d{1,2}\.\d+>")


# --- labels --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TagScore:
    """How many labels were right.

    Attributes:
        accuracy: Share of right ones, 0 to 1.
        labels: The references' labels, sorted.
        confusion: Answers for each reference label: rows are references, columns answers. An answer
            outside the labels is in no column. Shape [labels, labels].
    """

    accuracy: float
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]


def first_tag(text: str) -> str:
    """The first tag of an answer in capitals; `NO_TAG` without one."""
    tag = _TAG.search(text)
    return tag[0].upper() if tag else NO_TAG


def tag_score(
    references: Mapping[str, str], hypotheses: Mapping[str, str], *, over: Over = "references"
) -> TagScore:
    """The first tag of each answer against that of its reference; both by utterance."""
    wanted = {key: first_tag(text) for key, text in references.items()}
    labels = tuple(sorted(set(wanted.values())))
    pairs = Counter((wanted[k], first_tag(text)) for k, text in hypotheses.items() if k in wanted)
    right = sum(count for (want, got), count in pairs.items() if want == got)
    total = len(references) if over == "references" else pairs.total()
    return TagScore(
        accuracy=right / total if total else 0.0,
        labels=labels,
        confusion=tuple(tuple(pairs[want, got] for got in labels) for want in labels),
    )


# --- words ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Errors:
    """Words of references: right, replaced, left out; and words put in."""

    right: int = 0
    replaced: int = 0
    left_out: int = 0
    put_in: int = 0

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            self.right + other.right,
            self.replaced + other.replaced,
            self.left_out + other.left_out,
            self.put_in + other.put_in,
        )

    @property
    def words(self) -> int:
        """Words of the references."""
        return self.right + self.replaced + self.left_out

    @property
    def rate(self) -> float:
        """Errors a word, 0 and up; 0 where there are no words."""
        wrong = self.replaced + self.left_out + self.put_in
        return wrong / self.words if self.words else 0.0


def words_of(text: str) -> tuple[str, ...]:
    """Chinese characters and other words, in capitals, `<ASCII tags>` taken out.

    A tag within a word leaves one word (`hello<0.4><0.5>world`), as in the published script; a tag
    in Chinese is no tag there, and its characters are counted.
    """
    pieces = (_without_tags(piece).upper() for piece in _pieces(text))
    return tuple(piece for piece in pieces if piece)


def _pieces(text: str) -> Iterator[str]:
    place = 0
    while place < len(text):
        letter = text[place]
        if letter.isspace():
            place += 1
        elif ord(letter) >= 128:
            yield letter
            place += 1
        else:
            stop = ">" if letter == "<" else " "
            end = place + 1
            while end < len(text) and ord(text[end]) < 128 and not text[end].isspace():
                if text[end] == stop:
                    break
                end += 1
            end += text[end : end + 1] == ">"
            yield text[place:end]
            place = end


def _without_tags(piece: str) -> str:
    return re.sub(r"<[^>]*(?:>|$)", "", piece)


def _align(
    reference: Sequence[str], hypothesis: Sequence[str], *, pairs_first: bool = False
) -> list[tuple[int, int]]:
    """The cheapest alignment as pairs of places; -1 where one side has nothing.

    Seen from the end, of equally cheap ones the one that leaves out before it puts in, and puts in
    before it pairs; or (`pairs_first`) the other way round. The two published scripts differ.
    """
    cost = [[0] * (len(hypothesis) + 1) for _ in range(len(reference) + 1)]
    step = [[(0, 0)] * (len(hypothesis) + 1) for _ in range(len(reference) + 1)]
    for i in range(len(reference) + 1):
        for j in range(len(hypothesis) + 1):
            ways = []
            if i:
                ways.append((cost[i - 1][j] + 1, (1, 0)))
            if j:
                ways.append((cost[i][j - 1] + 1, (0, 1)))
            if i and j:
                same = reference[i - 1] == hypothesis[j - 1]
                ways.append((cost[i - 1][j - 1] + (not same), (1, 1)))
            if pairs_first:
                ways.reverse()
            if ways:
                cost[i][j], step[i][j] = min(ways, key=lambda way: way[0])
    pairs, i, j = [], len(reference), len(hypothesis)
    while i or j:
        back = step[i][j]
        pairs.append((i - 1 if back[0] else -1, j - 1 if back[1] else -1))
        i, j = i - back[0], j - back[1]
    return pairs[::-1]


def count_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> Errors:
    """The errors of one sequence of words."""
    errors = Errors()
    for i, j in _align(reference, hypothesis):
        if i < 0:
            errors += Errors(put_in=1)
        elif j < 0:
            errors += Errors(left_out=1)
        elif reference[i] == hypothesis[j]:
            errors += Errors(right=1)
        else:
            errors += Errors(replaced=1)
    return errors


def word_errors(
    references: Mapping[str, str], hypotheses: Mapping[str, str], *, over: Over = "references"
) -> Errors:
    """The errors of a corpus; an utterance without an answer is left out word for word."""
    keys = references if over == "references" else [k for k in hypotheses if k in references]
    return sum(
        (count_errors(words_of(references[k]), words_of(hypotheses.get(k, ""))) for k in keys),
        Errors(),
    )


# --- times ---------------------------------------------------------------------------------------


def grid_times(text: str, step: float) -> tuple[str, ...]:
    """The times of an answer on a grid of `step` seconds, halves to the even place."""
    times = (float(time[1:-1]) for time in _TIME.findall(text))
    return tuple(f"{round(time / step) * step:.6f}" for time in times)


def time_errors(
    references: Mapping[str, str], hypotheses: Mapping[str, str], *, step: float = 0.2
) -> Errors:
    """The times alone as words on a grid: how many were right, replaced, left out, put in."""
    return sum(
        (
            count_errors(grid_times(text, step), grid_times(hypotheses.get(key, ""), step))
            for key, text in references.items()
        ),
        Errors(),
    )


@dataclass(frozen=True, slots=True)
class TimeShift:
    """How far the times of matching words are off.

    Attributes:
        average: Seconds a word, the shifts of its start and its end summed; None where no word
            matched.
        matched: Words of the references found in the answers.
        malformed: Utterances skipped, because their words do not have two times each.
    """

    average: float | None
    matched: int
    malformed: int


def time_shift(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> TimeShift:
    """Average absolute shift of starts and ends, over the words that are the same."""
    total, matched, malformed = 0.0, 0, 0
    for key, text in references.items():
        reference, hypothesis = _timed(text), _timed(hypotheses.get(key, ""))
        if reference is None or hypothesis is None:
            malformed += 1
            continue
        (words, times), (said, told) = reference, hypothesis
        for i, j in _align(words, said, pairs_first=True):
            if i >= 0 and j >= 0 and words[i] == said[j]:
                total += abs(times[2 * i] - told[2 * j]) + abs(times[2 * i + 1] - told[2 * j + 1])
                matched += 1
    return TimeShift(total / matched if matched else None, matched, malformed)


def _timed(text: str) -> tuple[list[str], list[float]] | None:
    """Words and their times, two for each word; None where there are more or fewer."""
    times = [float(time[1:-1]) for time in _TIME.findall(text)]
    if not times:
        return [], []
    words = _TIME.sub(" ", text).split()
    return (words, times) if len(times) == 2 * len(words) else None


# --- replies -------------------------------------------------------------------------------------


def bleu(reference: Sequence[str], hypothesis: Sequence[str]) -> float:
    """Sentence BLEU of up to four words, 0 to 1; an order without a match counts as a tenth of one.

    Args:
        reference: Words of the reference; the published script cuts with jieba.
        hypothesis: Words of the answer.
    """
    logs = 0.0
    for order in range(1, 5):
        ours, theirs = _ngrams(hypothesis, order), _ngrams(reference, order)
        matched: float = (ours & theirs).total()
        if not matched and order == 1:
            return 0.0
        logs += math.log((matched or 0.1) / max(ours.total(), 1)) / 4
    short = min(0.0, 1 - len(reference) / len(hypothesis))
    return math.exp(short + logs)


def _ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))
