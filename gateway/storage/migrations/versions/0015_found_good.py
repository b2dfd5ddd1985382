"""Which templates need not be checked again at the next start. Online: a column with a default."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("template_versions", sa.Column("found_good", sa.String(length=64), server_default="", nullable=False))
