"""What waits for a person or for an answer is counted every few seconds, whatever else waits. Online: an index."""

from __future__ import annotations

from gateway.storage.upgrade.online_migration import add_index

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    add_index("deliveries_open_questions", "deliveries", ["state"], where="state IN ('review', 'unknown')")
