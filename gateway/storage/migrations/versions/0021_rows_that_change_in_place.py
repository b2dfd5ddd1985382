"""Rows that change with every step can be changed in place: requests' bodies are apart from them, and pages have room.

The state moves from the indexes into a column that a trigger sets where the state is one that is looked for; the
indexes follow in 0022. Online: a table, columns with a constant default, triggers, room on pages that are written from
now on (gateway/storage/upgrade/online_migration.py).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.upgrade.online_migration import keep_room

revision = "0021"
down_revision = "0020"

# States that a person, an operator or a filter looks for, and that a message on its usual way does not pass.
LOOKED_FOR = {
    "notifications": (
        *("deferred", "retrying", "unknown", "review", "undelivered"),
        *("suppressed", "failed", "expired", "cancelled"),
    ),
    "deliveries": ("review", "unknown", "failed"),
}
# Per cent of a page that new rows fill: a batch changes all rows of a page in one transaction, and their earlier
# versions can be removed only after it.
_FILL = {"notifications": 55, "deliveries": 55, "attempts": 50, "borrowers": 55}


def _state_or_nothing(table: str, row: str) -> str:
    states = ", ".join(f"'{state}'" for state in LOOKED_FOR[table])
    return f"CASE WHEN {row}state IN ({states}) THEN {row}state ELSE '' END"


def _triggers(table: str) -> list[str]:
    wanted = _state_or_nothing(table, "NEW.")
    if op.get_bind().dialect.name == "sqlite":
        change = f"UPDATE {table} SET attention = {wanted} WHERE id = NEW.id"
        return [
            f"CREATE TRIGGER {table}_attention_{name} AFTER {event} ON {table} WHEN NEW.attention != {wanted}"
            f" BEGIN {change}; END"
            for name, event in (("insert", "INSERT"), ("update", "UPDATE OF state"))
        ]
    return [
        f"CREATE FUNCTION {table}_attention() RETURNS trigger AS $$"
        f" BEGIN NEW.attention := {wanted}; RETURN NEW; END $$ LANGUAGE plpgsql",
        # The condition is evaluated without calling the function, which most changes do without.
        f"CREATE TRIGGER {table}_attention BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW"
        f" WHEN (NEW.attention != {wanted}) EXECUTE FUNCTION {table}_attention()",
    ]


def upgrade() -> None:
    op.create_table(
        "request_bodies",
        sa.Column("notification_id", sa.String(length=48), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("notification_id"),
    )
    for table in LOOKED_FOR:
        op.add_column(table, sa.Column("attention", sa.String(length=16), server_default="", nullable=False))
        for statement in _triggers(table):
            op.execute(statement)
    keep_room(_FILL)
