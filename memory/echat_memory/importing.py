"""A document as a person's rows, checked in full before the first of them is written.

`check` reads the whole file and refuses what is not ours in every value and reference. `write`
reads it again, in one transaction that keeps all of it or nothing. Neither holds more than ids and
some entries.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from echat_memory import sealing, vetting
from echat_memory.carrying import Answers
from echat_memory.document import (
    ConsentEntry,
    FactEntry,
    Person,
    PlanEntry,
    SafetyEntry,
    SessionEntry,
    TurnEntry,
)
from echat_memory.facts import Fact
from echat_memory.pieces import Piece
from echat_memory.plans import Remembered
from echat_memory.reading import Document
from echat_memory.schema import (
    PERSONAL,
    Base,
    ConsentRow,
    CueRow,
    EmotionRow,
    FactRow,
    KeyRow,
    PauseRow,
    PlanRow,
    SafetyRow,
    SessionRow,
    TurnRow,
    UserRow,
)
from echat_sdk.errors import DocumentError
from echat_sdk.pause_profile import PauseProfile

if TYPE_CHECKING:
    from sqlalchemy.sql.dml import ReturningInsert

MAX_CONSENTS = 10_000
"""Answers of one person; they are held while all else is read."""

_BATCH = 500
_SKEW = timedelta(days=1)
"""How far another machine's clock may be ahead. What lies further in the future would never be old
enough to be swept."""

_CONTENT = tuple(table for table in PERSONAL if table not in (ConsentRow, KeyRow))
"""What is replaced; answers and keys stay."""
_REFERENCES = (
    ("turns", "session", "sessions"),
    ("turns", "plan.remembered.facts", "facts"),
    ("turns", "plan.remembered.episodes", "turns"),
    ("facts", "turn", "turns"),
    ("facts", "superseded_by", "facts"),
    ("safety_events", "turn", "turns"),
)
"""Fields that name an entry: of which list, which field, of which list the entry."""

_USER = select(UserRow.id, UserRow.created_at, UserRow.last_seen_at).where(
    UserRow.pseudonym == bindparam("who")
)
_INSERT_USER = insert(UserRow).returning(UserRow.id)
_INSERTS: dict[type[Base], ReturningInsert[int]] = {
    table: insert(table).returning(table.id, sort_by_parameter_order=True)
    for table in (SessionRow, TurnRow, FactRow)
}
_SEEN = update(UserRow).where(UserRow.id == bindparam("user"))
_SUPERSEDE = (
    update(FactRow).where(FactRow.id == bindparam("fact")).values(superseded_by=bindparam("by"))
)


@dataclass(frozen=True, slots=True)
class Checked:
    """A document in which all is as it should be.

    Attributes:
        person: Whose it is.
        pauses: How they pause.
        consents: What they answered.
    """

    person: Person
    pauses: PauseProfile | None
    consents: tuple[ConsentEntry, ...]


# --- checking --------------------------------------------------------------------------------


def check(file: Document, now: datetime) -> Checked:
    """Make sure of a whole document.

    Raises:
        DocumentError: something in it is wrong; says where.
    """
    ids = {name: _Ids() for name in ("sessions", "turns", "facts")}
    refers = {(section, field): _Refers(target) for section, field, target in _REFERENCES}
    last_seq: dict[int, int] = {}
    single: dict[str, Any] = {}
    consents: list[ConsentEntry] = []
    for piece, entry in file.all():
        if piece.index == -1:
            continue
        for name, moment in _moments(entry):
            if moment > now + _SKEW:
                raise file.wrong(piece, name, "expected a time that is not in the future")
        match entry:
            case SessionEntry() | TurnEntry() | FactEntry():
                if not ids[piece.key].add(entry.id):
                    raise file.wrong(piece, "id", "expected a greater one than before it")
            case ConsentEntry():
                consents.append(entry)
                if len(consents) > MAX_CONSENTS:
                    raise file.wrong(piece, "purpose", f"expected at most {MAX_CONSENTS:,}")
            case _ if piece.index is None:
                single[piece.key] = entry
        if isinstance(entry, TurnEntry):
            if entry.seq <= last_seq.get(entry.session, 0):
                raise file.wrong(piece, "seq", "expected a greater one than before in its session")
            last_seq[entry.session] = entry.seq
        for section, field, _ in _REFERENCES:
            if section == piece.key:
                for number in _named(entry, field):
                    refers[section, field].add(piece, number)
    for (section, field), found in refers.items():
        for index, line, number in found:
            if ids[found.target].place(number) is None:
                where = Piece(section, index, line, "")
                raise file.wrong(where, field, f"there is no such entry in {found.target}")
    return Checked(single["user"], single["pauses"], tuple(consents))


class _Ids:
    """The ids of the entries of a list, which rise, and of their rows once these are written."""

    def __init__(self) -> None:
        self._ids = array("q")
        self._rows = array("q")

    def add(self, number: int, row: int = 0) -> bool:
        """Take in an entry; False where it does not come after the others."""
        if self._ids and number <= self._ids[-1]:
            return False
        self._ids.append(number)
        self._rows.append(row)
        return True

    def place(self, number: int) -> int | None:
        """Where an entry is in its list."""
        place = bisect_left(self._ids, number)
        return place if place < len(self._ids) and self._ids[place] == number else None

    def row(self, number: int | None) -> int | None:
        """The row of an entry; None where it was left out."""
        place = None if number is None else self.place(number)
        return None if place is None else self._rows[place]


class _Refers:
    """The entries that a field names, until all lists are known."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._all = array("q")

    def add(self, piece: Piece, number: int) -> None:
        self._all.extend((piece.index or 0, piece.line, number))

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        flat = iter(self._all)
        return zip(flat, flat, flat, strict=True)


