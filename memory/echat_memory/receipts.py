"""Receipts: what was asked to be erased, how far that came, and what went. No content.

A receipt is written before anything is deleted, and completed when the last copy is gone. Its stage
is written with what it tells of, in one transaction, so that whoever finds it open goes on there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from echat_memory.schema import ErasureRow
from echat_memory.scope import Scope

ASKED, ROWS, BYTES, DONE = "asked", "rows", "bytes", "done"
"""How far an erasure came: nothing is deleted; rows are; not a byte is left; nor is a copy."""

_COLUMNS = (
    ErasureRow.id, ErasureRow.who, ErasureRow.scope, ErasureRow.requested_at,
    ErasureRow.completed_at, ErasureRow.counts, ErasureRow.stage, ErasureRow.rest,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an erasure.

    Attributes:
        id: Its number.
        scope: What was to be erased.
        requested_at: When it was asked for.
        completed_at: When the last of it was gone; None while something is left.
        counts: Rows deleted from each table, or emptied of words, and what others erased.
        failed: Who could not erase their copy yet, and why. They are asked again when the store is
            next opened, or something erased.
    """

    id: int
    scope: Scope
    requested_at: datetime
    completed_at: datetime | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As `echat memory erase --json` tells it."""
        ended = self.completed_at
        return {
            "receipt": self.id,
            "scope": self.scope.to_json(),
            "requested_at": self.requested_at.isoformat(),
            "completed_at": None if ended is None else ended.isoformat(),
            "erased": dict(self.counts),
            "failed": dict(self.failed),
        }


def receipt_of(row: Row[Any]) -> Receipt:
    """A row that `one` or `all_of` found, as it is told."""
    return Receipt(
        id=row.id,
        scope=Scope.from_json(row.scope),
        requested_at=row.requested_at,
        completed_at=row.completed_at,
        counts=row.counts,
        failed=row.rest.get("failed", {}),
    )


def begin(
    connection: Connection,
    who: str,
    scope: Scope,
    *,
    through: int,
    keepers: Sequence[str],
    at: datetime,
) -> int:
    """Write a receipt of what is asked for; returns its number.

    Args:
        connection: An open transaction that writes.
        who: The user's pseudonym.
        scope: What is to be erased.
        through: The newest turn there is.
        keepers: The names of who else is to erase.
        at: The present moment.
    """
    columns = {
        "who": who,
        "scope": scope.to_json(),
        "requested_at": at,
        "counts": {},
        "stage": ASKED,
        "rest": {"through": through, "keepers": list(keepers)},
    }
    return connection.execute(insert(ErasureRow).returning(ErasureRow.id), columns).scalar_one()


def ask_again(connection: Connection, number: int, *, through: int, keepers: Sequence[str]) -> bool:
    """Set an open receipt back to its beginning: more may have come since; what went stays counted.

    Returns:
        Whether it is open still.
    """
    row = one(connection, number, lock=True)
    if row.stage == DONE:
        return False
    rest = {
        "through": through,
        "turns": row.rest.get("turns"),
        "keepers": sorted({*row.rest["keepers"], *keepers}),
    }
    counts = dict(Counter(row.counts) + Counter(row.rest.get("done", {})))
    change(connection, number, stage=ASKED, counts=counts, rest=rest)
    return True


def one(connection: Connection, number: int, *, lock: bool = False) -> Row[Any]:
    """A receipt's row; with `lock`, nobody else goes on with it in this transaction."""
    found = select(*_COLUMNS).where(ErasureRow.id == number)
    return connection.execute(found.with_for_update() if lock else found).one()


def change(connection: Connection, number: int, **columns: object) -> None:
    """Write how far it came."""
    connection.execute(update(ErasureRow).where(ErasureRow.id == number).values(**columns))


def open_ones(connection: Connection) -> list[Row[Any]]:
    """The receipts that are not completed, oldest first."""
    found = select(*_COLUMNS).where(ErasureRow.completed_at.is_(None), ErasureRow.who != "")
    return list(connection.execute(found.order_by(ErasureRow.id)).all())


def all_of(connection: Connection, who: str | None = None) -> list[Row[Any]]:
    """All receipts, oldest first, of one user or everybody's; none of a sweep."""
    found = select(*_COLUMNS).where(ErasureRow.who != "").order_by(ErasureRow.id)
    if who is not None:
        found = found.where(ErasureRow.who == who)
    return list(connection.execute(found).all())
