"""Earlier turns of a user that fit the words just heard.

What is searched is held in RAM and made from the rows, for each user who is here: the part of each
turn that tells of something, cut short, and an index of its terms. A turn that is found is looked
up in the rows again, by user, wherever others may have written since it was read: what was erased
cannot come back, whoever erased it.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, and_, bindparam, func, or_, select

from echat_memory import rows, sealing
from echat_memory.comfort import what_helped
from echat_memory.facts import Fact, FactKind, line
from echat_memory.schema import EmotionRow, FactRow, TurnRow, UserRow
from echat_memory.search import Index
from echat_memory.telling import telling
from echat_memory.times import ago
from echat_sdk.cues import UNKNOWN
from echat_sdk.turn import Episode, Lang

MAX_EPISODES = 5
"""Episodes that a reply is given."""
MAX_SAID = 160
"""Characters of what was said in one."""
MAX_TURNS = 20_000
"""Turns of one user that are searched, the newest."""
MAX_ALL_TURNS = 100_000
"""Turns of all users that are held; then whoever was silent longest is dropped."""
SILENCE = timedelta(minutes=30)
"""Who has been silent for longer is dropped."""

_COUNT = (
    select(TurnRow.user_id, func.count())
    .join(UserRow, UserRow.id == TurnRow.user_id)
    .where(UserRow.pseudonym == bindparam("who"))
    .group_by(TurnRow.user_id)
)
_SINCE = (
    select(TurnRow.id, TurnRow.created_at, TurnRow.transcript, TurnRow.lang, EmotionRow.label)
    .outerjoin(EmotionRow, and_(EmotionRow.turn_id == TurnRow.id, EmotionRow.source == rows.MODEL))
    .where(
        TurnRow.user_id == bindparam("user"),
        or_(TurnRow.id > bindparam("after"), TurnRow.id.in_(bindparam("changed", expanding=True))),
    )
    .order_by(TurnRow.id.desc())
    .limit(MAX_TURNS)
)
_FACTS_SINCE = select(
    FactRow.id, FactRow.turn_id, FactRow.kind, FactRow.subject, FactRow.value
).where(
    FactRow.user_id == bindparam("user"),
    or_(
        FactRow.turn_id > bindparam("after"),
        FactRow.turn_id.in_(bindparam("changed", expanding=True)),
    ),
)
_THESE = (
    select(TurnRow.id, TurnRow.created_at, TurnRow.transcript, TurnRow.lang, EmotionRow.label)
    .outerjoin(EmotionRow, and_(EmotionRow.turn_id == TurnRow.id, EmotionRow.source == rows.MODEL))
    .where(TurnRow.user_id == bindparam("user"), TurnRow.id.in_(bindparam("turns", expanding=True)))
)


class _Said(NamedTuple):
    """What is told of a turn that is found; the label of its emotion is None where it has none."""

    text: str
    on: date
    label: str | None


@dataclass(slots=True)
class _Held:
    """What is held of one user."""

    user_id: int
    used_at: datetime
    index: Index = field(default_factory=Index)
    said: dict[int, _Said] = field(default_factory=dict)
    changed: set[int] = field(default_factory=set)
    helped: str = ""
    is_sure: bool = True  # that rows are as they were read

    def take(self, row: Row[Any], text: str, facts: str) -> None:
        """Take in a turn, new or changed, that can be found by the facts told in it as well."""
        # Known again by what its row has, sealed or not.
        self.index.add(row.id, row.transcript, f"{text} {facts}" if text else "")
        self.said[row.id] = _Said(_cut(text), row.created_at.date(), row.label)

    def told(self, ids: Sequence[int], now: datetime, lang: Lang) -> list[tuple[int, Episode]]:
        """The turns with these ids as episodes."""
        return [(i, _episode(self.said[i], now, lang)) for i in ids]


class Episodes:
    """What is searched, for every user who is here. Called under the store's lock."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, _Held] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(held.index) for held in self._held.values())

    def prefetch(self, connection: Connection, who: str, now: datetime) -> None:
        """Make a user's turns ready to be searched; cheap where they are already."""
        for silent in [w for w, h in self._held.items() if abs(now - h.used_at) > SILENCE]:
            del self._held[silent]
        found = connection.execute(_COUNT, {"who": who}).one_or_none()
        if found is None:
            self.forget(who)
            return
        user_id, count = found
        held = self._held.get(who)
        if held is not None and held.user_id == user_id:
            self._catch_up(connection, held)
        if held is None or held.user_id != user_id or len(held.index) != min(count, MAX_TURNS):
            held = _Held(user_id, now)  # turns were erased, or there are too many
            self._catch_up(connection, held)
        held.helped = what_helped(connection, user_id)
        held.used_at = now
        self._held[who] = held
        self._held.move_to_end(who)
        while len(self._held) > 1 and len(self) > MAX_ALL_TURNS:
            self._held.popitem(last=False)

    def find(
        self,
        connection: Connection | None,
        who: str,
        query: str,
        *,
        newest: Sequence[Row[Any]],
        without: Sequence[int],
        now: datetime,
        lang: Lang,
    ) -> tuple[list[tuple[int, Episode]], str] | None:
        """The ids and words of the turns that fit best, best first; and what helped before.

        Args:
            connection: An open transaction; without one nothing is read.
            who: The user's pseudonym.
            query: The words just heard.
            newest: The rows of their newest turns, newest first; at least one.
            without: Ids of turns that the reply is given anyway.
            now: The present moment.
            lang: Language in which is told when it was.

        Returns:
            None where rows must be read and there is no connection.
        """
        held = self._held.get(who)
        if held is None or held.user_id != newest[0].user_id:
            if connection is None:
                return None
            self.prefetch(connection, who, now)
            held = self._held[who]
        held.used_at = now
        if connection is not None:
            new = (row.id for row in newest if not held.index.knows(row.id, row.transcript))
            held.changed.update(new)
            if held.changed:
                self._catch_up(connection, held)
        elif held.changed or not held.is_sure:
            return None
        ids = held.index.find(query, MAX_EPISODES, without=without)
        if connection is not None and not held.is_sure and ids:
            ids = self._look_up(connection, held, ids)
        return held.told(ids, now, lang), held.helped

    def _look_up(self, connection: Connection, held: _Held, ids: Sequence[int]) -> list[int]:
        """Those of these turns that are still there, and are held as they are there."""
        there = {row.id: row for row in _read(connection, _THESE, _these(held.user_id, ids))}
        if stale := [i for i, row in there.items() if not held.index.knows(i, row.transcript)]:
            held.changed.update(stale)  # another process changed or emptied them
            self._catch_up(connection, held)
        for i, row in there.items():
            held.said[i] = held.said[i]._replace(label=row.label)
        return [i for i in ids if i in there]

    def doubt(self) -> None:
        """Rows may have been changed by others: what is found is looked up in them from now on."""
        for held in self._held.values():
            held.is_sure = False

    def change(self, who: str, turn_id: int) -> None:
        """A turn of a user was replaced; its rows are read again when they are needed."""
        if (held := self._held.get(who)) is not None:
            held.changed.add(turn_id)

    def forget(self, who: str | None) -> None:
        """Drop what is held of a user, or of all for None."""
        if who is None:
            self._held.clear()
        else:
            self._held.pop(who, None)

    def _catch_up(self, connection: Connection, held: _Held) -> None:
        given = {
            "user": held.user_id,
            "after": held.index.newest,
            "changed": sorted(held.changed),
        }
        facts: defaultdict[int, list[str]] = defaultdict(list)
        for row in _read(connection, _FACTS_SINCE, given):
            told = sealing.words(connection, FactRow, row.id, held.user_id, row._mapping)
            fact = Fact(FactKind(row.kind), told["subject"], told["value"])
            facts[row.turn_id] += _known_by(fact)
        for row in reversed(_read(connection, _SINCE, given)):
            text = _text(connection, held.user_id, row)
            held.take(row, text, " ".join(facts[row.id]))
        held.changed.clear()


