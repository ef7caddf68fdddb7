"""What can be read of somebody in the bytes of files: planted markers, in any spelling."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import JSON, Boolean, Connection, DateTime, Float, String, insert, select

from echat_memory.schema import PERSONAL, Base, SessionRow, TurnRow, UserRow

SCRIPTS = ("latin", "chinese")
_LETTERS = {
    "latin": "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ",
    "chinese": "".join(map(chr, range(0x4E00, 0x5E00))),
}
_BEGINNINGS = {"latin": "Zqx", "chinese": "\u9f98\u9ea4\u9f49"}
_LENGTH = 8
"""Of a marker: what the narrowest column holds, and what no file has by chance."""

Column = tuple[str, str]


def spellings(marker: str) -> set[bytes]:
    """How a text may lie in a file: in three encodings and in JSON, as it was and lower-cased."""
    texts = {marker, marker.lower(), json.dumps(marker)[1:-1]}
    return {text.encode(code) for text in texts for code in ("utf-8", "utf-16-le", "utf-16-be")}


def found(data: Iterable[bytes], markers: Collection[str]) -> set[str]:
    """The markers that can be read in some bytes; soon, if they begin alike."""
    spelt = {marker: spellings(marker) for marker in markers}
    beginnings = {text for marker in markers for text in spellings(marker[:3])}
    seen: set[str] = set()
    for each in data:
        if any(text in each for text in beginnings):
            seen |= {m for m, texts in spelt.items() if any(text in each for text in texts)}
    return seen


def under(folder: Path) -> Iterator[bytes]:
    """All that lies under a folder: the names of files, and what is in them."""
    for path in folder.rglob("*"):
        yield str(path.relative_to(folder)).encode()
        if path.is_file():
            yield path.read_bytes()


def text_columns() -> set[Column]:
    """Every column that can hold words, of every table."""
    return {
        (name, column.name)
        for name, table in Base.metadata.tables.items()
        for column in table.columns
        if isinstance(column.type, (String, JSON))
    }


def plant(connection: Connection, who: str, seed: int) -> dict[str, Column]:
    """Write a row of a user's into every table, twice, with a marker in every text column.

    Args:
        connection: An open transaction.
        who: The user's pseudonym; the user is there.
        seed: Of what the markers are made, so that no two tests have the same.

    Returns:
        Each marker, and where it was planted.
    """
    generator, planted = Random(seed), dict[str, Column]()
    user_id = connection.execute(select(UserRow.id).where(UserRow.pseudonym == who)).scalar_one()
    for script in SCRIPTS:
        ids = {"user_id": user_id}
        for model in reversed(PERSONAL):  # parents first
            table = model.__table__
            values: dict[str, Any] = {}
            for column in table.columns:
                beginning = _BEGINNINGS[script]
                rest = generator.choices(_LETTERS[script], k=_LENGTH - len(beginning))
                marker = beginning + "".join(rest)
                if column.name in ids:
                    values[column.name] = ids[column.name]
                elif isinstance(column.type, (String, JSON)):
                    planted[marker] = (table.name, column.name)
                    is_json = isinstance(column.type, JSON)
                    values[column.name] = {marker: 1.0} if is_json else marker
                elif not column.primary_key and not column.nullable:
                    values[column.name] = _something(column.type, len(planted))
            if values.get("user_id") and table.name == "pause_profiles" and script != SCRIPTS[0]:
                continue  # one row a user
            row_id = connection.execute(insert(model).values(values)).inserted_primary_key[0]
            if model in (SessionRow, TurnRow):
                ids[f"{model.__tablename__[:-1]}_id"] = row_id
    return planted


def _something(kind: Any, number: int) -> object:
    if isinstance(kind, Boolean):
        return False
    if isinstance(kind, Float):
        return 0.5
    if isinstance(kind, DateTime) or getattr(kind, "impl", None).__class__ is DateTime:
        return datetime(2026, 3, 2, tzinfo=UTC)
    return number
