"""What a reminder costs the ledger, counted: WAL, rows, heap-only updates, round trips, bytes kept.

The counts don't depend on the machine. What takes more than they say was spent unseen: lower the cost, or change the
figures here and in ops/data-care.md, and say why. What takes less: lower the figures, so that it stays so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from gateway.storage.database import Database
from gateway.storage.upgrade.migrate import migrate
from tests.support.storage.ledger_counts import counts, kept
from tests.support.storage.ledgers import begun, empty_sqlite
from tests.support.storage.postgresql import PostgresServer
from tests.support.storage.reminder_life import ReminderLife, reminder_life

_REMINDERS = 400
_TOLERANCE = 0.1  # our choice: page splits and the batches that meet make some per cent of difference
# What autovacuum and checkpoints write depends on when they run.
_QUIET = {"autovacuum": "off", "checkpoint_timeout": "1h", "max_wal_size": "4GB"}

# For each reminder, in each phase: bytes of WAL, records of WAL, round trips to SQL.
_EXPECTED = {
    "accept": (3_400, 24.2, 0.07),
    "send": (2_820, 21.8, 0.075),  # with the words that were sent
    "receipts": (1_630, 13.1, 0.375),
}
_HOT_SHARE = 0.82  # of all updates of the life
_BYTES_KEPT = {"postgresql": 6_640, "sqlite": 3_770}


@pytest.fixture(scope="module")
def quiet_postgresql() -> Iterator[str]:
    """The URL of an empty ledger on a server that writes only what it is asked to."""
    with PostgresServer(**_QUIET) as server:
        database = Database(server.url)
        migrate(database.engine)
        database.engine.dispose()
        yield begun(server.url)


@pytest.fixture(autouse=True)
def _switches_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read operators' switches once, not each second: how many seconds the test takes must not be counted."""
    monkeypatch.setattr("gateway.operations.controls._FRESH_SECONDS", 3600.0)


async def _spent(life: ReminderLife, url: str) -> tuple[Mapping[str, tuple[float, float, float]], float]:
    """By phase what a reminder cost, and over all the share of heap-only updates."""
    numbers = range(1_000, 1_000 + _REMINDERS)
    phases = {"accept": lambda: life.accept(numbers), "send": life.send, "receipts": life.receipts}
    spent = {}
    first = counts(url)
    for name, work in phases.items():
        before, trips = counts(url), life.round_trips
        await work()
        trips = life.round_trips - trips
        await life.flush_statistics()
        cost = counts(url) - before
        spent[name] = cost.wal_bytes / _REMINDERS, cost.wal_records / _REMINDERS, trips / _REMINDERS
    return spent, (counts(url) - first).hot_share


async def _warm_up(life: ReminderLife) -> None:
    """Fill caches, and the first page of each table."""
    await life.accept(range(64))
    await life.send()
    await life.receipts()
    await life.flush_statistics()


async def test_a_reminder_writes_no_more_wal_than_before(quiet_postgresql: str, redis_url: str, tmp_path: Path) -> None:
    """Per reminder and phase: WAL bytes, WAL records and round trips; over all, heap-only updates and bytes kept."""
    async with reminder_life(quiet_postgresql, redis_url, tmp_path) as (gateway, life):
        await _warm_up(life)
        spent, hot_share = await _spent(life, quiet_postgresql)
        sizes = await gateway.ledger.database.read(lambda each: kept(each, _REMINDERS))
    expected = {name: pytest.approx(each, rel=_TOLERANCE) for name, each in _EXPECTED.items()}
    assert spent == expected
    assert hot_share == pytest.approx(_HOT_SHARE, abs=0.05)
    assert _per_reminder(sizes) == pytest.approx(_BYTES_KEPT["postgresql"], rel=_TOLERANCE)


async def test_a_reminder_keeps_no_more_in_sqlite_than_before(redis_url: str, tmp_path: Path) -> None:
    """Bytes by table and index, as SQLite counts its pages."""
    url = begun(empty_sqlite(tmp_path))
    async with reminder_life(url, redis_url, tmp_path) as (gateway, life):
        await life.accept(range(_REMINDERS + 64))
        await life.send()
        await life.receipts()
        sizes = await gateway.ledger.database.read(lambda each: kept(each, _REMINDERS))
    assert _per_reminder(sizes) == pytest.approx(_BYTES_KEPT["sqlite"], rel=_TOLERANCE)


def _per_reminder(sizes: Mapping[str, tuple[int, int]]) -> float:
    return sum(map(sum, sizes.values())) / (_REMINDERS + 64)
