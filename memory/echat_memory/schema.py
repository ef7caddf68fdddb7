"""The tables. Column types are portable: nothing here is SQLite's own.

Ids are integers in order of arrival that are never given twice, so the order of turns does not
hang on the clock. Times are UTC. Text is what was said; user ids are kept only as pseudonyms.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, ForeignKey, Index, MetaData, String, Text, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

HEAD = "0003"
"""The migration that makes exactly these tables. Known here so that opening a store that is up to
date does not import alembic; a test holds it equal to the newest file in `migrations/versions`."""


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC: aware in Python, naive in the database, which may know no time zones."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn an aware time into naive UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give a naive UTC time its zone back."""
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """Where the tables meet."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: UtcTime,
        dict[str, Any]: JSON,
    }


NEVER_REUSED = {"sqlite_autoincrement": True}
"""SQLite hands the id of a deleted last row out again unless told not to; others never do."""


class UserRow(Base):
    """A person, under a pseudonym that only the holder of the key can tie to the host's id."""

    __tablename__ = "users"
    __table_args__ = (NEVER_REUSED,)

    id: Mapped[int] = mapped_column(primary_key=True)
    pseudonym: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]


class KeyCheckRow(Base):
    """Which key the pseudonyms were made with: one row, `pseudonym.fingerprint` of it."""

    __tablename__ = "key_check"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    fingerprint: Mapped[str] = mapped_column(String(16))


class SessionRow(Base):
    """One sitting: turns with no long gap between them."""

    __tablename__ = "sessions"
    __table_args__ = (NEVER_REUSED,)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime]


