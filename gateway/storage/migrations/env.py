"""Alembic's environment: the connection is handed in by gateway.storage.upgrade.migrate, never read from a file."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import Connection, event

from gateway.storage.schema import metadata
from gateway.storage.upgrade.online_migration import LOCK_SECONDS

connection = context.config.attributes["connection"]
if connection.dialect.name == "postgresql":
    # In each transaction: behind a pooler, a session's setting would stay with a server process that others use.
    @event.listens_for(connection, "begin")
    def _limit_waits(begun: Connection) -> None:
        driver: Any = begun.connection.driver_connection
        if not driver.autocommit:
            begun.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")


context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
