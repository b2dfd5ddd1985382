"""Each verdict is stored once, under the hash of its contents; events have the hash and their own figures.

Online: a new table. Events that are there keep their verdicts, and their hashes. Processes of the version before show
the hash in place of a new event's verdict until they are replaced.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.create_table(
        "verdicts",
        sa.Column("digest", sa.String(length=43), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
