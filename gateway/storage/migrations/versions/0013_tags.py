"""Receipts that repeat a tag of ours beside the provider's id. Online: a column with a default, an index beside it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.upgrade.online_migration import add_index

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("receipts", sa.Column("tag", sa.String(length=32), server_default="", nullable=False))
    add_index("receipts_tagged", "receipts", ["tag"], where="delivery_id = '' AND tag != ''")
