"""How turns sounded, read for a mood; and the user's own word on one of them, which outranks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import Connection, and_, bindparam, case, insert, select, update
from sqlalchemy.orm import aliased

from echat_memory import rows
from echat_memory.mood_home import HOME_DAYS
from echat_memory.mood_report import TurnMood, first_sittings
from echat_memory.remembering import row_of
from echat_memory.schema import EmotionRow, TurnRow, UserRow
from echat_sdk.audio import Seconds
from echat_sdk.cues import UNKNOWN, Cue, Emotion, affect
from echat_sdk.errors import StoreError

WORD = aliased(EmotionRow, name="word")
"""The user's own word on a turn."""
HEARD = aliased(EmotionRow, name="heard")
"""What the model heard."""

ON_HEARD = and_(HEARD.turn_id == TurnRow.id, HEARD.source == rows.MODEL)
ON_WORD = and_(WORD.turn_id == TurnRow.id, WORD.source == rows.USER_REPORT)

SOUNDED = (
    TurnRow.created_at,
    TurnRow.seconds,
    HEARD.label,
    HEARD.confidence,
    HEARD.distribution,
    HEARD.valence,
    HEARD.arousal,
    HEARD.abstained,
    WORD.label.label("word"),
)
"""What `turn_mood` is made of, in its order."""

_FOREVER = date(1, 1, 10)

_USER = select(UserRow.id).where(UserRow.pseudonym == bindparam("who")).scalar_subquery()
_TURNS = (
    # Half of the work is to read distributions: those of sittings that are not listed stay unread.
    select(
        *SOUNDED[:4],
        case((TurnRow.created_at >= bindparam("listed"), HEARD.distribution), else_=None),
        *SOUNDED[5:],
    )
    .select_from(TurnRow)
    .outerjoin(HEARD, ON_HEARD)
    .outerjoin(WORD, ON_WORD)
    .where(TurnRow.user_id == _USER, TurnRow.created_at >= bindparam("oldest"))
    .order_by(TurnRow.id)
)
_FIND_TURN = select(TurnRow.id, TurnRow.user_id).where(
    TurnRow.id == bindparam("turn"), TurnRow.user_id == _USER
)
_REPLACE = update(EmotionRow).where(
    EmotionRow.turn_id == bindparam("turn"), EmotionRow.source == rows.USER_REPORT
)
_INSERT = insert(EmotionRow)


def write(connection: Connection, who: str, turn_id: str, emotion: Emotion) -> None:
    """Keep what a user says that they felt in a turn, in the place of what they said before.

    Raises:
        StoreError: the user has no turn `turn_id`.
    """
    turn = connection.execute(_FIND_TURN, {"who": who, "turn": row_of(turn_id)}).one_or_none()
    if turn is None:
        raise StoreError("this user has no turn with this id, so nothing was kept")
    columns = rows.emotion_columns(_said(emotion.value))
    if not connection.execute(_REPLACE, {"turn": turn.id, **columns}).rowcount:
        connection.execute(
            _INSERT,
            {
                "turn_id": turn.id,
                "user_id": turn.user_id,
                "source": rows.USER_REPORT,
                **columns,
            },
        )


def read(connection: Connection, who: str, *, since: date | None, today: date) -> list[TurnMood]:
    """All turns of a user that a report since a day can rest on; all where there is no such day.

    Those of sittings that it does not list come without their distributions.

    Args:
        connection: An open transaction.
        who: The user's pseudonym.
        since: The first day that is listed.
        today: The present day.
    """
    found = connection.execute(
        _TURNS,
        {
            "who": who,
            "oldest": _before(min(since, today - timedelta(HOME_DAYS)) if since else date.min),
            "listed": _before(first_sittings(since, today)),
        },
    ).all()
    return [turn_mood(*row) for row in found]


def _before(day: date) -> datetime:
    """A moment before all that can belong to a day.

    Two days: it begins elsewhere sooner, and so may the sitting that it begins in.
    """
    return datetime.combine(max(day, _FOREVER), time(), UTC) - timedelta(days=2)


def turn_mood(
    at: datetime,
    seconds: Seconds,
    label: str | None,
    confidence: float,
    distribution: Mapping[str, float] | None,
    valence: float | None,
    arousal: float | None,
    why: str,
    word: str | None,
) -> TurnMood:
    """How a turn sounded, of the columns `SOUNDED`; the user's own word counts where there is one.

    But for the first two, all may be null: `label` and what belongs to it, and `word`.
    """
    if word is not None:
        said = _said(word)
        valence, arousal = affect(said) or (None, None)
        return TurnMood(at, seconds, word, 1.0, said.distribution, valence, arousal, "")
    if label is None:
        return TurnMood(at, seconds, UNKNOWN, 0.0, {}, None, None, "not kept")
    return TurnMood(at, seconds, label, confidence, distribution or {}, valence, arousal, why)


def _said(label: str) -> Cue:
    return Cue(label, 1.0, {label: 1.0})
