"""The words of an attempt are in its row: they were a row with a key of its own, written together with it.

Online: a column without a default, and room on pages that are new from now on.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.upgrade.online_migration import keep_room

revision = "0073"
down_revision = "0072"


def upgrade() -> None:
    op.add_column("attempts", sa.Column("words", sa.LargeBinary()))
    keep_room({"attempts": 45})
