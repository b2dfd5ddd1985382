"""What a reply says, and how soon a person has to read it. Online: columns with a default, and a partial index.

Replies that a version before has recorded have no urgency; those that may be a stop wait for a person by their intent.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.upgrade.online_migration import add_index, drop_index

revision = "0040"
down_revision = "0035"


def upgrade() -> None:
    op.add_column("replies", sa.Column("intents", sa.String(length=255), nullable=False, server_default=""))
    op.add_column("replies", sa.Column("urgency", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("replies", sa.Column("review_by", sa.BigInteger()))
    op.add_column("replies", sa.Column("understood_by", sa.String(length=64), nullable=False, server_default=""))
    waiting = "(urgency > 0 OR intent = 'maybe_stop') AND resolved_at IS NULL"
    add_index("replies_unresolved", "replies", ["tenant", "id"], where=waiting)
    drop_index("replies_unread", "replies")
