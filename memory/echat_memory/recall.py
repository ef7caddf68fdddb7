"""What a reply should know of a user, read in a few indexed statements."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from echat_memory import lately, rows, sealing
from echat_memory.budget import TOKENS, fit
from echat_memory.comfort import helped_line
from echat_memory.conflicts import questions
from echat_memory.episodes import Episodes
from echat_memory.facts import Fact, FactKind, also_called, line
from echat_memory.felt import HEARD, ON_HEARD, ON_WORD, SOUNDED, WORD, turn_mood
from echat_memory.plans import Recalled, Remembered
from echat_memory.schema import CueRow, FactRow, PlanRow, SafetyRow, TurnRow, UserRow
from echat_sdk.cues import Cue
from echat_sdk.turn import Lang, Recollection, Turn

MAX_FACTS = 8
"""Facts that a reply is given."""
MOOD_TURNS = 12
"""Turns that a mood is read from."""
LATELY = timedelta(days=14)
"""What is older says nothing about how somebody is of late."""
_READ_FACTS = 100

_Known = tuple[int, str, Fact]  # the id of a fact, how it is told, the fact

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


def recollect(
    connection: Connection,
    who: str,
    episodes: Episodes,
    *,
    query: str,
    turns: int,
    now: datetime,
    budget: int = TOKENS,
) -> Recalled:
    """All that memory gives a reply, and what it was made of.

    Args:
        connection: An open transaction.
        who: The user's pseudonym.
        episodes: Where earlier turns are searched.
        query: The words just heard; facts and earlier turns that fit them are found.
        turns: How many of the last turns.
        now: The present moment.
        budget: Estimated tokens that all of it may take.
    """
    found = newest(connection, who, max(turns, MOOD_TURNS))
    if not found:
        return Recalled(Recollection(), Remembered())
    user_id, lang = found[0].user_id, _lang(found[0])
    told = [row.id for row in found[:turns]]
    fitting, helped = episodes.find(
        connection, who, query, newest=found, without=told, now=now, lang=lang
    )
    fitting = [(i, episode) for i, episode in fitting if episode.said]
    held = list(_facts(connection, user_id, now, lang))
    first = [known for known in held if known[2].kind is FactKind.BOUNDARY]
    best = [*first, *_best([known for known in held if known not in first], query)]
    whole = Recollection(
        turns=tuple(turn for _, turn in turns_of(connection, found[:turns])),
        mood=mood_of(found[:MOOD_TURNS], now, lang),
        facts=tuple(text for _, text, _ in best),
        episodes=tuple(episode for _, episode in fitting),
        questions=questions((fact for _, _, fact in held), lang),
        helped=helped_line(helped, lang),
    )
    given, is_in = fit(whole, budget, first=len(first))
    ids = [*(fact_id for fact_id, _, _ in best), *(turn_id for turn_id, _ in fitting)]
    kept = [known for known, there in zip(ids, is_in, strict=True) if there]
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
        if now - row.created_at <= LATELY
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
    return tuple(text for _, text, _ in _facts(connection, user_id, now, lang))


def newest(
    connection: Connection, who: str, limit: int, *, until: int | None = None
) -> Sequence[Row[Any]]:
    """The last turns of a user (up to the turn `until`) with how they sounded, newest first."""
    given = {"who": who, "limit": limit}
    if until is None:
        return connection.execute(_TURNS, given).all()
    return connection.execute(_TURNS_UNTIL, given | {"until": until}).all()


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


def _facts(connection: Connection, user_id: int, now: datetime, lang: Lang) -> Iterator[_Known]:
    for row in connection.execute(_FACTS, {"user": user_id}):
        words = sealing.words(connection, FactRow, row.id, user_id, row._mapping)
        fact = Fact(FactKind(row.kind), words["subject"], words["value"])
        text = line(fact, told=row.valid_from.date(), today=now.date(), lang=lang)
        if text:
            yield row.id, text, fact


def _best(found: Sequence[_Known], query: str) -> Sequence[_Known]:
    """The facts that share most words with the query; the newest of equals."""
    if len(found) > MAX_FACTS:
        asked = _words(query)
        # Sorting is stable and `found` is newest first.
        found = sorted(
            found, key=lambda item: -len(asked & _words(f"{item[1]} {also_called(item[2])}"))
        )
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
