"""Consents, keys and a check of the store's, plans of replies, safety events, audit, receipts.

What is written here is frozen: a store in the world has it. Change the schema with a new file.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables.

    Who is there already was remembered when nobody was asked yet: that goes on, written down as
    granted through the channel `migration`, until they say otherwise. A fact that is there was told
    by its user, and is trusted.
    """
    op.create_table(
        "consents",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("channel", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_consents_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consents")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_consents_user_id_id"), "consents", ["user_id", "id"])
    _grant_what_was_kept()
    op.create_table(
        "user_keys",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("wrapped", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_user_keys_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_keys")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_user_keys_user_id"), "user_keys", ["user_id"])
    op.create_table(
        "encryption",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("kek", sa.String(length=16), nullable=False),
        sa.Column("proof", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_encryption")),
    )
    op.create_table(
        "reply_plans",
        sa.Column("turn_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("strategy", sa.String(length=64), nullable=False),
        sa.Column("remembered", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["turn_id"], ["turns.id"], name=op.f("fk_reply_plans_turn_id_turns")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_reply_plans_user_id_users")
        ),
        sa.PrimaryKeyConstraint("turn_id", name=op.f("pk_reply_plans")),
    )
    op.create_index(op.f("ix_reply_plans_user_id_turn_id"), "reply_plans", ["user_id", "turn_id"])
    op.create_table(
        "safety_events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("turn_id", sa.Integer(), nullable=True),
        sa.Column("category", sa.String(length=32), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("detector", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["turn_id"], ["turns.id"], name=op.f("fk_safety_events_turn_id_turns")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_safety_events_user_id_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_safety_events")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_safety_events_turn_id"), "safety_events", ["turn_id"])
    op.create_index(op.f("ix_safety_events_user_id_id"), "safety_events", ["user_id", "id"])
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("who", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
        sa.UniqueConstraint("previous", name=op.f("uq_audit_log_previous")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_audit_log_who_id"), "audit_log", ["who", "id"])
    op.create_table(
        "erasures",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("who", sa.String(length=64), nullable=False),
        sa.Column("scope", sa.JSON(), nullable=False),
        sa.Column("requested_at", sa.DateTime(), nullable=False),
        sa.Column("completed_at", sa.DateTime(), nullable=True),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("stage", sa.String(length=8), nullable=False, server_default="done"),
        sa.Column("rest", sa.JSON(), nullable=False, server_default="{}"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "key_check",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("fingerprint", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_check")),
    )
    with op.batch_alter_table("facts", table_kwargs={"sqlite_autoincrement": True}) as facts:
        # A fact may outlive the turn in which it was told.
        facts.alter_column("turn_id", existing_type=sa.Integer(), nullable=True)
        # Encrypted, they are longer than what was told.
        facts.alter_column("subject", existing_type=sa.String(length=200), type_=sa.Text())
        facts.alter_column("value", existing_type=sa.String(length=200), type_=sa.Text())
        facts.add_column(sa.Column("trust", sa.Double(), nullable=False, server_default="1"))
        facts.add_column(
            sa.Column("extractor", sa.String(length=64), nullable=False, server_default="words")
        )


def _grant_what_was_kept() -> None:
    users = sa.table("users", sa.column("id", sa.Integer))
    columns = ("user_id", "purpose", "state", "version", "channel", "at")
    consents = sa.table("consents", *map(sa.column, columns))
    now = sa.literal(datetime.now(UTC).replace(tzinfo=None), sa.DateTime())
    for purpose in (
        "process_voice",
        "infer_emotion",
        "infer_age",
        "infer_gender",
        "store_transcript",
        "store_emotion",
        "long_term_memory",
    ):
        said = map(sa.literal, (purpose, "granted", "", "migration"))
        op.execute(consents.insert().from_select(columns, sa.select(users.c.id, *said, now)))
