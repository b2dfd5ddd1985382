"""Opt-outs that hold for an address, whoever is written to there. Online: columns that are NULL or have a default."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.add_column("addresses", sa.Column("opted_out_at", sa.BigInteger()))
    op.add_column("addresses", sa.Column("opted_in_at", sa.BigInteger()))
    op.add_column("addresses", sa.Column("opt_out_source", sa.String(length=80), server_default="", nullable=False))
