"""When an API key expires, and from which networks it may be used. Online: columns, one with a constant default."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("expires_at", sa.BigInteger(), nullable=True))
    op.add_column("api_keys", sa.Column("networks", sa.String(length=500), server_default="", nullable=False))
