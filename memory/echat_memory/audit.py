"""What was done with people's data, as a chain: each record's digest covers the one before.

A digest is an HMAC under the store's key, so that who can write the rows but lacks the key can
neither alter, insert, remove nor reorder one unseen. What a chain cannot show by itself is that its
end was cut off: keep a head digest elsewhere, and ask whether it is still in the chain.

Records hold no content and no host's id. The turn path writes none.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from echat_memory.schema import AuditRow, KeyCheckRow
from echat_sdk.errors import StoreError

GENESIS = "0" * 64
"""What the first record of all has before it."""

STORE = "store"
"""The actor where nobody asked: a sweep, a migration, an erasure that is ended."""

SWEPT = "audit swept"
"""What the record that vouches for a swept beginning says was done."""
_PAGE = 1000
_LOCK = select(KeyCheckRow.id).with_for_update()
_COLUMNS = (
    AuditRow.id, AuditRow.at, AuditRow.who, AuditRow.actor, AuditRow.action, AuditRow.detail,
    AuditRow.previous, AuditRow.digest,
)  # fmt: skip
_LAST = select(AuditRow.id, AuditRow.digest).order_by(AuditRow.id.desc()).limit(1)
_INSERT = insert(AuditRow)


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that was done.

    Attributes:
        id: Its number in the chain, without gaps.
        at: When.
        who: The pseudonym of whom it concerns; empty where nobody is meant.
        actor: Who did it, such as `cli`, `host` or `store`.
        action: What.
        detail: With what; ids, codes and counts.
        previous: The digest of the record before.
        digest: What the next record has before it.
    """

    id: int
    at: datetime
    who: str
    actor: str
    action: str
    detail: Mapping[str, Any]
    previous: str
    digest: str

    def to_json(self) -> dict[str, Any]:
        """As `echat memory audit --json` tells it."""
        return {
            "id": self.id,
            "at": self.at.isoformat(),
            "who": self.who,
            "actor": self.actor,
            "action": self.action,
            "detail": dict(self.detail),
            "digest": self.digest,
        }


