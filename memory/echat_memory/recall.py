"""What a reply should know of a user, read in a few indexed statements."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, select

from echat_memory import rows, sealing
from echat_memory.facts import Fact, FactKind, also_called, line
from echat_memory.mood import mood_line
from echat_memory.schema import CueRow, EmotionRow, FactRow, TurnRow, UserRow
from echat_sdk.cues import Cue
from echat_sdk.turn import Lang, Recollection, Turn

MAX_FACTS = 8
"""Facts that a reply is given."""
MOOD_TURNS = 12
"""Turns that a mood is read from."""
LATELY = timedelta(days=14)
"""What is older says nothing about how somebody is of late."""
_READ_FACTS = 100

_USER = select(UserRow.id).where(UserRow.pseudonym == bindparam("who")).scalar_subquery()
_TURNS = (
    select(
        TurnRow,
        EmotionRow.label,
        EmotionRow.confidence,
        EmotionRow.distribution,
        EmotionRow.abstained,
    )
    .outerjoin(EmotionRow, and_(EmotionRow.turn_id == TurnRow.id, EmotionRow.source == rows.MODEL))
    .where(TurnRow.user_id == _USER)
    .order_by(TurnRow.id.desc())
    .limit(bindparam("limit"))
)
_CUES = select(
    CueRow.turn_id,
    CueRow.kind,
    CueRow.label,
    CueRow.confidence,
    CueRow.distribution,
    CueRow.abstained,
).where(CueRow.user_id == bindparam("user"), CueRow.turn_id >= bindparam("oldest"))
_FACTS = (
    select(FactRow.id, FactRow.kind, FactRow.subject, FactRow.value, FactRow.valid_from)
    .where(FactRow.user_id == bindparam("user"), FactRow.valid_to.is_(None))
    .order_by(FactRow.id.desc())
    .limit(_READ_FACTS)
)


def recollect(
    connection: Connection, who: str, *, query: str, turns: int, now: datetime
) -> Recollection:
    """All that memory gives a reply.

    Args:
        connection: An open transaction.
        who: The user's pseudonym.
        query: The words just heard; facts that fit them come first.
        turns: How many of the last turns.
        now: The present moment.
    """
    found = _newest(connection, who, max(turns, MOOD_TURNS))
    if not found:
        return Recollection()
    user_id, lang = found[0].user_id, _lang(found[0])
    lately = (row for row in found[:MOOD_TURNS] if now - row.created_at <= LATELY)
    return Recollection(
        turns=tuple(turn for _, turn in _turns(connection, found[:turns])),
        mood=mood_line([row.label for row in lately], lang),
        facts=tuple(_best(list(_facts(connection, user_id, now, lang)), query)),
    )


def last_turns(connection: Connection, who: str, limit: int) -> Iterator[tuple[Row[Any], Turn]]:
    """The last turns of a user with their rows, oldest first."""
    return _turns(connection, _newest(connection, who, limit))


def facts(connection: Connection, who: str, now: datetime) -> tuple[str, ...]:
    """The lines of what holds of a user, newest first, in the language of their last turn."""
    return tuple(
        text
        for row in _newest(connection, who, 1)
        for text, _ in _facts(connection, row.user_id, now, _lang(row))
    )


def _newest(connection: Connection, who: str, limit: int) -> Sequence[Row[Any]]:
    """The last turns of a user, each with how it sounded, newest first."""
    return connection.execute(_TURNS, {"who": who, "limit": limit}).all()


def _lang(turn: Row[Any]) -> Lang:
    return "zh" if turn.lang == "zh" else "en"


def _turns(connection: Connection, newest: Sequence[Row[Any]]) -> Iterator[tuple[Row[Any], Turn]]:
    """These rows, which must be the newest of a user, with their turns; oldest first."""
    if not newest:
        return
    cues: dict[int, dict[str, Cue]] = {
        row.id: {} if row.label is None else {"emotion": rows.cue_of(row)} for row in newest
    }
    for row in connection.execute(_CUES, {"user": newest[0].user_id, "oldest": newest[-1].id}):
        cues[row.turn_id][row.kind] = rows.cue_of(row)
    for row in reversed(newest):
        words = sealing.words(connection, TurnRow, row.id, row.user_id, row._mapping)
        yield row, rows.turn_of(row, words, cues[row.id])


def _facts(
    connection: Connection, user_id: int, now: datetime, lang: Lang
) -> Iterator[tuple[str, Fact]]:
    for row in connection.execute(_FACTS, {"user": user_id}):
        words = sealing.words(connection, FactRow, row.id, user_id, row._mapping)
        fact = Fact(FactKind(row.kind), words["subject"], words["value"])
        text = line(fact, told=row.valid_from.date(), today=now.date(), lang=lang)
        if text:
            yield text, fact


def _best(found: Sequence[tuple[str, Fact]], query: str) -> list[str]:
    """The facts that share most words with the query; the newest of equals."""
    if len(found) > MAX_FACTS:
        asked = _words(query)
        # Sorting is stable and `found` is newest first.
        found = sorted(
            found, key=lambda item: -len(asked & _words(f"{item[0]} {also_called(item[1])}"))
        )
    return [text for text, _ in found[:MAX_FACTS]]


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
