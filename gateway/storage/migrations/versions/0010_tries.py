"""Which failed attempts count towards giving up. Online: a column with a default (upgrade/online_migration.py)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("tries", sa.Integer(), server_default="0", nullable=False))
