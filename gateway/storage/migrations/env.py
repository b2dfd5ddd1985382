"""Alembic's environment: the connection is handed in by gateway.storage.migrate, never read from a file."""

from __future__ import annotations

from alembic import context

from gateway.storage.online_migration import LOCK_SECONDS
from gateway.storage.schema import metadata

connection = context.config.attributes["connection"]
if connection.dialect.name == "postgresql":
    connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_SECONDS}s'")
    connection.commit()
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
