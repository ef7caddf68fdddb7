"""What users agreed to, as rows: only ever added to; the newest of a purpose counts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, bindparam, insert, select

from echat_memory.schema import ConsentRow, UserRow
from echat_sdk.consent import Consent, ConsentState

_USER = select(UserRow.id).where(UserRow.pseudonym == bindparam("who"))
_READ = (
    select(
        ConsentRow.purpose,
        ConsentRow.state,
        ConsentRow.at,
        ConsentRow.version,
        ConsentRow.channel,
        ConsentRow.expires_at,
    )
    .where(ConsentRow.user_id == _USER.scalar_subquery())
    .order_by(ConsentRow.id)
)
_INSERT = insert(ConsentRow)
_INSERT_USER = insert(UserRow).returning(UserRow.id)


def read(connection: Connection, who: str) -> dict[str, Consent]:
    """What the user with this pseudonym said last to each purpose; empty where never asked."""
    return {
        row.purpose: Consent(
            ConsentState(row.state), row.at, row.version, row.channel, row.expires_at
        )
        for row in connection.execute(_READ, {"who": who})
    }


def write(
    connection: Connection, who: str, answers: Mapping[str, Consent], *, now: datetime
) -> int:
    """Add answers, inside an open transaction; returns the user's row, made where it is missing."""
    user_id = connection.execute(_USER.with_for_update(), {"who": who}).scalar_one_or_none()
    if user_id is None:
        seen = {"pseudonym": who, "created_at": now, "last_seen_at": now}
        user_id = connection.execute(_INSERT_USER, seen).scalar_one()
    for purpose, answer in answers.items():
        columns = {
            "user_id": user_id,
            "purpose": purpose,
            "state": answer.state.value,
            "version": answer.version,
            "channel": answer.channel,
            "at": now,
            "expires_at": answer.expires_at,
        }
        connection.execute(_INSERT, columns)
    return user_id
