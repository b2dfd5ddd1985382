"""Ledgers to test on: SQLite in a file, and a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.ledger.database import Database
from gateway.ledger.migrate import migrate


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """An empty, migrated ledger, on each kind of database."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/ledger.db"
    else:
        url = await asyncio.to_thread(request.getfixturevalue, "empty_postgresql")
    database = Database(url)
    await asyncio.to_thread(migrate, database.engine)
    yield database
    await database.close()
