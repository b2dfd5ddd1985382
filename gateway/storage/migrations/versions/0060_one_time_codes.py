"""One-time codes beside the links: the digest of a code, and the reply that it was sent about.

Online: columns with a default.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0060"
down_revision = "0057"


def upgrade() -> None:
    for name, length in (("code_digest", 64), ("reply_id", 48)):
        op.add_column("verifications", sa.Column(name, sa.String(length=length), server_default="", nullable=False))
