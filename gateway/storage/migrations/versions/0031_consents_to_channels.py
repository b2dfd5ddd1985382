"""Borrowers' consents to single channels. Online: a column with a default."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    op.add_column("borrowers", sa.Column("channel_consents", sa.Text(), server_default="", nullable=False))
