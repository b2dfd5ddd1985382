"""The words that each attempt handed over. Online: a table of its own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0047"
down_revision = "0040"


def upgrade() -> None:
    op.create_table(
        "messages",
        sa.Column("delivery_id", sa.String(length=48), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", "attempt"),
        sqlite_with_rowid=False,
    )
