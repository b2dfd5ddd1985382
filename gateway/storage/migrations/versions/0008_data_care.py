"""Legal holds, what left for the archive, how far contents are erased; events may leave once they are in it.

Online: new tables, and an index (gateway/storage/upgrade/online_migration.py).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.upgrade.online_migration import add_index

revision = "0008"
down_revision = "0007"

# An event may leave with its whole subject, in the transaction that names the subject in ``leaving``.
_MAY_LEAVE_SQLITE = (
    "DROP TRIGGER events_no_delete",
    "CREATE TRIGGER events_no_delete BEFORE DELETE ON events "
    "WHEN NOT EXISTS (SELECT 1 FROM leaving WHERE subject = OLD.subject) "
    "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END",
)
_MAY_LEAVE_POSTGRESQL = (
    "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger AS $$ BEGIN "
    "IF TG_OP = 'DELETE' THEN "
    "IF EXISTS (SELECT 1 FROM leaving WHERE subject = OLD.subject) THEN RETURN OLD; END IF; "
    "END IF; "
    "RAISE EXCEPTION 'events are append-only'; END $$ LANGUAGE plpgsql",
)


def upgrade() -> None:
    op.create_table(
        "legal_holds",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("borrower_id", sa.String(length=128), server_default="", nullable=False),
        sa.Column("case_id", sa.String(length=128), server_default="", nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("released_at", sa.BigInteger(), nullable=True),
        sa.Column("released_by", sa.String(length=80), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    open_ones = sa.text("released_at IS NULL")
    op.create_index(
        "legal_holds_open", "legal_holds", ["tenant", "id"], sqlite_where=open_ones, postgresql_where=open_ones
    )
    op.create_table(
        "archives",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("file", sa.String(length=200), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("first", sa.String(length=160), nullable=False),
        sa.Column("last", sa.String(length=160), nullable=False),
        sa.Column("subjects", sa.Integer(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("previous_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "leaving",
        sa.Column("subject", sa.String(length=160), nullable=False),
        sa.PrimaryKeyConstraint("subject"),
    )
    op.create_table(
        "retention_progress",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("through", sa.String(length=160), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    add_index("receipts_by_delivery", "receipts", ["delivery_id"])
    sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in _MAY_LEAVE_SQLITE if sqlite else _MAY_LEAVE_POSTGRESQL:
        op.execute(statement)
