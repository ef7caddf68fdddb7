"""Earlier turns of a user as they are searched and told, read from the rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, and_, bindparam, or_, select

from echat_memory import rows, sealing
from echat_memory.comfort import Step, kind_of
from echat_memory.facts import Fact, FactKind, line
from echat_memory.schema import EmotionRow, FactRow, PlanRow, TurnRow
from echat_memory.telling import telling
from echat_memory.times import ago
from echat_sdk.cues import UNKNOWN
from echat_sdk.turn import Episode, Lang

MAX_SAID = 160
"""Characters of what was said in one that is told."""

_MINE = TurnRow.user_id == bindparam("user")
_OF_EMOTION = and_(EmotionRow.turn_id == TurnRow.id, EmotionRow.source == rows.MODEL)
_SINCE = (
    select(
        TurnRow.id,
        TurnRow.created_at,
        TurnRow.transcript,
        TurnRow.lang,
        TurnRow.session_id,
        TurnRow.reply_emotion,
        EmotionRow.label,
        EmotionRow.valence,
        PlanRow.strategy,
    )
    .outerjoin(EmotionRow, _OF_EMOTION)
    .outerjoin(PlanRow, PlanRow.turn_id == TurnRow.id)
    .where(
        _MINE,
        TurnRow.id >= bindparam("least"),  # else all of a user's turns are looked at
        or_(TurnRow.id > bindparam("after"), TurnRow.id.in_(bindparam("changed", expanding=True))),
    )
    .order_by(TurnRow.id)
    .limit(bindparam("most"))
)
_FACTS = select(FactRow.id, FactRow.turn_id, FactRow.kind, FactRow.subject, FactRow.value).where(
    FactRow.user_id == bindparam("user"),
    FactRow.turn_id.between(bindparam("least"), bindparam("last")),
    or_(
        FactRow.turn_id > bindparam("after"),
        FactRow.turn_id.in_(bindparam("changed", expanding=True)),
    ),
)
_THESE = (
    select(TurnRow.id, TurnRow.created_at, TurnRow.transcript, TurnRow.lang, EmotionRow.label)
    .outerjoin(EmotionRow, _OF_EMOTION)
    .where(_MINE, TurnRow.id.in_(bindparam("turns", expanding=True)))
)


class Said(NamedTuple):
    """What is told of a turn that is found; the label of its emotion is None where it has none."""

    text: str
    on: date
    label: str | None


@dataclass(frozen=True, slots=True)
class Earlier:
    """A turn as its row has it, but with words that can be read.

    Attributes:
        id: Its id.
        source: What it is known again by: the words in its row, sealed or not.
        transcript: The words.
        lang: Their language.
        facts: What was told in it.
        on: The day.
        label: Of its emotion.
        step: What tells which answers helped.
    """

    id: int
    source: str
    transcript: str
    lang: Lang
    facts: Sequence[Fact]
    on: date
    label: str | None
    step: Step

    def told(self) -> tuple[Said, str]:
        """What is told of it, and what it can be found by: the facts told in it as well."""
        text = telling(self.transcript, self.lang)
        known_by = " ".join([text, *_known_by(self.facts)]) if text else ""
        return Said(_cut(text), self.on, self.label), known_by


def read(
    connection: Connection,
    user_id: int,
    *,
    after: int,
    changed: Collection[int] = (),
    most: int,
) -> list[Earlier]:
    """The turns after this one, and these; oldest first.

    Args:
        connection: An open transaction.
        user_id: The user's row.
        after: The id of a turn.
        changed: The ids of others.
        most: How many at most, the oldest.
    """
    least = min([after + 1, *changed])
    these = {"user": user_id, "changed": sorted(changed), "after": after, "least": least}
    found = _all(connection, _SINCE, these | {"most": most})
    facts: defaultdict[int, list[Fact]] = defaultdict(list)
    if found:
        for row in _all(connection, _FACTS, these | {"last": found[-1].id}):
            told = sealing.words(connection, FactRow, row.id, user_id, row._mapping)
            facts[row.turn_id].append(Fact(FactKind(row.kind), told["subject"], told["value"]))
    return [
        Earlier(
            id=row.id,
            source=row.transcript,
            transcript=_words(connection, user_id, row),
            lang=_lang(row),
            facts=facts.get(row.id, ()),
            on=row.created_at.date(),
            label=row.label,
            step=Step(row.session_id, kind_of(row.strategy or "", row.reply_emotion), row.valence),
        )
        for row in found
    ]


def these(connection: Connection, user_id: int, ids: Sequence[int]) -> dict[int, Row[Any]]:
    """The rows of these turns of a user that are there, by id."""
    return {row.id: row for row in _all(connection, _THESE, {"user": user_id, "turns": ids})}


def told_then(
    connection: Connection, user_id: int, ids: Sequence[int], now: datetime, lang: Lang
) -> tuple[Episode, ...]:
    """The episodes that these turns of a user are, in this order, without those that are gone."""
    there = these(connection, user_id, ids)
    found = (there[i] for i in ids if i in there)
    return tuple(
        episode(
            Said(
                _cut(telling(_words(connection, user_id, row), _lang(row))),
                row.created_at.date(),
                row.label,
            ),
            now.date(),
            lang,
        )
        for row in found
    )


def episode(said: Said, today: date, lang: Lang) -> Episode:
    """A turn as a reply is told of it."""
    label = said.label
    return Episode(
        said=said.text,
        when=ago((today - said.on).days, lang),
        sounded="" if label is None or label == UNKNOWN else label,
    )


def _all(
    connection: Connection, statement: Select[*tuple[Any, ...]], given: dict[str, Any]
) -> Sequence[Row[Any]]:
    return connection.execute(statement, given).all()


def _words(connection: Connection, user_id: int, row: Row[Any]) -> str:
    return sealing.words(connection, TurnRow, row.id, user_id, row._mapping)["transcript"]


def _lang(row: Row[Any]) -> Lang:
    return "zh" if row.lang == "zh" else "en"


def _known_by(facts: Sequence[Fact]) -> list[str]:
    """Facts in both languages, without when."""
    today = date.min
    langs: tuple[Lang, ...] = ("en", "zh")
    return [line(fact, told=today, today=today, lang=lang) for fact in facts for lang in langs]


def _cut(text: str) -> str:
    if len(text) <= MAX_SAID:
        return text
    cut = text[:MAX_SAID]
    return (cut.rpartition(" ")[0] or cut) + "…"