def _read(
    connection: Connection, statement: Select[*tuple[Any, ...]], given: dict[str, Any]
) -> Sequence[Row[Any]]:
    return connection.execute(statement, given).all()


def told_then(
    connection: Connection, user_id: int, ids: Sequence[int], now: datetime, lang: Lang
) -> tuple[Episode, ...]:
    """The episodes that these turns of a user are, in this order, without those that are gone."""
    there = {row.id: row for row in _read(connection, _THESE, _these(user_id, ids))}
    told = (
        (_cut(_text(connection, user_id, there[i])), there[i].created_at.date(), there[i].label)
        for i in ids
        if i in there
    )
    return tuple(_episode(_Said(*each), now, lang) for each in told)


def _these(user_id: int, ids: Sequence[int]) -> dict[str, Any]:
    return {"user": user_id, "turns": ids}


def _episode(said: _Said, now: datetime, lang: Lang) -> Episode:
    return Episode(
        said=said.text,
        when=ago((now.date() - said.on).days, lang),
        sounded="" if said.label in (None, UNKNOWN) else said.label,
    )


def _text(connection: Connection, user_id: int, row: Row[Any]) -> str:
    words = sealing.words(connection, TurnRow, row.id, user_id, row._mapping)
    return telling(words["transcript"], "zh" if row.lang == "zh" else "en")


def _known_by(fact: Fact) -> list[str]:
    """The fact in both languages, without when."""
    today = date.min
    langs: tuple[Lang, ...] = ("en", "zh")
    return [line(fact, told=today, today=today, lang=lang) for lang in langs]


def _cut(text: str) -> str:
    if len(text) <= MAX_SAID:
        return text
    cut = text[:MAX_SAID]
    return (cut.rpartition(" ")[0] or cut) + "…"
