"""Preferences that borrowers chose, and acts that wait for a second person. Online: columns with a default."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0053"
down_revision = "0050"


def upgrade() -> None:
    op.add_column("borrowers", sa.Column("chosen", sa.Text(), server_default="{}", nullable=False))
    op.add_column("borrowers", sa.Column("proposals", sa.Text(), server_default="[]", nullable=False))
