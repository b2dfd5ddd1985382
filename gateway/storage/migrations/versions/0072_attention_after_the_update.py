"""States that are looked for are marked after an update and not before it: PostgreSQL locks each row that a trigger
runs before, whatever the trigger's condition says, and each lock is a record in its log.

Of notifications here and of deliveries in 0074: a transaction that waits for two tables could wait for ever for a
writer that waits for it. Usual states fire nothing, as before. Online: a trigger is replaced and one made, for which
writers wait as long as that takes. SQLite's triggers run after the update since 0021.
"""

from __future__ import annotations

from alembic import op

from gateway.storage.upgrade.online_migration import mark_after_update

revision = "0072"
down_revision = "0071"

_LOOKED_FOR = (  # as in 0021
    *("deferred", "retrying", "unknown", "review", "undelivered"),
    *("suppressed", "failed", "expired", "cancelled"),
)


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        mark_after_update("notifications", _LOOKED_FOR)
