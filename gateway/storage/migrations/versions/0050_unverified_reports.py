"""Reports that name no message of ours, kept for a person. Online: a table of its own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0050"
down_revision = "0047"


def upgrade() -> None:
    op.create_table(
        "unverified_reports",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=32), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("urgency", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("original", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("resolved_at", sa.BigInteger(), nullable=True),
        sa.Column("borrower_id", sa.String(length=128), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest", name="one_per_report"),
    )
    op.create_index("unverified_reports_by_tenant", "unverified_reports", ["tenant", "reason", "received_at"])
    unresolved = sa.text("resolved_at IS NULL")
    op.create_index(
        "unverified_reports_unresolved",
        "unverified_reports",
        ["tenant", "reason", "id"],
        sqlite_where=unresolved,
        postgresql_where=unresolved,
    )
