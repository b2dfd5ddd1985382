"""From which digest key a webhook's secret is derived. Online: columns with a constant default."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0026"


def upgrade() -> None:
    for name in ("key_version", "previous_key_version"):
        op.add_column("webhook_endpoints", sa.Column(name, sa.Integer(), server_default="1", nullable=False))
