"""Cases and their journeys leave the ledger after their period, archived with their chains, and not before."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from sqlalchemy import func, select

from gateway.cli.ledger.evidence import verify
from gateway.journeys.cases.record import CaseRecord, Payment
from gateway.retention.erasing import RetentionPeriods
from gateway.retention.retention import Retention
from gateway.storage.database import Database
from gateway.storage.tables.journeys import case_records, journeys
from gateway.storage.tables.path import deliveries, notifications
from tests.support.journeys.cases import START
from tests.support.journeys.path import JourneyBench

_KEEP = RetentionPeriods(timedelta(days=100), timedelta(0), timedelta(0), timedelta(0))


async def _counts(database: Database) -> tuple[int, int]:
    queries = [select(func.count()).select_from(table) for table in (case_records, journeys)]
    return await database.read(
        lambda connection: (connection.execute(queries[0]).scalar_one(), connection.execute(queries[1]).scalar_one())
    )


async def test_a_case_goes_when_all_of_it_is_old(database: Database, tmp_path: Path) -> None:
    """Not while its journey is open or a notification of it is left; then with its chains, which still verify."""
    bench = JourneyBench(database)
    await bench.live()
    await bench.case(1)
    await bench.case(2)
    await bench.run()
    await bench.feed(CaseRecord("C-1", payments={"p": Payment("p", Decimal("3913.00"), START)}))
    await bench.run()
    retention = Retention(database, _KEEP, bench.clock, timedelta(days=31))
    for days, left in ((99, (2, 2)), (2, (1, 1))):
        bench.now += timedelta(days=days)
        await retention.prune(tmp_path, most=1000, stop=asyncio.Event())
        assert await _counts(database) == left
        assert (await verify(database, tmp_path)).broken == []
    states = select(notifications.c.case_id).join(deliveries, deliveries.c.notification_id == notifications.c.id)
    assert await database.read(lambda connection: list(connection.execute(states).scalars())) == ["C-2"]