def _named(entry: Any, field: str) -> Iterable[int]:
    """The ids in a field, given as a path."""
    for name in field.split("."):
        entry = None if entry is None else getattr(entry, name)
    return () if entry is None else (entry,) if isinstance(entry, int) else entry


def _moments(entry: Any) -> Iterator[tuple[str, datetime]]:
    """The times of an entry that lie in the past, with their names."""
    for name in getattr(type(entry), "model_fields", ()):
        moment = getattr(entry, name)
        if isinstance(moment, datetime) and name != "expires_at":
            yield name, moment


# --- writing ---------------------------------------------------------------------------------


def take_place(
    connection: Connection, who: str, person: Person, *, replacing: bool, now: datetime
) -> int:
    """The row in `users` for a person whose document comes in; nothing but answers hangs on it.

    Args:
        connection: An open transaction.
        who: Their pseudonym.
        person: As the document knows them.
        replacing: Delete what is kept of them.
        now: The present moment.

    Raises:
        DocumentError: something is kept of them, and is not to be replaced.
    """
    row = connection.execute(_USER.with_for_update(), {"who": who}).one_or_none()
    seen = {
        "created_at": min(person.created_at, now),
        "last_seen_at": min(person.last_seen_at, now),
    }
    if row is None:
        return int(connection.execute(_INSERT_USER, {"pseudonym": who, **seen}).scalar_one())
    for table in _CONTENT:
        mine = table.__table__.c.user_id == row.id
        if replacing:
            connection.execute(delete(table).where(mine))
        elif connection.execute(select(mine).where(mine).limit(1)).first() is not None:
            raise DocumentError(
                "something is kept of this user here already, and two memories are never mixed; "
                "nothing was written. With --replace it is erased first."
            )
    seen = {
        "created_at": min(seen["created_at"], row.created_at),
        "last_seen_at": max(seen["last_seen_at"], row.last_seen_at),
    }
    connection.execute(_SEEN.values(seen), {"user": row.id})
    return int(row.id)


def write(
    connection: Connection, user_id: int, file: Document, checked: Checked, answers: Answers
) -> tuple[Counter[str], Counter[str]]:
    """Write what a document holds.

    Args:
        connection: An open transaction; what is written is kept when it ends well.
        user_id: A row of `take_place`.
        file: The document.
        checked: What `check` found in it.
        answers: The answers to add.

    Returns:
        Rows written to each table; facts and thoughts that were left out.

    Raises:
        DocumentError: the file has changed since it was checked.
        StoreError: it cannot be written.
    """
    writer = _Writer(connection, user_id, file)
    writer.answers(answers)
    if checked.pauses is not None:
        columns = {"user_id": user_id, **checked.pauses.model_dump()}
        writer.put(PauseRow, [columns])
    writer.sessions()
    writer.turns()
    writer.facts()
    writer.plans_and_safety()
    return +writer.counts, +writer.left_out


