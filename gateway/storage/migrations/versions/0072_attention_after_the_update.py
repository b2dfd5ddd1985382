"""States that are looked for are marked after an update and not before it: PostgreSQL locks each row that a trigger
runs before, whatever the trigger's condition says, and each lock is a record in its log.

Usual states fire nothing, as before. Online: a trigger is replaced and one made, for which writers wait as long as
that takes. SQLite's triggers run after the update since 0021.
"""

from __future__ import annotations

from alembic import op

revision = "0072"
down_revision = "0071"

# As in 0021.
_LOOKED_FOR = {
    "notifications": (
        "'deferred', 'retrying', 'unknown', 'review', 'undelivered', 'suppressed', 'failed', 'expired', 'cancelled'"
    ),
    "deliveries": "'review', 'unknown', 'failed'",
}


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, states in _LOOKED_FOR.items():
        wanted = f"CASE WHEN NEW.state IN ({states}) THEN NEW.state ELSE '' END"
        op.execute(
            f"CREATE OR REPLACE FUNCTION {table}_attention_updated() RETURNS trigger AS $$"
            f" BEGIN UPDATE {table} SET attention = {wanted} WHERE id = NEW.id; RETURN NULL; END $$ LANGUAGE plpgsql"
        )
        op.execute(
            f"CREATE OR REPLACE TRIGGER {table}_attention_updated AFTER UPDATE ON {table} FOR EACH ROW"
            f" WHEN (NEW.attention != {wanted}) EXECUTE FUNCTION {table}_attention_updated()"
        )
        op.execute(
            f"CREATE OR REPLACE TRIGGER {table}_attention BEFORE INSERT ON {table} FOR EACH ROW"
            f" WHEN (NEW.attention != {wanted}) EXECUTE FUNCTION {table}_attention()"
        )
