"""When a delivery is due is in a narrow table of those that are open, and attempts have their provider's message ids.

Both were in an index of the deliveries, which PostgreSQL can't change in place where an indexed column changes: two of
the five changes of a delivery wrote an entry in each of its indexes. Triggers keep both, whatever version writes. What
is there already, and the index, follow in 0075.

Online: a table and triggers, for which writers wait as long as that takes, that of ``attention`` as in 0072; and room
on pages that are new from now on.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.upgrade.online_migration import keep_room, mark_after_update

revision = "0074"
down_revision = "0073"

_NAMED = "NEW.provider_message_id != OLD.provider_message_id AND NEW.provider_message_id != ''"
_NAME = (
    "UPDATE attempts SET provider_message_id = NEW.provider_message_id"
    " WHERE delivery_id = NEW.id AND number = NEW.attempt AND provider_message_id != NEW.provider_message_id"
)
_MINE = "due_at = OLD.due_at AND delivery_id = OLD.id"
_SQLITE = {
    "deliveries_due_inserted AFTER INSERT ON deliveries WHEN NEW.due_at IS NOT NULL": (
        "INSERT INTO due_deliveries VALUES (NEW.due_at, NEW.id)"
    ),
    "deliveries_due_updated AFTER UPDATE OF due_at ON deliveries WHEN NEW.due_at IS NOT OLD.due_at": (
        f"DELETE FROM due_deliveries WHERE {_MINE};"
        " INSERT INTO due_deliveries SELECT NEW.due_at, NEW.id WHERE NEW.due_at IS NOT NULL"
    ),
    "deliveries_due_deleted AFTER DELETE ON deliveries WHEN OLD.due_at IS NOT NULL": (
        f"DELETE FROM due_deliveries WHERE {_MINE}"
    ),
    f"deliveries_named AFTER UPDATE OF provider_message_id ON deliveries WHEN {_NAMED}": _NAME,
}
_POSTGRESQL = {
    # An entry that 0075 has not made yet is made here.
    "deliveries_due": (
        "IF TG_OP = 'INSERT' OR OLD.due_at IS NULL THEN INSERT INTO due_deliveries VALUES (NEW.due_at, NEW.id);"
        f" ELSIF TG_OP = 'DELETE' OR NEW.due_at IS NULL THEN DELETE FROM due_deliveries WHERE {_MINE};"
        f" ELSE UPDATE due_deliveries SET due_at = NEW.due_at WHERE {_MINE};"
        " IF NOT FOUND THEN INSERT INTO due_deliveries VALUES (NEW.due_at, NEW.id); END IF; END IF"
    ),
    "deliveries_named": _NAME,
}
_TRIGGERS = {
    "deliveries_due_inserted AFTER INSERT": ("NEW.due_at IS NOT NULL", "deliveries_due"),
    "deliveries_due_updated AFTER UPDATE": ("NEW.due_at IS DISTINCT FROM OLD.due_at", "deliveries_due"),
    "deliveries_due_deleted AFTER DELETE": ("OLD.due_at IS NOT NULL", "deliveries_due"),
    "deliveries_named AFTER UPDATE": (_NAMED, "deliveries_named"),
}


def upgrade() -> None:
    op.create_table(
        "due_deliveries",
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("delivery_id", sa.String(length=48), nullable=False),
        sa.PrimaryKeyConstraint("due_at", "delivery_id"),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name != "postgresql":
        for trigger, body in _SQLITE.items():
            name, _, rest = trigger.partition(" ")
            op.execute(f"CREATE TRIGGER {name} {rest} BEGIN {body}; END")
        return
    mark_after_update("deliveries", ("review", "unknown", "failed"))
    for name, body in _POSTGRESQL.items():
        op.execute(f"CREATE FUNCTION {name}() RETURNS trigger AS $$ BEGIN {body}; RETURN NULL; END $$ LANGUAGE plpgsql")
    for trigger, (when, function) in _TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {trigger} ON deliveries FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION {function}()")
    keep_room({"deliveries": 44})
    # A queue's rows live minutes: dead ones are removed before reads have to step over many.
    op.execute("ALTER TABLE due_deliveries SET (autovacuum_vacuum_scale_factor = 0.02, fillfactor = 50)")
