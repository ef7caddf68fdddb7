"""The same work as a plain asyncio program would do it: aiosqlite, asyncpg, and SQL by hand.

Of the same schema and the same rows it reads and writes what ours does, in as few statements as
that takes: each read is one transaction that sees one state, each write one that is durable. Full
text is the database's own (FTS5, tsvector), of one user at a time, words joined by OR without stop
words. What it leaves out of ours is in `NOT_DONE`.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, Protocol

from echat_memory import rows
from echat_memory.extraction import extract
from echat_memory.pseudonym import pseudonym
from echat_memory.remembering import SESSION_GAP
from echat_memory.schema import EmotionRow
from echat_sdk.turn import Turn

READ = (
    "consents, the newest 12 turns with their emotions and plans, the cues of 6, up to 100 facts, "
    "and the 5 turns that full-text search finds; as rows, JSON decoded"
)
WRITTEN = (
    "the turn, its session, emotion, cues and facts, the full-text entry, and the plan of a "
    "complete one; one durable transaction each"
)
NOT_DONE = (
    "mood, ranking of facts, the choice of sentences that tell, the token budget, what is allowed "
    "of what was found, facts that take others' place, encryption, secure deletion, a limit on "
    "how long a call waits"
)

_TURNS = """
SELECT t.id, t.user_id, t.session_id, t.status, t.transcript, t.lang, t.think, t.reply,
       t.reply_emotion, t.model, t.timings, t.seconds, t.created_at, p.strategy, h.label,
       h.confidence, h.distribution, h.valence, h.arousal, h.abstained, w.label AS word
