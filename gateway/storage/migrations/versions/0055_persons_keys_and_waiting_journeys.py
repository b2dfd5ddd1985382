"""Whose key it is, where it is a person's; and an index of the journeys that wait for persons.

Online: a column with a constant default takes no rewrite, and the index is made while the table is written to.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.upgrade.online_migration import add_index

revision = "0055"
down_revision = "0054"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("user_id", sa.String(length=24), nullable=False, server_default=""))
    add_index("journeys_for_persons", "journeys", ["tenant", "state", "id"], "state IN ('gate', 'review')")
