"""Ledgers to test on: SQLite in a file, and a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.storage.database import Database
from tests.support.storage.ledgers import empty_sqlite


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each kind of database; with the mark ``oldest_postgresql`` the oldest PostgreSQL that is supported, too."""
    if "database" in metafunc.fixturenames:
        marked = metafunc.definition.get_closest_marker("oldest_postgresql") is not None
        metafunc.parametrize("database", ["sqlite", "postgresql", *(["oldest_postgresql"] * marked)], indirect=True)


@pytest.fixture
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """An empty, migrated ledger, on each kind of database."""
    if request.param == "sqlite":
        url = empty_sqlite(tmp_path)
    else:
        url = await asyncio.to_thread(request.getfixturevalue, f"empty_{request.param}")
    database = Database(url)
    yield database
    await database.close()
