"""asyncpg's side: a pool of ten connections, on a copy of the tables in a schema of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import asyncpg

from echat_memory.bench.peers import Peer
from echat_memory.schema import Base

_SCHEMA = "echat_bench_peer"
_COPY = (
    "CREATE TABLE {schema}.{table} (LIKE public.{table} INCLUDING ALL)",
    "INSERT INTO {schema}.{table} SELECT * FROM public.{table}",
)
_INDEX = (
    "ALTER TABLE turns ADD COLUMN words tsvector"
    " GENERATED ALWAYS AS (to_tsvector('english', transcript)) STORED",
    "CREATE INDEX turns_words ON turns USING gin (words)",
    "ANALYZE",
)
_FIND = """
SELECT t.id, t.created_at, t.transcript, e.label FROM turns t
LEFT JOIN turn_emotions e ON e.turn_id = t.id AND e.source = 'model'
WHERE t.user_id = $1 AND t.words @@ to_tsquery('english', $2)
ORDER BY ts_rank(t.words, to_tsquery('english', $2)) DESC LIMIT 5
"""
_DROP = f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE"


async def open_peer(url: str, key: bytes) -> PostgresPeer:
    """Copy the tables of a store beside them, index their words, and open a pool.

    Raises:
        ImportError: asyncpg is not installed.
    """
    path = {"search_path": f"{_SCHEMA}, public"}
    pool = await asyncpg.create_pool(url, min_size=10, max_size=10, server_settings=path)
    async with pool.acquire() as connection:
        await connection.execute(_DROP)
        await connection.execute(f"CREATE SCHEMA {_SCHEMA}")
        for table in Base.metadata.sorted_tables:
            for statement in _COPY:
                await connection.execute(statement.format(schema=_SCHEMA, table=table.name))
        for statement in _INDEX:
            await connection.execute(statement)
    return PostgresPeer(pool, key)


class PostgresPeer(Peer):
    """See `peers`.

    Args:
        pool: Of connections.
        key: To the pseudonyms of the store.
    """

    def __init__(self, pool: Any, key: bytes) -> None:
        super().__init__(f"asyncpg {version('asyncpg')}", key)
        self._pool = pool

    @asynccontextmanager
    async def _begin(self, *, write: bool) -> AsyncIterator[_Open]:
        how = "read_committed" if write else "repeatable_read"
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation=how, readonly=not write),
        ):
            yield _Open(connection)

    def _time(self, at: datetime) -> datetime:
        return at.astimezone(UTC).replace(tzinfo=None)

    async def _search(self, on: Any, user_id: int, words: Sequence[str]) -> Sequence[Any]:
        found: Sequence[Any] = await on.all(_FIND, user_id, " | ".join(words))
        return found

    async def _index(self, on: Any, turn_id: int, user_id: int, text: str) -> None:
        """The server does, in the column `words`."""

    async def close(self) -> None:
        """Leave the server, and no copy there."""
        async with self._pool.acquire() as connection:
            await connection.execute(_DROP)
        await self._pool.close()


class _Open:
    """A connection inside a transaction."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def all(self, statement: str, *given: Any) -> Sequence[Any]:
        found: Sequence[Any] = await self._connection.fetch(statement, *given)
        return found
