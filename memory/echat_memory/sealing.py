"""Words on their way into the store and out of it: sealed where it is encrypted, as they are else.

Whoever writes one of `SEALED` calls `insert` or `seal`, who empties one `empty`, who reads one
`words`; nobody else knows of encryption. The cipher, if there is one, comes with the connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    and_,
    bindparam,
    func,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute

from echat_memory.schema import Base, EncryptionRow, FactRow, PlanRow, TurnRow
from echat_sdk.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy.sql.dml import ReturningInsert

    from echat_memory.cipher import Cipher

SEALED: dict[type[Base], tuple[str, ...]] = {
    TurnRow: ("transcript", "think", "reply"),
    FactRow: ("subject", "value"),
    PlanRow: ("remembered",),
}
"""What tells what somebody said. Labels, numbers and times stay plain: they are counted in SQL."""

ROW_ID = {TurnRow: TurnRow.id, FactRow: FactRow.id, PlanRow: PlanRow.turn_id}

REPLACE = {
    table: update(table)
    .where(ROW_ID[table] == bindparam("row"))
    .values({column: bindparam(f"new_{column}") for column in columns})
    for table, columns in SEALED.items()
}
_IS_ENCRYPTED = select(EncryptionRow.id)
_PREFIX = "echat1:"
_BLANK = len(_PREFIX) + 48
"""Characters of a sealed text of none; `cipher` says why, and a test holds both together."""


def cipher_of(connection: Connection) -> Cipher | None:
    """What the words behind a connection are sealed with; None for a plain store."""
    return cast("Cipher | None", connection.get_execution_options().get("cipher"))


def use(connection: Connection, cipher: Cipher | None) -> None:
    """Seal and open what goes over a connection from here on."""
    # Asked each time, for a lost connection is made anew.
    if connection.get_execution_options().get("cipher", "none yet") is not cipher:
        connection.execution_options(cipher=cipher)


def insert(
    connection: Connection,
    statement: ReturningInsert[int],
    table: type[Base],
    columns: Mapping[str, Any],
) -> int:
    """Write a new row, its words sealed, and return its id.

    Words are bound to the id of their row, which is known only once it is there.
    """
    if table not in SEALED:
        return int(connection.execute(statement, columns).scalar_one())
    if cipher_of(connection) is None:
        _must_be_plain(connection, table)
        return int(connection.execute(statement, columns).scalar_one())
    blank = {**columns, **dict.fromkeys(SEALED[table], "")}
    row_id = int(connection.execute(statement, blank).scalar_one())
    sealed = seal(connection, table, row_id, columns["user_id"], columns)
    replace(connection, table, row_id, {name: sealed[name] for name in SEALED[table]})
    return row_id


def insert_many(
    connection: Connection,
    statement: ReturningInsert[int],
    table: type[Base],
    rows: Sequence[Mapping[str, Any]],
) -> list[int]:
    """Write new rows, their words sealed, and return their ids in the order of the rows.

    The statement gives them back in that order (`sort_by_parameter_order`).
    """
    if not rows:
        return []
    cipher = cipher_of(connection) if table in SEALED else None
    if cipher is None:
        if table in SEALED:
            _must_be_plain(connection, table)
        return list(connection.execute(statement, rows).scalars())
    blank = dict.fromkeys(SEALED[table], "")
    ids = list(connection.execute(statement, [{**row, **blank} for row in rows]).scalars())
    sealed = [
        seal(connection, table, row_id, row["user_id"], row)
        for row_id, row in zip(ids, rows, strict=True)
    ]
    texts = [
        {"row": row_id, **{f"new_{name}": row[name] for name in SEALED[table]}}
        for row_id, row in zip(ids, sealed, strict=True)
    ]
    connection.execute(REPLACE[table], texts)
    return ids


def seal(
    connection: Connection, table: type[Base], row_id: int, user_id: int, columns: Mapping[str, Any]
) -> dict[str, Any]:
    """The columns of a row whose id is known, those of `SEALED` sealed."""
    cipher = cipher_of(connection)
    if cipher is None:
        _must_be_plain(connection, table)
        return dict(columns)
    mine = {name: columns[name] for name in SEALED[table] if name in columns}
    return {**columns, **cipher.seal(connection, table.__tablename__, row_id, user_id, mine)}


def words(
    connection: Connection,
    table: type[Base],
    row_id: int,
    user_id: int,
    row: RowMapping | Mapping[str, str],
) -> dict[str, str]:
    """Those columns of `SEALED` that a row has, readable.

    Raises:
        StoreError: they are not what was written into this row, or their key is gone.
    """
    mine = {name: row[name] for name in SEALED[table] if name in row}
    cipher = cipher_of(connection)
    if cipher is None:
        return mine
    return cipher.open(connection, table.__tablename__, row_id, user_id, mine)


def replace(
    connection: Connection, table: type[Base], row_id: int, sealed: Mapping[str, str]
) -> None:
    """Put sealed words, all that `SEALED` names, into a row."""
    connection.execute(
        REPLACE[table], {"row": row_id, **{f"new_{name}": text for name, text in sealed.items()}}
    )


def has_words(connection: Connection, column: InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """A condition: a column of `SEALED` is not empty."""
    if cipher_of(connection) is None:
        return column != ""
    # What seals nothing has a length and an end of its own, for three bytes are four letters.
    is_blank = and_(func.length(column) == _BLANK, column.like(f"{_PREFIX}%=="))
    return and_(column != "", not_(is_blank))


def empty(
    connection: Connection, table: type[Base], which: ColumnElement[bool], names: Sequence[str]
) -> int:
    """Empty columns of `SEALED` in the rows that a condition names; returns how many had words."""
    columns: list[InstrumentedAttribute[str]] = [getattr(table, name) for name in names]
    told = and_(which, or_(*(has_words(connection, column) for column in columns)))
    nothing = dict.fromkeys(names, "")
    if cipher_of(connection) is None:
        _must_be_plain(connection, table)
        return connection.execute(update(table).where(told).values(nothing)).rowcount
    found = connection.execute(select(ROW_ID[table], table.__table__.c.user_id).where(told)).all()
    for row_id, user_id in found:
        sealed = seal(connection, table, row_id, user_id, nothing)
        connection.execute(update(table).where(ROW_ID[table] == row_id).values(sealed))
    return len(found)


def _must_be_plain(connection: Connection, table: type[Base]) -> None:
    """A process that opened the store before it was encrypted writes no plain words into it."""
    # Every write of words begins with a turn's, and in a store, which says so on the connection.
    is_store = "cipher" in connection.get_execution_options()
    if is_store and table is TurnRow and connection.execute(_IS_ENCRYPTED).first() is not None:
        raise StoreError(
            "the store was encrypted after it had been opened here, so nothing was written; "
            "open it again, with its key"
        )
