"""A rolling upgrade: the schema moves ahead under running processes, which are then replaced one by one, under load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from gateway.storage.database import Database
from gateway.storage.migrate import migrate, pending_migration
from tests.support.production import Process, Production, production, request

_RECEIPT_HOURS = 15 / 3600


@pytest.fixture
async def running(tmp_path: Path, new_postgresql: str, tcp_valkey_url: str) -> AsyncIterator[Production]:
    # Callbacks go to one process here. While that one is replaced, on a busy machine for longer than the provider calls
    # again, some are lost for good: such a message is looked up, at a deadline that the test can wait for.
    engine = create_engine(new_postgresql)
    migrate(engine)
    engine.dispose()
    async with production(tmp_path, new_postgresql, tcp_valkey_url, receipt_hours=_RECEIPT_HOURS) as started:
        yield started


async def _next_version(database: Database) -> None:
    """What the next version's migration would do: a column with a default, an index, and its own revision."""

    def change(connection: object) -> None:
        for statement in (
            "ALTER TABLE deliveries ADD COLUMN of_the_next_version VARCHAR(8) NOT NULL DEFAULT 'x'",
            "CREATE INDEX of_the_next_version ON deliveries (of_the_next_version)",
            "UPDATE alembic_version SET version_num = 'next'",
        ):
            connection.execute(text(statement))  # type: ignore[attr-defined]

    await database.write(change)


async def _replaced(process: Process) -> None:
    await asyncio.to_thread(process.stop)
    process.start()
    await asyncio.sleep(3)  # about what a start takes: the others carry the load meanwhile


async def test_a_rolling_upgrade_loses_and_repeats_nothing(running: Production) -> None:
    """The older code works on, and even starts, beside the newer schema; each request that got a 202 arrives once."""
    accepted: list[str] = []
    done = asyncio.Event()

    async def load() -> None:
        number = 0
        while not done.is_set():
            try:
                status, answer = await running.post(
                    "/v1/notifications", request(number, route=["sms"]), api=number % 2, key=f"k{number}"
                )
            except OSError:
                status, answer = 0, {}  # that process is being replaced: the client asks the next one
            if status == 202:
                accepted.append(answer["id"])
            number += 1
            await asyncio.sleep(0.1)  # at most ten a second: their numbers last for two minutes

    loading = asyncio.create_task(load())
    await asyncio.sleep(1)
    await _next_version(running.database)
    for process in (*running.workers, *running.apis):
        await _replaced(process)
    done.set()
    await loading
    assert pending_migration(running.database.engine) == ""

    query = text("SELECT count(*) FROM notifications WHERE state <> 'delivered'")
    async with asyncio.timeout(60):
        while await running.database.read(lambda connection: connection.execute(query).scalar_one()):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    summary = (await running.outside.summary())["sms"]
    assert len(accepted) > 50
    assert summary["duplicates"] == 0
    assert summary["messages"] >= len(accepted)  # an answer that was lost on the way had been accepted, too


def test_an_older_schema_stops_the_start(tmp_path: Path) -> None:
    """A database that lacks what this version needs is told apart from one that has more."""
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    assert "run gateway ledger migrate" in pending_migration(database.engine)