@dataclass(frozen=True, slots=True)
class Verified:
    """What reading the whole chain found.

    Attributes:
        records: How many were read.
        head: The digest of the last; keep it elsewhere, for a chain does not show a lost end.
        broken_at: The number of the first that does not fit; None where all do.
        why: What does not fit.
        has_anchor: Whether the digest that was asked for is in the chain; None if none was.
    """

    records: int
    head: str
    broken_at: int | None = None
    why: str = ""
    has_anchor: bool | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing was found amiss."""
        return self.broken_at is None and self.has_anchor is not False

    def to_json(self) -> dict[str, Any]:
        """As `echat memory audit --verify --json` tells it."""
        return {
            "whole": self.is_whole,
            "records": self.records,
            "head": self.head,
            "broken_at": self.broken_at,
            "why": self.why,
            "has_anchor": self.has_anchor,
        }


def use(connection: Connection, key: bytes) -> None:
    """Chain what is appended over a connection from here on with this key."""
    if connection.get_execution_options().get("audit_key") != key:
        connection.execution_options(audit_key=key)


def append(
    connection: Connection,
    *,
    who: str,
    actor: str,
    action: str,
    detail: Mapping[str, Any],
    at: datetime,
) -> str:
    """Add a record, inside the transaction that does what it tells of; its last statements.

    Others that append wait until it ends, so nothing that takes long may come after it.

    Args:
        connection: An open transaction that writes.
        who: The pseudonym of whom it concerns; empty for nobody.
        actor: Who does it, such as `cli`.
        action: What is done.
        detail: Ids, codes and counts, as JSON; never what somebody said, nor a host's id.
        at: The present moment.

    Returns:
        Its digest, which is the chain's head now.
    """
    connection.execute(_LOCK).all()  # a server lets several write at once
    last = connection.execute(_LAST).one_or_none()
    number, previous = (1, GENESIS) if last is None else (last.id + 1, last.digest)
    record = Record(number, at, who, actor[:64], action[:64], detail, previous, "")
    digest = _digest(_key(connection), record)
    columns = {name: getattr(record, name) for name in Record.__slots__}
    connection.execute(_INSERT, columns | {"detail": dict(detail), "digest": digest})
    return digest


def records(connection: Connection, who: str | None = None, *, limit: int = 100) -> list[Record]:
    """The last records, oldest first; with `who` only those of this pseudonym."""
    found = select(*_COLUMNS).order_by(AuditRow.id.desc()).limit(limit)
    if who is not None:
        found = found.where(AuditRow.who == who)
    return [Record(*row) for row in reversed(connection.execute(found).all())]


def verify(connection: Connection, *, head: str | None = None) -> Verified:
    """Read the whole chain, and tell the first record that does not fit.

    Args:
        connection: An open transaction; it reads only.
        head: A digest that was the head once, and must still be in the chain. One of a record that
            was swept is there no more, but for the last such.
    """
    key, count, digest, expected = _key(connection), 0, GENESIS, 1
    begins_after: tuple[int, str] | None = None
    vouched: tuple[object, object] = (0, GENESIS)
    seen: set[str | None] = set()
    for row in _walk(connection):
        if begins_after is None:  # what was before it, if anything, must be told by a later one
            begins_after = row.id - 1, row.previous
            expected, digest = row.id, row.previous
        why = ""
        if row.id != expected:
            why = f"number {expected} is missing"
        elif row.previous != digest:
            why = "it does not follow the one before"
        elif not hmac.compare_digest(_digest(key, row), row.digest):
            why = "it was altered"
        if why:
            return Verified(count, digest, row.id, why, None if head is None else head in seen)
        if row.action == SWEPT:
            vouched = row.detail.get("through"), row.detail.get("digest")
        count, digest, expected = count + 1, row.digest, row.id + 1
        seen |= {head} & {row.previous, row.digest}
    has_anchor = None if head is None else head in seen
    if begins_after is None:  # the first record is as old as the store's key
        return Verified(0, digest, 1, "all records are missing", has_anchor)
    if begins_after != vouched:
        return Verified(
            count, digest, begins_after[0] + 1, "what was before it is missing", has_anchor
        )
    return Verified(count, digest, has_anchor=has_anchor)


def sweep(connection: Connection, ids: list[int], now: datetime) -> int:
    """Delete the beginning of the chain, and add a record that vouches for what is gone.

    Args:
        connection: An open transaction that writes.
        ids: The records that are due.
        now: The present moment.

    Returns:
        How many were deleted: those of the ids that are the beginning.
    """
    connection.execute(_LOCK).all()
    first = select(*_COLUMNS).order_by(AuditRow.id).limit(len(ids))
    due = set(ids)
    last = None
    count = 0
    for row in connection.execute(first):
        if row.id not in due:
            break
        last, count = row, count + 1
    if last is None:
        return 0
    append(
        connection,
        who="",
        actor=STORE,
        action=SWEPT,
        detail={"through": last.id, "digest": last.digest},
        at=now,
    )
    connection.execute(delete(AuditRow).where(AuditRow.id <= last.id))
    return count


def _walk(connection: Connection) -> Iterator[Row[Any]]:
    after: int | None = None
    while True:
        page = select(*_COLUMNS).order_by(AuditRow.id).limit(_PAGE)
        if after is not None:
            page = page.where(AuditRow.id > after)
        found = connection.execute(page).all()
        yield from found
        if len(found) < _PAGE:
            return
        after = found[-1].id


def _key(connection: Connection) -> bytes:
    key = connection.get_execution_options().get("audit_key")
    if not isinstance(key, bytes):
        raise StoreError("the audit log has no key here; open the store before it is written to")
    return key


def _digest(key: bytes, record: Record | Row[Any]) -> str:
    """Of all of a record but the digest itself."""
    moment = record.at.astimezone(UTC).isoformat()
    told = json.dumps(
        [
            record.id,
            moment,
            record.who,
            record.actor,
            record.action,
            record.detail,
            record.previous,
        ],
        sort_keys=True,
        separators=(",", ":"),
    )
    # No user id has this byte: 0xff is in no UTF-8, so no digest is somebody's pseudonym.
    return hmac.new(key, b"\xffaudit" + told.encode(), hashlib.sha256).hexdigest()
