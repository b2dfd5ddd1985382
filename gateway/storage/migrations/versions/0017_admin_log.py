"""Heads of the administrators' logs. Online: a table of its own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.create_table(
        "admin_logs",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("event_hash", sa.String(length=64), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("tenant"),
    )
