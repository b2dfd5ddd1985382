"""Where borrowers are and when they want to be written to, as their latest request said it. Online: a default."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("borrowers", sa.Column("stated", sa.Text(), server_default="{}", nullable=False))
