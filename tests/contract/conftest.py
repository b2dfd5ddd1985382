"""Ledgers to test on: SQLite in a file, and a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.storage.database import Database
from tests.support.ledgers import empty_sqlite


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """An empty, migrated ledger, on each kind of database."""
    if request.param == "sqlite":
        url = empty_sqlite(tmp_path)
    else:
        url = await asyncio.to_thread(request.getfixturevalue, "empty_postgresql")
    database = Database(url)
    yield database
    await database.close()
