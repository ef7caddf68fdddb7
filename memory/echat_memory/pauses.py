"""How a user pauses: one row each, read and written."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, insert, select, update

from echat_memory.schema import PauseRow, UserRow
from echat_sdk.pause_profile import PauseProfile

_USER = select(UserRow.id).where(UserRow.pseudonym == bindparam("who"))
_LOCK_USER = _USER.with_for_update()
_READ = select(PauseRow.mean, PauseRow.count).where(PauseRow.user_id == _USER.scalar_subquery())
_REPLACE = (
    update(PauseRow)
    .where(PauseRow.user_id == bindparam("user"))
    .values(mean=bindparam("seconds"), count=bindparam("pauses"))
)
_INSERT = insert(PauseRow)


def read(connection: Connection, who: str) -> PauseProfile:
    """The profile of the user with this pseudonym; the usual one where none is kept."""
    row = connection.execute(_READ, {"who": who}).one_or_none()
    if row is None:
        return PauseProfile()
    mean, count = row
    return PauseProfile(mean=mean, count=count)


def write(connection: Connection, who: str, profile: PauseProfile) -> None:
    """Keep the profile of a user who has a row, inside an open transaction."""
    user_id = connection.execute(_LOCK_USER, {"who": who}).scalar_one_or_none()
    if user_id is None:
        return
    columns = {"user": user_id, "seconds": profile.mean, "pauses": profile.count}
    if not connection.execute(_REPLACE, columns).rowcount:
        connection.execute(
            _INSERT, {"user_id": user_id, "mean": profile.mean, "count": profile.count}
        )
