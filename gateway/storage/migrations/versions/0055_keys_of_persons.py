"""Whose key it is, where it is a person's. Online: a column with a constant default takes no rewrite."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0055"
down_revision = "0047"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("user_id", sa.String(length=24), nullable=False, server_default=""))
