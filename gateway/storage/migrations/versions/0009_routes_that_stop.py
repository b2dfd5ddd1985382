"""Routes that go no further, silence that means arrival, and a smaller index for parked receipts.

Online: see gateway/storage/upgrade/online_migration.py.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.upgrade.online_migration import add_index, drop_index

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("notifications", sa.Column("stopped", sa.String(length=40), server_default="", nullable=False))
    op.add_column("deliveries", sa.Column("failures_only", sa.Integer(), server_default="0", nullable=False))
    add_index("receipts_waiting", "receipts", ["provider_message_id"], where="delivery_id = ''")
    drop_index("receipts_parked", "receipts")
