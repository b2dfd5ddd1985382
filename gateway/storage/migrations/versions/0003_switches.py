"""Kill switches and pins, which deliveries they hold up, and what was resent on purpose.

Online: columns with defaults, an index over rows that do not exist yet, and a new table.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.upgrade.online_migration import add_index

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("paused", sa.String(length=48), server_default="", nullable=False))
    op.add_column("deliveries", sa.Column("resent", sa.Integer(), server_default="0", nullable=False))
    add_index("deliveries_paused", "deliveries", ["paused"], where="paused != ''")
    op.create_table(
        "switches",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("scope", sa.String(length=16), nullable=False),
        sa.Column("value", sa.String(length=64), server_default="", nullable=False),
        sa.Column("tenant", sa.String(length=64), server_default="", nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_by", sa.String(length=80), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    open_ones = sa.text("ended_at IS NULL")
    op.create_index("switches_in_force", "switches", ["id"], sqlite_where=open_ones, postgresql_where=open_ones)
