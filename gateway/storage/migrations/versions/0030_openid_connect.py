"""Sign-in by OpenID Connect. Online: a table of its own, columns that are NULL, and an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.upgrade.online_migration import add_index

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    op.create_table(
        "pending_sign_ins",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("nonce", sa.String(length=64), nullable=False),
        sa.Column("verifier", sa.String(length=64), nullable=False),
        sa.Column("back", sa.String(length=2000), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.add_column("sessions", sa.Column("ends_at", sa.BigInteger()))
    op.add_column("users", sa.Column("subject", sa.String(length=600)))
    add_index("users_by_subject", "users", ["subject"], unique=True)