FROM turns t
LEFT JOIN reply_plans p ON p.turn_id = t.id
LEFT JOIN turn_emotions h ON h.turn_id = t.id AND h.source = 'model'
LEFT JOIN turn_emotions w ON w.turn_id = t.id AND w.source = 'user_report'
WHERE t.user_id = $1 ORDER BY t.id DESC LIMIT 12
"""
_CONSENTS = """
SELECT u.id, c.purpose, c.state, c.at, c.version, c.channel, c.expires_at
FROM users u LEFT JOIN consents c ON c.user_id = u.id WHERE u.pseudonym = $1 ORDER BY c.id
"""
_CUES = """
SELECT turn_id, kind, label, confidence, distribution, abstained FROM turn_cues
WHERE user_id = $1 AND turn_id BETWEEN $2 AND $3
"""
_FACTS = """
SELECT id, kind, subject, value, valid_from FROM facts
WHERE user_id = $1 AND valid_to IS NULL ORDER BY id DESC LIMIT 100
"""
_SEEN = "UPDATE users SET last_seen_at = $1 WHERE id = $2"
_LAST = """
SELECT session_id, seq, created_at FROM turns WHERE user_id = $1 ORDER BY id DESC LIMIT 1
"""
_NEW_SESSION = """
INSERT INTO sessions (user_id, started_at, ended_at) VALUES ($1, $2, $2) RETURNING id
"""
_CONTINUE = "UPDATE sessions SET ended_at = $1 WHERE id = $2"
_INSERT_TURN = """
INSERT INTO turns (session_id, user_id, seq, status, transcript, lang, think, reply, reply_emotion,
                   model, timings, seconds, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING id
"""
_UPDATE_TURN = """
UPDATE turns SET status = $1, transcript = $2, lang = $3, think = $4, reply = $5,
                 reply_emotion = $6, model = $7, timings = $8, seconds = $9
WHERE id = $10 AND user_id = $11 RETURNING session_id
"""
_INSERT_EMOTION = """
INSERT INTO turn_emotions (turn_id, user_id, source, label, confidence, distribution, valence,
                           arousal, abstained)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
_INSERT_CUE = """
INSERT INTO turn_cues (turn_id, user_id, kind, label, confidence, distribution, abstained)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_FORGET = (
    "DELETE FROM turn_emotions WHERE turn_id = $1 AND source = 'model'",
    "DELETE FROM turn_cues WHERE turn_id = $1",
)
_INSERT_FACT = """
INSERT INTO facts (user_id, turn_id, kind, subject, value, valid_from)
VALUES ($1, $2, $3, $4, $5, $6)
"""
_INSERT_PLAN = """
INSERT INTO reply_plans (turn_id, user_id, strategy, remembered) VALUES ($1, $2, $3, $4)
"""
_STOP = frozenset(
    [
        "do",
        "you",
        "remember",
        "when",
        "my",
        "near",
        "the",
        "with",
        "a",
        "an",
        "some",
        "i",
        "was",
        "it",
        "all",
        "so",
    ]
)


class _Transaction(Protocol):
    """An open transaction."""

    async def all(self, statement: str, *given: Any) -> Sequence[Any]:
        """The rows that a statement gives."""


class Peer(ABC):
    """Reads and writes turns by hand.

    Args:
        name: Of the driver and its version.
        key: To the pseudonyms of the store.
    """

    def __init__(self, name: str, key: bytes) -> None:
        self.name = name
        self._key = key

    @abstractmethod
    def _begin(self, *, write: bool) -> AbstractAsyncContextManager[_Transaction]:
        """A transaction that sees one state, kept together or not at all."""

    @abstractmethod
    def _time(self, at: datetime) -> Any:
        """A moment as the driver takes it."""

    @abstractmethod
    async def _search(self, on: _Transaction, user_id: int, words: Sequence[str]) -> Sequence[Any]:
        """The rows of five turns that fit best."""

    @abstractmethod
    async def _index(self, on: _Transaction, turn_id: int, user_id: int, text: str) -> None:
        """Make a new turn findable."""

    async def prefetch(self, user: str) -> None:
        """Nothing: it reads when it is asked."""
        del user

    async def recall(self, user: str, query: str) -> int:
        """Read what a reply is given; how many of the last turns it has."""
        async with self._begin(write=False) as on:
            user_id = await self._user(on, user)
            turns = await on.all(_TURNS, user_id)
            last = turns[:6]
            cues = await on.all(_CUES, user_id, last[-1][0], last[0][0])
            await on.all(_FACTS, user_id)
            asked = set(re.findall(r"[a-z]+", query.casefold())) - _STOP
            await self._search(on, user_id, sorted(asked))
        for row in turns:
            _decode(row[10]), _decode(row[16])
        for row in cues:
            _decode(row[4])
        return len(last)

    async def open(self, user: str, turn: Turn) -> str:
        """Keep a turn whose words are known; returns its id."""
        now = datetime.now(UTC)
        at = self._time(now)
        async with self._begin(write=True) as on:
            user_id = await self._user(on, user)
            await on.all(_SEEN, at, user_id)
            ((session, seq, last),) = await on.all(_LAST, user_id)
            if now - _moment(last) > SESSION_GAP:
                ((session,),) = await on.all(_NEW_SESSION, user_id, at)
                seq = 0
            else:
                await on.all(_CONTINUE, at, session)
            new = session, user_id, seq + 1, *_columns(turn), at
            ((turn_id,),) = await on.all(_INSERT_TURN, *new)
            await self._index(on, turn_id, user_id, turn.transcript)
            await _keep_cues(on, turn, turn_id, user_id)
            for fact in extract(turn.transcript, turn.lang):
                told = fact.kind.value, fact.subject, fact.value
                await on.all(_INSERT_FACT, user_id, turn_id, *told, at)
        return str(turn_id)

    async def complete(self, user: str, turn: Turn, turn_id: str) -> None:
        """Keep a turn as it ended, in the place of the open one; its words are the same."""
        at, row = self._time(datetime.now(UTC)), int(turn_id)
        async with self._begin(write=True) as on:
            user_id = await self._user(on, user)
            await on.all(_SEEN, at, user_id)
            ((session,),) = await on.all(_UPDATE_TURN, *_columns(turn), row, user_id)
            await on.all(_CONTINUE, at, session)
            for forget in _FORGET:
                await on.all(forget, row)
            await _keep_cues(on, turn, row, user_id)
            await on.all(_INSERT_PLAN, row, user_id, turn.strategy, "")

    @abstractmethod
    async def close(self) -> None:
        """Release the database."""

    async def _user(self, on: _Transaction, user: str) -> int:
        """The user's row, with what they said read beside it."""
        consents = await on.all(_CONSENTS, pseudonym(self._key, user))
        return int(consents[0][0])


async def _keep_cues(on: _Transaction, turn: Turn, turn_id: int, user_id: int) -> None:
    for table, columns in rows.cue_columns(turn.cues):
        said = columns["label"], columns["confidence"], json.dumps(columns["distribution"])
        if table is EmotionRow:
            felt = columns["valence"], columns["arousal"], columns["abstained"]
            await on.all(_INSERT_EMOTION, turn_id, user_id, columns["source"], *said, *felt)
        else:
            cue = columns["kind"], *said, columns["abstained"]
            await on.all(_INSERT_CUE, turn_id, user_id, *cue)


def _columns(turn: Turn) -> tuple[Any, ...]:
    columns = rows.turn_columns(turn)
    return tuple((columns | {"timings": json.dumps(columns["timings"])}).values())


def _decode(text: str | None) -> Any:
    return text and json.loads(text)


def _moment(at: datetime | str) -> datetime:
    return (datetime.fromisoformat(at) if isinstance(at, str) else at).replace(tzinfo=UTC)
