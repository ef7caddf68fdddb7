"""Taking back what was told in turns: facts as they would be, had these turns never been.

A fact may have been replaced, denied or told again in a turn, and only the first leaves a trace in
its row. So what all turns told is learnt twice in RAM, with and without those that go, by the very
rule of `learning.change`; where the two differ, the rows follow. What did not differ stays as it
is, also what an older program learnt otherwise.

A fact whose turn was swept is taken as told before all turns that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from echat_memory import sealing
from echat_memory.extraction import extract
from echat_memory.facts import Fact, FactKind
from echat_memory.forgetting import forget_facts
from echat_memory.learning import change
from echat_memory.schema import FactRow, TurnRow
from echat_sdk.turn import Lang

_ROWS = select(
    FactRow.id, FactRow.turn_id, FactRow.kind, FactRow.subject, FactRow.value, FactRow.valid_from,
    FactRow.valid_to, FactRow.superseded_by, FactRow.trust, FactRow.extractor,
).order_by(FactRow.id)  # fmt: skip
_TURNS = select(TurnRow.id, TurnRow.transcript, TurnRow.lang, TurnRow.created_at).order_by(
    TurnRow.id
)
_OWN = select(FactRow.turn_id, FactRow.valid_from)
_PAGE = 200
_INSERT = insert(FactRow).returning(FactRow.id)

_What = tuple[str, str, str]
Heard = dict[tuple[str, Lang], list[Fact]]
"""What words in a language tell."""


@dataclass(frozen=True, slots=True, eq=False)
class _Telling:
    """A fact as it was told once. `row` is what is kept of it; a swept turn is 0."""

    turn: int
    fact: Fact
    row: Mapping[str, Any] | None = None
    is_kept_anyway: bool = False  # known from its row alone
    is_over: bool = False  # a turn that is swept took it back

    @property
    def what(self) -> _What:
        return self.fact.kind.value, self.fact.subject, self.fact.value


@dataclass(slots=True, eq=False)
class _Entry:
    """A fact that was learnt from a telling; `ended` by another, with what in its place."""

    telling: _Telling
    ended: _Telling | None = None
    by: _Telling | None = None
    holds: bool = True

    @property
    def fate(self) -> tuple[bool, _Telling | None, _Telling | None]:
        return self.holds, self.ended, self.by


@dataclass(slots=True)
class _Book:
    """What is learnt from tellings, in their order."""

    entries: list[_Entry] = field(default_factory=list)
    _of: dict[tuple[FactKind, str], list[int]] = field(default_factory=dict)

    def tell(self, telling: _Telling) -> None:
        fact = telling.fact

        def held(kind: FactKind) -> dict[int, str]:
            numbers = self._of.get((kind, fact.subject), ())
            return {n: self.entries[n].telling.fact.value for n in numbers if self.entries[n].holds}

        if telling.is_over:
            self._add(_Entry(telling, holds=False))
            return
        told = change(fact, held)
        by = telling if told.is_new else None
        if told.by is not None:
            by = self.entries[told.by].telling
        for number in told.closed:
            entry = self.entries[number]
            entry.holds, entry.ended, entry.by = False, telling, by
        if told.is_new or telling.is_kept_anyway:
            self._add(_Entry(telling))

    def _add(self, entry: _Entry) -> None:
        fact = entry.telling.fact
        self._of.setdefault((fact.kind, fact.subject), []).append(len(self.entries))
        self.entries.append(entry)


def _learnt(tellings: Iterable[_Telling]) -> _Book:
    book = _Book()
    for telling in tellings:
        book.tell(telling)
    return book


def take_back(
    connection: Connection,
    user_id: int,
    turns: Collection[int],
    *,
    since: datetime | None = None,
    heard: Heard | None = None,
) -> tuple[int, dict[int, int | None]]:
    """Make a user's facts what they would be without these turns; call it before these are deleted.

    Args:
        connection: An open transaction that writes.
        user_id: The user's row.
        turns: The turns that go.
        since: Facts of swept turns that were told from then on go, too.
        heard: What `read_ahead` found.

    Returns:
        How many facts went, and the ids that are no more: with the new id of the same fact, or
        None.
    """
    if not concerns(connection, user_id, turns, since=since):
        return 0, {}
    heard, gone = {} if heard is None else heard, set(turns)
    rows = [
        {**row._mapping, **sealing.words(connection, FactRow, row.id, user_id, row._mapping)}
        for row in connection.execute(_ROWS.where(FactRow.user_id == user_id))
    ]
    leaving = {row["id"] for row in rows if row["turn_id"] in gone or _is_swept_since(row, since)}
    said: dict[int, list[Fact]] = {}
    at: dict[int, datetime] = {}
    for row in connection.execute(_TURNS.where(TurnRow.user_id == user_id)).all():
        told = sealing.words(connection, TurnRow, row.id, user_id, row._mapping)["transcript"]
        said[row.id] = (
            heard[told, row.lang] if (told, row.lang) in heard else extract(told, row.lang)
        )
        at[row.id] = row.created_at
    tellings = _tellings(rows, said, at)
    before = _learnt(tellings)
    after = _learnt(
        telling
        for telling in tellings
        if telling.turn not in gone and (telling.row is None or telling.row["id"] not in leaving)
    )
    return _follow(connection, user_id, leaving, before, after, _times(before, at))


def concerns(
    connection: Connection,
    user_id: int,
    turns: Collection[int],
    *,
    since: datetime | None = None,
) -> bool:
    """Whether any fact would be another without these turns; most tell of none."""
    rows = connection.execute(_OWN.where(FactRow.user_id == user_id)).all()
    if not rows:
        return False  # nothing may be kept, or nothing was told
    gone = set(turns)
    if any(row.turn_id in gone or _is_swept_since(dict(row._mapping), since) for row in rows):
        return True
    return any(
        extract(
            sealing.words(connection, TurnRow, row.id, user_id, row._mapping)["transcript"],
            row.lang,
        )
        for turn in sorted(gone)
        for row in connection.execute(_TURNS.where(TurnRow.user_id == user_id, TurnRow.id == turn))
    )


def read_ahead(opened: Callable[[], AbstractContextManager[Connection]], user_id: int) -> Heard:
    """What all turns of a user tell, by their words; so that `take_back` keeps nobody waiting.

    Args:
        opened: Opens a transaction that reads; one is open for no more than a page.
        user_id: The user's row.
    """
    heard: Heard = {}
    after = 0
    while True:
        page = _TURNS.where(TurnRow.user_id == user_id, TurnRow.id > after).limit(_PAGE)
        with opened() as connection:
            found = [
                (row, sealing.words(connection, TurnRow, row.id, user_id, row._mapping))
                for row in connection.execute(page)
            ]
        for row, words in found:
            heard[words["transcript"], row.lang] = extract(words["transcript"], row.lang)
        if len(found) < _PAGE:
            return heard
        after = found[-1][0].id


def _is_swept_since(row: Mapping[str, Any], since: datetime | None) -> bool:
    return row["turn_id"] is None and since is not None and row["valid_from"] >= since


def _tellings(
    rows: list[dict[str, Any]], said: Mapping[int, list[Fact]], at: Mapping[int, datetime]
) -> list[_Telling]:
    """All that was told, in order, each with the row that is kept of it."""
    first = min(at.values(), default=None)
    free: dict[tuple[int, _What], list[dict[str, Any]]] = {}
    for row in rows:
        key = (row["turn_id"] or 0, (row["kind"], row["subject"], row["value"]))
        free.setdefault(key, []).append(row)
    matched: dict[int, list[_Telling]] = {}
    for turn, facts in said.items():
        for fact in facts:
            mine = free.get((turn, (fact.kind.value, fact.subject, fact.value)))
            kept = mine.pop(0) if mine and not fact.denied else None
            matched.setdefault(turn, []).append(_Telling(turn, fact, kept))
    swept = {row["id"] for row in rows if row["turn_id"] is None}
    alone: dict[int, list[_Telling]] = {}
    for row in chain.from_iterable(free.values()):
        turn = row["turn_id"] or 0
        is_over = (
            turn == 0
            and row["valid_to"] is not None
            and row["superseded_by"] not in swept
            and (first is None or row["valid_to"] < first)
        )
        fact = Fact(FactKind(row["kind"]), row["subject"], row["value"])
        telling = _Telling(turn, fact, row, is_kept_anyway=True, is_over=is_over)
        alone.setdefault(turn, []).append(telling)
    for each in alone.values():
        each.sort(key=lambda telling: telling.row["id"] if telling.row else 0)
    order = sorted({*matched, *alone})
    return [each for turn in order for each in (*alone.get(turn, ()), *matched.get(turn, ()))]


def _times(before: _Book, at: Mapping[int, datetime]) -> dict[int, datetime]:
    """When each turn was told: a turn that was written again told what it tells then."""
    times: dict[int, datetime] = {}
    for entry in before.entries:
        row, ended = entry.telling.row, entry.ended
        if row is not None:
            times.setdefault(entry.telling.turn, row["valid_from"])
            if ended is not None and row["valid_to"] is not None:
                times.setdefault(ended.turn, row["valid_to"])
    return {**at, **times}


def _follow(
    connection: Connection,
    user_id: int,
    leaving: set[int],
    before: _Book,
    after: _Book,
    times: Mapping[int, datetime],
) -> tuple[int, dict[int, int | None]]:
    """Change the rows by what differs."""
    was = {entry.telling: entry for entry in before.entries}
    now = {entry.telling: entry for entry in after.entries}
    dropped = leaving | {
        telling.row["id"] for telling in was if telling not in now and telling.row is not None
    }
    new_ids: dict[_Telling, int] = {}
    moved: dict[int, int | None] = dict.fromkeys(dropped)
    # The order of facts is that of their ids: from the first that is new, all get new ones.
    for entry in after.entries:
        telling = entry.telling
        if telling.row is None and telling in was:
            continue  # it was learnt, and has been swept since
        if telling.row is None or new_ids:
            new_ids[telling] = _insert(connection, user_id, telling, times)
            if telling.row is not None:
                moved[telling.row["id"]] = new_ids[telling]

    def id_of(telling: _Telling | None) -> int | None:
        if telling is None:
            return None
        return new_ids.get(telling) or (telling.row["id"] if telling.row else None)

    for telling, entry in now.items():
        if telling in new_ids or telling.row is None:
            continue
        if telling not in was or entry.fate != was[telling].fate:
            _write_fate(connection, telling.row["id"], entry, id_of, times)
    for telling, row_id in new_ids.items():
        old = telling.row
        if old is None or telling not in was or now[telling].fate != was[telling].fate:
            _write_fate(connection, row_id, now[telling], id_of, times)
        else:
            by = moved.get(old["superseded_by"], old["superseded_by"])
            fate = {"valid_to": old["valid_to"], "superseded_by": by}
            connection.execute(update(FactRow).where(FactRow.id == row_id).values(fate))
    for old_id, new_id in moved.items():
        if new_id is not None:
            points = update(FactRow).where(FactRow.superseded_by == old_id)
            connection.execute(points.values(superseded_by=new_id))
    forget_facts(connection, FactRow.id.in_(dropped))
    renewed = [old for old, new in moved.items() if new is not None]
    connection.execute(delete(FactRow).where(FactRow.id.in_(renewed)))
    return len(dropped), moved


def _time_of(telling: _Telling, times: Mapping[int, datetime]) -> datetime:
    moment: datetime = times[telling.turn] if telling.row is None else telling.row["valid_from"]
    return moment


def _insert(
    connection: Connection, user_id: int, telling: _Telling, times: Mapping[int, datetime]
) -> int:
    """Write a fact anew, or for the first time; what ended it comes later."""
    columns: dict[str, Any] = {
        "user_id": user_id,
        "turn_id": telling.turn or None,
        "kind": telling.fact.kind.value,
        "subject": telling.fact.subject,
        "value": telling.fact.value,
        "valid_from": _time_of(telling, times),
    }
    if telling.row is not None:
        columns |= {name: telling.row[name] for name in ("trust", "extractor")}
    return sealing.insert(connection, _INSERT, FactRow, columns)


def _write_fate(
    connection: Connection,
    row_id: int,
    entry: _Entry,
    id_of: Callable[[_Telling | None], int | None],
    times: Mapping[int, datetime],
) -> None:
    ended = None if entry.ended is None else _time_of(entry.ended, times)
    fate = {"valid_to": ended, "superseded_by": id_of(entry.by)}
    connection.execute(update(FactRow).where(FactRow.id == row_id).values(fate))