class _Writer:
    """One import. Lists are written in the order in which they name each other."""

    def __init__(self, connection: Connection, user_id: int, file: Document) -> None:
        self._connection = connection
        self._user_id = user_id
        self._file = file
        self._sessions, self._turns, self._facts = _Ids(), _Ids(), _Ids()
        self.counts: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()

    def put(self, table: type[Base], columns: list[dict[str, Any]]) -> None:
        """Write rows whose ids nobody asks for."""
        if columns:
            self._connection.execute(insert(table), columns)
            self.counts[table.__tablename__] += len(columns)

    def answers(self, answers: Answers) -> None:
        columns = [
            {
                "user_id": self._user_id,
                "purpose": purpose,
                "state": said.state.value,
                "version": said.version,
                "channel": said.channel,
                "at": said.since,
                "expires_at": said.expires_at,
            }
            for purpose, said in answers
        ]
        self.put(ConsentRow, columns)

    def sessions(self) -> None:
        for batch in self._batches("sessions"):
            self._put_numbered(
                SessionRow,
                self._sessions,
                batch,
                [{"started_at": e.started_at, "ended_at": e.ended_at} for e in batch],
            )

    def turns(self) -> None:
        for batch in self._batches("turns"):
            self._put_numbered(TurnRow, self._turns, batch, [self._turn(e) for e in batch])
            emotions: list[dict[str, Any]] = []
            cues: list[dict[str, Any]] = []
            for entry in batch:
                mine = {"turn_id": self._turns.row(entry.id), "user_id": self._user_id}
                emotions += ({**mine, **_plain(each)} for each in entry.emotions)
                cues += ({**mine, **_plain(each)} for each in entry.cues)
            self.put(EmotionRow, emotions)
            self.put(CueRow, cues)

    def facts(self) -> None:
        heirs: list[tuple[int, int]] = []
        for batch in self._batches("facts"):
            sound = [e for e in batch if vetting.could_be_told(Fact(e.kind, e.subject, e.value))]
            self.left_out["facts"] += len(batch) - len(sound)
            columns = [
                {
                    **entry.model_dump(exclude={"id", "turn", "superseded_by"}),
                    "kind": entry.kind.value,
                    "turn_id": self._turns.row(entry.turn),
                    "superseded_by": None,
                }
                for entry in sound
            ]
            self._put_numbered(FactRow, self._facts, sound, columns)
            heirs += ((e.id, e.superseded_by) for e in sound if e.superseded_by is not None)
        known = [
            {"fact": self._facts.row(number), "by": by}
            for number, heir in heirs
            if (by := self._facts.row(heir)) is not None
        ]
        if known:
            self._connection.execute(_SUPERSEDE, known)

    def plans_and_safety(self) -> None:
        """What names turns and facts; in one pass, for each reads the file again."""
        for batch in self._batches("turns", "safety_events"):
            self.put(
                PlanRow,
                [
                    self._plan(entry.id, entry.plan)
                    for entry in batch
                    if isinstance(entry, TurnEntry) and entry.plan is not None
                ],
            )
            self.put(
                SafetyRow,
                [
                    {
                        **entry.model_dump(exclude={"turn"}),
                        "user_id": self._user_id,
                        "turn_id": self._turns.row(entry.turn),
                    }
                    for entry in batch
                    if isinstance(entry, SafetyEntry)
                ],
            )

    def _turn(self, entry: TurnEntry) -> dict[str, Any]:
        think = vetting.thought(entry.think)
        self.left_out["thoughts"] += think != entry.think
        return {
            **entry.model_dump(exclude={"id", "session", "emotions", "cues", "plan"}),
            "session_id": self._sessions.row(entry.session),
            "status": entry.status.value,
            "think": think,
        }

    def _plan(self, number: int, plan: PlanEntry) -> dict[str, Any]:
        turn_id, given = self._turns.row(number), ""
        assert turn_id is not None
        if (told := plan.remembered) is not None:
            remembered = Remembered(
                facts=tuple(filter(None, map(self._facts.row, told.facts))),
                episodes=tuple(filter(None, map(self._turns.row, told.episodes))),
                turns=told.turns,
                mood=told.mood,
                helped=told.helped,
            )
            given = json.dumps(asdict(remembered))
        columns = {
            "turn_id": turn_id,
            "user_id": self._user_id,
            "strategy": plan.strategy,
            "remembered": given,
        }
        return sealing.seal(self._connection, PlanRow, turn_id, self._user_id, columns)

    def _put_numbered(
        self, table: type[Base], ids: _Ids, entries: list[Any], columns: list[dict[str, Any]]
    ) -> None:
        """Write rows that others name."""
        columns = [{**each, "user_id": self._user_id} for each in columns]
        found = sealing.insert_many(self._connection, _INSERTS[table], table, columns)
        for entry, row in zip(entries, found, strict=True):
            ids.add(entry.id, row)
        self.counts[table.__tablename__] += len(found)

    def _batches(self, *keys: str) -> Iterator[list[Any]]:
        """The entries of some lists, some at a time."""
        entries = (entry for piece, entry in self._file.entries(*keys) if piece.index != -1)
        while batch := list(islice(entries, _BATCH)):
            yield batch


def _plain(entry: Any) -> dict[str, Any]:
    """The columns of an emotion or another cue."""
    found: dict[str, Any] = entry.model_dump(mode="json")
    return found
