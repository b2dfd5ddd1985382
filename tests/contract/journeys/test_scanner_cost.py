"""What the scanner reads for the journeys that are due does not grow with those that are not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection

from gateway.storage.database import Database
from gateway.storage.tables.columns import microseconds
from tests.support.journeys.cases import DAY, START
from tests.support.journeys.copies import copy_journeys
from tests.support.journeys.path import JourneyBench

_DUE, _FEW, _MANY = 100, 2_000, 40_000
_NOW = microseconds(START + 2 * DAY)
_SCAN = (
    f"SELECT id FROM journeys WHERE due_at <= {_NOW} AND (lease_until IS NULL OR lease_until <= {_NOW})"
    " ORDER BY due_at LIMIT 5000"
)
# What a process asks for again and again: what is due, which cases to look at, and the figures of the metrics.
_PERIODIC = {
    _SCAN: "journeys_due",
    f"SELECT id FROM case_records WHERE check_at IS NOT NULL AND check_at <= {_NOW} LIMIT 1": "case_records_due",
    f"SELECT count(*), min(due_at) FROM journeys WHERE due_at <= {_NOW}": "journeys_due",
    "SELECT state, reason, count(*) FROM journeys WHERE state IN ('gate', 'review') GROUP BY state, reason": (
        "journeys_for_persons"
    ),
}


def _explained(connection: Connection, query: str) -> dict[str, Any]:
    """PostgreSQL's plan of a query that it has run."""
    [(plan,)] = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}").all()
    found: Any = plan if isinstance(plan, list) else json.loads(plan)
    return dict(found[0]["Plan"])


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from _nodes(each)


def _pages(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def test_the_journeys_that_are_not_due_cost_the_scanner_nothing(database: Database) -> None:
    """PostgreSQL reads as many pages with twenty times as many journeys, by indexes and without sorting them.

    SQLite uses the same indexes.
    """
    bench = JourneyBench(database)
    await bench.live()
    await bench.case(1)
    await bench.run()

    def fill(connection: Connection, numbers: range, due: range = range(0)) -> None:
        copy_journeys(connection, numbers, START + 30 * DAY)
        if due:
            copy_journeys(connection, due, START + DAY)
        connection.exec_driver_sql("ANALYZE")

    due = range(_MANY + 1, _MANY + _DUE + 1)
    await database.write(lambda connection: fill(connection, range(2, _FEW + 1), due))
    if database.is_sqlite:
        for query, index in _PERIODIC.items():
            explained = f"EXPLAIN QUERY PLAN {query}"
            plan = await database.read(lambda connection, of=explained: str(connection.exec_driver_sql(of).all()))
            assert f"INDEX {index}" in plan, (query, plan)
        return
    few = await database.read(lambda connection: _pages(_explained(connection, _SCAN)))
    await database.write(lambda connection: fill(connection, range(_FEW + 1, _MANY + 1)))
    for query, index in _PERIODIC.items():
        plan = await database.read(lambda connection, of=query: _explained(connection, of))
        nodes = list(_nodes(plan))
        assert index in {each.get("Index Name") for each in nodes}, (query, plan)
        assert "Seq Scan" not in {each["Node Type"] for each in nodes}, (query, plan)
        assert sum(each.get("Actual Rows", 0) for each in nodes if "Sort" in each["Node Type"]) <= _DUE, (query, plan)
    room = "SELECT reloptions FROM pg_class WHERE oid = 'journeys'::regclass"
    kept = await database.read(lambda connection: connection.exec_driver_sql(room).scalar_one())
    assert kept == ["fillfactor=80"]  # so that a claim touches no index
    many = await database.read(lambda connection: _pages(_explained(connection, _SCAN)))
    assert many <= 1.2 * few + 3  # a level more of the index, and the pages where its ranges begin and end
