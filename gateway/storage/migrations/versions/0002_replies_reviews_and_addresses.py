"""What borrowers write back, what reviewers approve, and what is known of an address.

Online: a column with a default, indexes and new tables; a worker of the version before goes on beside it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.upgrade.online_migration import add_index

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("approved", sa.String(length=40), server_default="", nullable=False))
    add_index("deliveries_by_address", "deliveries", ["address_digest"])
    add_index("deliveries_by_state", "deliveries", ["tenant", "state", "id"])
    op.create_table(
        "addresses",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=32), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("suppressed", sa.String(length=40), server_default="", nullable=False),
        sa.Column("suppressed_at", sa.BigInteger(), nullable=True),
        sa.Column("confirmed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "channel", "digest"),
    )
    op.create_table(
        "replies",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("borrower_id", sa.String(length=128), nullable=False),
        sa.Column("delivery_id", sa.String(length=48), nullable=False),
        sa.Column("channel", sa.String(length=32), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("provider_message_id", sa.String(length=128), server_default="", nullable=False),
        sa.Column("intent", sa.String(length=16), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("resolved_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest", name="one_per_message"),
    )
    op.create_index("replies_by_borrower", "replies", ["tenant", "borrower_id", "id"], unique=False)
    unread = sa.text("intent = 'maybe_stop' AND resolved_at IS NULL")
    op.create_index("replies_unread", "replies", ["tenant", "id"], sqlite_where=unread, postgresql_where=unread)