class TurnRow(Base):
    """One exchange: `echat_sdk.turn.Turn` without its cues."""

    __tablename__ = "turns"
    __table_args__ = (
        UniqueConstraint("session_id", "seq"),
        Index(None, "user_id", "id"),
        NEVER_REUSED,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    seq: Mapped[int]
    status: Mapped[str] = mapped_column(String(16))
    transcript: Mapped[str] = mapped_column(Text)
    lang: Mapped[str] = mapped_column(String(8))
    think: Mapped[str] = mapped_column(Text)
    reply: Mapped[str] = mapped_column(Text)
    reply_emotion: Mapped[str] = mapped_column(String(16))
    model: Mapped[str] = mapped_column(Text)
    timings: Mapped[dict[str, Any]]
    seconds: Mapped[float]
    created_at: Mapped[datetime]


class EmotionRow(Base):
    """How a turn sounded, by one source: the model that heard it, or the user's own word.

    `abstained` says why the label is unknown. Valence and arousal, in [-1, 1], are null then.
    """

    __tablename__ = "turn_emotions"
    __table_args__ = (UniqueConstraint("turn_id", "source"), Index(None, "user_id", "turn_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    turn_id: Mapped[int] = mapped_column(ForeignKey("turns.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    source: Mapped[str] = mapped_column(String(64))
    label: Mapped[str] = mapped_column(Text)
    confidence: Mapped[float]
    distribution: Mapped[dict[str, Any]]
    valence: Mapped[float | None]
    arousal: Mapped[float | None]
    abstained: Mapped[str] = mapped_column(Text)


class CueRow(Base):
    """Another thing that the voice said in a turn: gender, age, event or style."""

    __tablename__ = "turn_cues"
    __table_args__ = (UniqueConstraint("turn_id", "kind"), Index(None, "user_id", "turn_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    turn_id: Mapped[int] = mapped_column(ForeignKey("turns.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str] = mapped_column(String(16))
    label: Mapped[str] = mapped_column(Text)
    confidence: Mapped[float]
    distribution: Mapped[dict[str, Any]]
    abstained: Mapped[str] = mapped_column(Text)


class FactRow(Base):
    """Something that the user told about their life, in the closed schema of `facts.Fact`.

    It holds from `valid_from` until `valid_to` (null: still). `superseded_by` is the fact that took
    its place; a fact that was only taken back has none. `turn_id` is where it was said, null once
    that turn was swept; `extractor` what found it there, and `trust`, in [0, 1], how far it is
    believed.
    """

    __tablename__ = "facts"
    __table_args__ = (Index(None, "user_id", "valid_to", "id"), NEVER_REUSED)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    turn_id: Mapped[int | None] = mapped_column(ForeignKey("turns.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    subject: Mapped[str] = mapped_column(Text)
    value: Mapped[str] = mapped_column(Text)
    valid_from: Mapped[datetime]
    valid_to: Mapped[datetime | None]
    superseded_by: Mapped[int | None] = mapped_column(ForeignKey("facts.id"), index=True)
    trust: Mapped[float] = mapped_column(server_default="1")
    extractor: Mapped[str] = mapped_column(String(64), server_default="words")


class PauseRow(Base):
    """How a user pauses within a turn: `echat_sdk.pause_profile.PauseProfile`, its mean in seconds.

    No past is kept: a newer profile takes the older one's place.
    """

    __tablename__ = "pause_profiles"

    user_id: Mapped[int] = mapped_column(
        ForeignKey("users.id"), primary_key=True, autoincrement=False
    )
    mean: Mapped[float]
    count: Mapped[int]


class ConsentRow(Base):
    """What a user agreed to, or did not; the newest row of a purpose counts. Never changed."""

    __tablename__ = "consents"
    __table_args__ = (Index(None, "user_id", "id"), NEVER_REUSED)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    purpose: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    version: Mapped[str] = mapped_column(String(32))
    channel: Mapped[str] = mapped_column(String(32))
    at: Mapped[datetime]
    expires_at: Mapped[datetime | None]


class KeyRow(Base):
    """A key to a user's words, itself encrypted; where it is gone, so are they."""

    __tablename__ = "user_keys"
    __table_args__ = (NEVER_REUSED,)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    wrapped: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    is_current: Mapped[bool]


class EncryptionRow(Base):
    """That the words in this store are encrypted, in at most one row.

    `kek` names the key that new data keys are wrapped with; `proof` opens only with that key and
    the shares that belong to this store. `mode` is `fields`, or `file` in what is left of a plain
    file whose rows are in an encrypted one by now.
    """

    __tablename__ = "encryption"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    mode: Mapped[str] = mapped_column(String(16))
    kek: Mapped[str] = mapped_column(String(16))
    proof: Mapped[str] = mapped_column(Text)


class PlanRow(Base):
    """Why a turn was answered as it was: the move that was chosen, and what was remembered for it.

    `remembered` is JSON: the mood line and the facts that the reply was given.
    """

    __tablename__ = "reply_plans"
    __table_args__ = (Index(None, "user_id", "turn_id"),)

    turn_id: Mapped[int] = mapped_column(
        ForeignKey("turns.id"), primary_key=True, autoincrement=False
    )
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    strategy: Mapped[str] = mapped_column(String(64))
    remembered: Mapped[str] = mapped_column(Text)


class SafetyRow(Base):
    """A turn whose words told of a danger, and what was done about it; no words."""

    __tablename__ = "safety_events"
    __table_args__ = (Index(None, "user_id", "id"), NEVER_REUSED)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    turn_id: Mapped[int | None] = mapped_column(ForeignKey("turns.id"), index=True)
    category: Mapped[str] = mapped_column(String(32))
    severity: Mapped[str] = mapped_column(String(16))
    detector: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime]


class AuditRow(Base):
    """What was done with somebody's data, by whom; a chain of digests, and no content.

    `who` is a pseudonym, empty where nobody is meant. It outlives the user's erasure.
    """

    __tablename__ = "audit_log"
    __table_args__ = (UniqueConstraint("previous"), Index(None, "who", "id"), NEVER_REUSED)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    who: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    detail: Mapped[dict[str, Any]]
    previous: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64))


class ErasureRow(Base):
    """A receipt: what was asked to be erased, and what was; open while `completed_at` is null.

    `stage` is how far it came: `asked`, `rows` (they are deleted), `bytes` (nor is a byte left),
    `done`. `rest` is what an open one needs to be ended: ids of turns, and who keeps copies.
    """

    __tablename__ = "erasures"
    __table_args__ = (NEVER_REUSED,)

    id: Mapped[int] = mapped_column(primary_key=True)
    who: Mapped[str] = mapped_column(String(64))
    scope: Mapped[dict[str, Any]]
    requested_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    counts: Mapped[dict[str, Any]]
    stage: Mapped[str] = mapped_column(String(8), server_default="done")
    rest: Mapped[dict[str, Any]] = mapped_column(server_default="{}")


PERSONAL: tuple[type[Base], ...] = (
    FactRow,
    CueRow,
    EmotionRow,
    PlanRow,
    SafetyRow,
    TurnRow,
    SessionRow,
    PauseRow,
    ConsentRow,
    KeyRow,
)
"""Every table with a user's rows, children before parents: what erasing a user empties, before the
row in `users` itself. A test fails when a table with `user_id` is not here."""
