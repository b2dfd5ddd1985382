"""No index names what changes with every step: PostgreSQL then changes the row in place (heap-only tuples).

Online: rows in a state that is looked for are filled in by batches, since 0021 by its trigger; indexes are made and
dropped while the tables are written to. Processes of the version before go on: what they look for by state takes them
longer until they are replaced.
"""

from __future__ import annotations

from gateway.storage.upgrade.online_migration import add_index, drop_index, fill_in

revision = "0022"
down_revision = "0021"

# The states of the triggers of 0021.
_LOOKED_FOR = {
    "notifications": (
        "'deferred', 'retrying', 'unknown', 'review', 'undelivered', 'suppressed', 'failed', 'expired', 'cancelled'"
    ),
    "deliveries": "'review', 'unknown', 'failed'",
}


def upgrade() -> None:
    for table, states in _LOOKED_FOR.items():
        fill_in(table, "attention = state", f"state IN ({states}) AND attention = ''")
    add_index("notifications_attention", "notifications", ["tenant", "attention", "id"], where="attention != ''")
    add_index("deliveries_attention", "deliveries", ["attention", "tenant", "id"], where="attention != ''")
    add_index("deliveries_by_borrower", "deliveries", ["tenant", "borrower_id"])
    add_index("deliveries_by_message", "deliveries", ["provider_message_id"], where="provider_message_id != ''")
    drop_index("notifications_by_state", "notifications")
    for name in ("by_state", "open_questions", "contacts", "by_provider_id"):
        drop_index(f"deliveries_{name}", "deliveries")
