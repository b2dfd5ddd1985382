"""The deliveries that are due already go into the table of 0074, and attempts get the message ids that they lack.

Online: deliveries are locked a thousand at a time, and the index is made while attempts are written to. The indexes of
the deliveries that these replace are dropped when no process of the version before is alive, which looks for what is
due, and for receipts' deliveries, by them (gateway/storage/upgrade/migrate.py, ``retire``). Can be repeated.
"""

from __future__ import annotations

from alembic import op

from gateway.storage.upgrade.online_migration import add_index, drop_index, in_batches

revision = "0075"
down_revision = "0074"

_DUE = (
    "INSERT INTO due_deliveries (due_at, delivery_id) SELECT due_at, id FROM these WHERE due_at IS NOT NULL"
    " ON CONFLICT DO NOTHING"
)
_NAMES = (
    "UPDATE attempts SET provider_message_id = these.provider_message_id FROM these"
    " WHERE attempts.delivery_id = these.id AND attempts.number = these.attempt"
    " AND attempts.provider_message_id != these.provider_message_id"
)


def upgrade() -> None:
    in_batches("deliveries", "id, due_at", "due_at IS NOT NULL", _DUE, lock=True)
    in_batches("deliveries", "id, attempt, provider_message_id", "provider_message_id != ''", _NAMES, lock=False)
    add_index("attempts_by_message", "attempts", ["provider_message_id"], where="provider_message_id != ''")
    if op.get_bind().dialect.name != "postgresql":
        drop_index("deliveries_due", "deliveries")
        drop_index("deliveries_by_message", "deliveries")
