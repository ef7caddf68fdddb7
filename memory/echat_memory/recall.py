"""What a reply should know of a user, read in a few indexed statements."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, bindparam, select

from echat_memory import lately, rows, sealing
from echat_memory.budget import TOKENS, cost, cost_of, fit, tokens
from echat_memory.comfort import helped_line
from echat_memory.conflicts import questions
from echat_memory.episodes import Episodes
from echat_memory.facts import Fact, FactKind, also_called, line
from echat_memory.felt import HEARD, ON_HEARD, ON_WORD, SOUNDED, WORD, turn_mood
from echat_memory.plans import Recalled, Remembered
from echat_memory.schema import CueRow, FactRow, PlanRow, SafetyRow, TurnRow, UserRow
from echat_sdk.cues import Cue
from echat_sdk.turn import Episode, Lang, Recollection, Turn

MAX_FACTS = 8
"""Facts that a reply is given."""
MOOD_TURNS = 12
"""Turns that a mood is read from."""
LATELY = timedelta(days=14)
"""What is older says nothing about how somebody is of late."""
_READ_FACTS = 100


class _Fact(NamedTuple):
    """A fact that holds.

    Attributes:
        id: Of its row.
        text: How it is told.
        fact: It.
        cost: Estimated tokens that the text takes.
        words: What it is about; empty where that need not be known, for none is left out.
    """

    id: int
    text: str
    fact: Fact
    cost: int
    words: frozenset[str] = frozenset()


_USER = select(UserRow.id).where(UserRow.pseudonym == bindparam("who")).scalar_subquery()
_TURNS = (
    select(
        TurnRow,
        PlanRow.strategy,
        SafetyRow.category,
        SafetyRow.severity,
        SafetyRow.detector,
        SafetyRow.action,
        *SOUNDED[2:],  # the others are columns of the turn
    )
    .outerjoin(PlanRow, PlanRow.turn_id == TurnRow.id)
    .outerjoin(SafetyRow, SafetyRow.turn_id == TurnRow.id)
    .outerjoin(HEARD, ON_HEARD)
    .outerjoin(WORD, ON_WORD)
    .where(TurnRow.user_id == _USER)
    .order_by(TurnRow.id.desc())
    .limit(bindparam("limit"))
)
_TURNS_UNTIL = _TURNS.where(TurnRow.id <= bindparam("until"))
_CUES = select(
    CueRow.turn_id,
    CueRow.kind,
    CueRow.label,
    CueRow.confidence,
    CueRow.distribution,
    CueRow.abstained,
).where(
    CueRow.user_id == bindparam("user"),
    CueRow.turn_id.between(bindparam("oldest"), bindparam("newest")),
)
_FACTS = (
    select(FactRow.id, FactRow.kind, FactRow.subject, FactRow.value, FactRow.valid_from)
    .where(FactRow.user_id == bindparam("user"), FactRow.valid_to.is_(None))
    .order_by(FactRow.id.desc())
    .limit(_READ_FACTS)
)


@dataclass(frozen=True, slots=True)
class Basis:
    """What a reply to a user is given whatever was said, as it is from `since` until `until`.

    Attributes:
        since: When it was read.
        until: When it would read otherwise, though no row had changed: a day ends, or a turn is
            too old to tell how somebody is of late.
        newest: The rows of their newest turns, newest first; empty for a user without any.
        turns: The turns of the first of them, as many as are given, oldest first.
        ids: The ids of these turns.
        lang: The language of the last turn.
        mood: The line on how they were of late.
        first: The facts that come before all others.
        facts: The other facts that hold, newest first.
        questions: What is worth asking.
        cost: Estimated tokens that turns, mood, the first facts and questions take.
    """

    since: datetime
    until: datetime
    newest: Sequence[Row[Any]] = ()
    turns: tuple[Turn, ...] = ()
    ids: tuple[int, ...] = ()
    lang: Lang = "en"
    mood: str = ""
    first: tuple[_Fact, ...] = ()
    facts: tuple[_Fact, ...] = ()
    questions: tuple[str, ...] = ()
    cost: int = 0

    def holds(self, now: datetime) -> bool:
        """Whether it is so at a moment."""
        return self.since <= now < self.until


def read(connection: Connection, who: str, *, turns: int, now: datetime) -> Basis:
    """What a reply is given whatever will be said.

    Args:
        connection: An open transaction.
        who: The user's pseudonym.
        turns: How many of the last turns.
        now: The present moment.
    """
    found = newest(connection, who, max(turns, MOOD_TURNS))
    today = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
    until = _after(today, timedelta(days=1))
    if not found:
        return Basis(now, until)
    lang = _lang(found[0])
    facts = list(_facts(connection, found[0].user_id, now, lang))
    first = tuple(fact for fact in facts if fact.fact.kind is FactKind.BOUNDARY)
    others = [fact for fact in facts if fact.fact.kind is not FactKind.BOUNDARY]
    if len(others) > MAX_FACTS:
        others = [fact._replace(words=_about(fact)) for fact in others]
    given = Recollection(
        turns=tuple(turn for _, turn in turns_of(connection, found[:turns])),
        mood=mood_of(found[:MOOD_TURNS], now, lang),
        questions=questions((fact.fact for fact in facts), lang),
    )
    return Basis(
        since=now,
        until=min(
            [until, *(_after(row.created_at, LATELY) for row in found if _is_late(row, now))]
        ),
        newest=found,
        turns=given.turns,
        ids=tuple(row.id for row in found[:turns]),
        lang=lang,
        mood=given.mood,
        first=first,
        facts=tuple(others),
        questions=given.questions,
        cost=cost(given) + sum(fact.cost for fact in first),
    )


def recollect(
    known: Basis,
    episodes: Episodes | None,
    who: str,
    query: str,
    *,
    now: datetime,
    budget: int = TOKENS,
    connection: Connection | None = None,
) -> Recalled | None:
    """All that memory gives a reply, and what it was made of.

    Args:
        known: What it is given whatever was said.
        episodes: Where earlier turns are searched; None where they may not be.
        who: The user's pseudonym.
        query: The words just heard; facts and earlier turns that fit them are found.
        now: The present moment.
        budget: Estimated tokens that all of it may take.
        connection: An open transaction; without one nothing is read.

    Returns:
        None where rows must be read and there is no connection.
    """
    if not known.newest:
        return Recalled(Recollection(), Remembered())
    found: list[tuple[int, Episode]] = []
    helped = ""
    if episodes is not None:
        searched = episodes.find(
            connection,
            who,
            query,
            newest=known.newest,
            without=known.ids,
            now=now,
            lang=known.lang,
        )
        if searched is None:
            return None
        found, helped = searched
    fitting = [(i, episode) for i, episode in found if episode.said]
    others = _best(known.facts, query)
    best = [*known.first, *others]
    whole = Recollection(
        turns=known.turns,
        mood=known.mood,
        facts=tuple(fact.text for fact in best),
        episodes=tuple(episode for _, episode in fitting),
        questions=known.questions,
        helped=helped_line(helped, known.lang),
    )
    taken = (
        known.cost
        + sum(fact.cost for fact in others)
        + sum(cost_of(episode) for episode in whole.episodes)
        + tokens(whole.helped)
    )
    if taken <= budget:
        is_in = [True] * (len(best) + len(fitting))
        given = whole
    else:
        given, is_in = fit(whole, budget, first=len(known.first))
    ids = [*(fact.id for fact in best), *(turn_id for turn_id, _ in fitting)]
    kept = [one for one, there in zip(ids, is_in, strict=True) if there]
    remembered = Remembered(
        facts=tuple(kept[: len(given.facts)]),
        episodes=tuple(kept[len(given.facts) :]),
        turns=len(given.turns),
        mood=bool(given.mood),
        helped=helped if given.helped else "",
    )
    return Recalled(given, remembered)


def mood_of(newest: Sequence[Row[Any]], now: datetime, lang: Lang) -> str:
    """The line on how these turns, newest first, sounded of late."""
    sounded = [
        turn_mood(row.created_at, row.seconds, *_last(row, len(SOUNDED) - 2))
        for row in newest
        if _is_late(row, now)
    ]
    return lately.line(sounded, now=now, lang=lang)


def last_turns(connection: Connection, who: str, limit: int) -> Iterator[tuple[Row[Any], Turn]]:
    """The last turns of a user with their rows, oldest first."""
    return turns_of(connection, newest(connection, who, limit))


def facts(connection: Connection, who: str, now: datetime) -> tuple[str, ...]:
    """The lines of what holds of a user, newest first, in the language of their last turn."""
    return tuple(
        text
        for row in newest(connection, who, 1)
        for text in fact_lines(connection, row.user_id, now, _lang(row))
    )


def fact_lines(connection: Connection, user_id: int, now: datetime, lang: Lang) -> tuple[str, ...]:
    """The lines of what holds of a user, newest first."""
    return tuple(fact.text for fact in _facts(connection, user_id, now, lang))


def newest(
    connection: Connection, who: str, limit: int, *, until: int | None = None
) -> Sequence[Row[Any]]:
    """The last turns of a user (up to the turn `until`) with how they sounded, newest first."""
    given = {"who": who, "limit": limit}
    if until is None:
        return connection.execute(_TURNS, given).all()
    return connection.execute(_TURNS_UNTIL, given | {"until": until}).all()


def _after(moment: datetime, by: timedelta) -> datetime:
    """So much later; the end of time where there is no such moment, as on a clock set wrong."""
    try:
        return moment + by
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _is_late(row: Row[Any], now: datetime) -> bool:
    at: datetime = row.created_at
    return now - at < LATELY


def _last(row: Row[Any], count: int) -> Sequence[Any]:
    return row[-count:]


def _lang(turn: Row[Any]) -> Lang:
    return "zh" if turn.lang == "zh" else "en"


def turns_of(connection: Connection, found: Sequence[Row[Any]]) -> Iterator[tuple[Row[Any], Turn]]:
    """These rows, newest first and none left out, with their turns; oldest first."""
    if not found:
        return
    cues: dict[int, dict[str, Cue]] = {
        row.id: {} if row.label is None else {"emotion": rows.cue_of(row)} for row in found
    }
    for row in connection.execute(
        _CUES, {"user": found[0].user_id, "oldest": found[-1].id, "newest": found[0].id}
    ):
        cues[row.turn_id][row.kind] = rows.cue_of(row)
    for row in reversed(found):
        words = sealing.words(connection, TurnRow, row.id, row.user_id, row._mapping)
        yield row, rows.turn_of(row, words, cues[row.id])


def _facts(connection: Connection, user_id: int, now: datetime, lang: Lang) -> Iterator[_Fact]:
    for row in connection.execute(_FACTS, {"user": user_id}):
        words = sealing.words(connection, FactRow, row.id, user_id, row._mapping)
        fact = Fact(FactKind(row.kind), words["subject"], words["value"])
        text = line(fact, told=row.valid_from.date(), today=now.date(), lang=lang)
        if text:
            yield _Fact(row.id, text, fact, tokens(text))


def _about(fact: _Fact) -> frozenset[str]:
    return frozenset(_words(f"{fact.text} {also_called(fact.fact)}"))


def _best(found: Sequence[_Fact], query: str) -> Sequence[_Fact]:
    """The facts that share most words with the query; the newest of equals."""
    if len(found) > MAX_FACTS:
        asked = _words(query)
        # Sorting is stable and `found` is newest first.
        found = sorted(found, key=lambda fact: -len(asked & fact.words))
    return found[:MAX_FACTS]


_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_]{3,}")
_EMPTY = frozenset(
    [
        "the",
        "and",
        "their",
        "they",
        "are",
        "you",
        "have",
        "has",
        "had",
        "was",
        "for",
        "with",
        "that",
        "what",
    ]
) | set("的了我是用户有")


def _words(text: str) -> set[str]:
    """What a text is about: its words without a plural s, its Chinese characters."""
    return {word.rstrip("s") for word in _WORD.findall(text.casefold())} - _EMPTY
