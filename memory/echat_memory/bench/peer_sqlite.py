"""aiosqlite's side: one connection that reads and one that writes, on a copy of the file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiosqlite

from echat_memory import sqlite
from echat_memory.bench.peers import Peer

_SETTINGS = ("foreign_keys = ON", "journal_mode = WAL", "synchronous = FULL")
_INDEX = """
CREATE VIRTUAL TABLE turns_text USING fts5(
    who, transcript, content = '', tokenize = 'porter unicode61'
)
"""
_FILL = """
INSERT INTO turns_text (rowid, who, transcript) SELECT id, 'u' || user_id, transcript FROM turns
"""
_ADD = "INSERT INTO turns_text (rowid, who, transcript) VALUES ($1, $2, $3)"
_FIND = """
SELECT t.id, t.created_at, t.transcript, e.label FROM turns_text x
JOIN turns t ON t.id = x.rowid
LEFT JOIN turn_emotions e ON e.turn_id = t.id AND e.source = 'model'
WHERE turns_text MATCH $1 ORDER BY bm25(turns_text, 0.0, 1.0) LIMIT 5
"""


async def open_peer(store: Path, folder: Path, key: bytes) -> SQLitePeer:
    """Copy a store into a folder, index its words, and open it.

    Raises:
        ImportError: aiosqlite is not installed.
    """
    copy = folder / "aiosqlite.db"
    sqlite.copy(store, copy)
    opened = [await aiosqlite.connect(copy, isolation_level=None) for _ in range(2)]
    for connection in opened:
        for setting in _SETTINGS:
            await connection.execute_fetchall(f"PRAGMA {setting}")
    for statement in (_INDEX, _FILL, "ANALYZE"):
        await opened[0].execute_fetchall(statement)
    return SQLitePeer(*opened, key=key)


class SQLitePeer(Peer):
    """See `peers`. Two tasks do not meet within a transaction of one connection.

    Args:
        reader: Reads.
        writer: Writes.
        key: To the pseudonyms of the store.
    """

    def __init__(
        self, reader: aiosqlite.Connection, writer: aiosqlite.Connection, *, key: bytes
    ) -> None:
        super().__init__(f"aiosqlite {version('aiosqlite')}", key)
        self._reader, self._writer = _Locked(reader), _Locked(writer)

    @asynccontextmanager
    async def _begin(self, *, write: bool) -> AsyncIterator[_Locked]:
        on = self._writer if write else self._reader
        async with on.lock:
            await on.all("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield on
            except BaseException:
                await on.all("ROLLBACK")
                raise
            await on.all("COMMIT")

    def _time(self, at: datetime) -> str:
        return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")

    async def _search(self, on: Any, user_id: int, words: Sequence[str]) -> Sequence[Any]:
        any_of = " OR ".join(f'"{word}"' for word in words)
        # The user is a word of the index as well, so that only their turns are looked at.
        found: Sequence[Any] = await on.all(_FIND, f"who : u{user_id} AND transcript : ({any_of})")
        return found

    async def _index(self, on: Any, turn_id: int, user_id: int, text: str) -> None:
        await on.all(_ADD, turn_id, f"u{user_id}", text)

    async def close(self) -> None:
        """Close the file."""
        for on in (self._reader, self._writer):
            await on.connection.close()


class _Locked:
    """A connection and whose turn it is."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self.connection = connection
        self.lock = asyncio.Lock()

    async def all(self, statement: str, *given: Any) -> Sequence[Any]:
        return list(await self.connection.execute_fetchall(statement.replace("$", "?"), given))
